"""What the weights of checkpoints say: how likely held-out text is to them, and how far their own answers are from a
reference model's.

KL is over answers sampled at temperature 1 and top-p 1, whatever the answers are sampled at that people read: at other
settings the k1 and k3 estimators (Schulman 2020) estimate something else. The tokens that were sampled are scored, not
a text tokenised anew. Everything is packed and kept in the cache by chunks. Left out: several GPUs, and windows over
documents that are longer than the limit.
"""

import gc
import math

import numpy as np
import torch

from korlhf.core.errors import InputError
from korlhf.data import load, packing
from korlhf.data.prompts import draw
from korlhf.llm import batches
from korlhf.llm.checkpoint import answer_seed
from korlhf.models import causal_lm
from korlhf.rl import rollout

DOCUMENTS = "documents"


class Weights:
    """A checkpoint's weights: loaded when something is not in the cache, and out of the memory when the `with` ends."""

    def __init__(self, checkpoint, cache, batch_size):
        """batch_size: sequences in a forward pass."""
        self.checkpoint, self.cache, self.batch_size, self._lm = checkpoint, cache, batch_size, None
        self._same = {"weights": checkpoint.fingerprint, "dtype": checkpoint.dtype, "device": checkpoint.device.type}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lm = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _loaded(self):
        if self._lm is None:
            self._lm = self.checkpoint.load().eval()
        return self._lm

    def logps(self, jobs, desc):
        """jobs: (token ids, number of those at the start that are given) -> for each the log-probabilities of the
        others, in nats.

        Raises InputError if they are no finite numbers, or the GPU's memory does not suffice.
        """
        same = {**self._same, "what": "logps"}
        logps = batches.compute(jobs, self.cache, same, self._forward, self.batch_size, desc, "sequences")
        if not all(map(math.isfinite, (logp for of_one in logps for logp in of_one))):
            c = self.checkpoint
            raise InputError(
                f"{c.what} {c.path}: log-probabilities that are no numbers: its weights are broken, or too large for "
                f"{c.dtype}; try --dtype fp32, or give an earlier checkpoint"
            )
        return logps

    def _forward(self, chunk):
        module, device = causal_lm.TokenLogps(self._loaded()), self.checkpoint.device
        masks = [[0] * given + [1] * (len(ids) - given) for ids, given in chunk]
        packed = packing.pack([ids for ids, _ in chunk]).to(device)
        logits_at, targets = packing.targets(packed, masks)
        with torch.inference_mode():
            flat = module(packed, logits_at, targets)
        return [part.tolist() for part in flat.cpu().split([sum(mask) for mask in masks])]

    def sampled(self, prompts, seeds, max_new_tokens, desc):
        """Answer ids to lists of prompt ids, at temperature 1 and top-p 1."""
        jobs = [(ids, seed, max_new_tokens) for ids, seed in zip(prompts, seeds)]
        return batches.compute(jobs, self.cache, {**self._same, "what": "sampled"}, self._sample, self.batch_size, desc)

    def _sample(self, chunk):
        prompts, seeds, limits = zip(*chunk)
        how, eos_token_id = rollout.Limits(limits[0]), self.checkpoint.codec.eos_token_id
        return rollout.sample(self._loaded(), prompts, seeds, eos_token_id, how, len(chunk))


def load_heldout(data_path, max_examples, seed):
    """Held-out examples with their first answer, and plain documents (of category DOCUMENTS if they have none), each
    once.

    Of a dataset that has an evaluation split, that split; at most `max_examples` (0 = all), drawn with the categories'
    shares kept.
    """
    examples = {}
    for name in data_path:
        everything, own = load.load_step(1, [name], "1,0,0", eval_share=0.0, seed=seed)
        for example in own or everything:
            examples.setdefault((load.prompt_key(example), example.answers[:1]), example)
    return draw(list(examples.values()), max_examples, seed, key=category)


def category(example):
    """Of a held-out example; DOCUMENTS of a document without one."""
    return DOCUMENTS if example.text and example.category == "all" else example.category


def characters(example):
    """How many characters are predicted: those of the answer, or of the document."""
    return len(example.text or example.answers[0])


def encode_heldout(checkpoint, examples, what):
    """(token ids, how many of them are given) of each: prompt and answer with its end, or a document with its end.

    A document comes after BOS, or EOS where there is none, as in lm-evaluation-harness: so its first token is predicted
    too. Raises InputError if the model's template does not take a conversation.
    """
    codec, jobs = checkpoint.codec, []
    start = codec.tokenizer.bos_token_id if codec.tokenizer.bos_token_id is not None else codec.tokenizer.eos_token_id
    for example in examples:
        if example.text:
            jobs.append(([start, *codec.document(example.text).ids], 1))
            continue
        given = codec.prompt(list(example.messages)).ids  # Gemma 2's template raises for a system message
        jobs.append((given + codec.answer(example.answers[0]), len(given)))
    return jobs


def queries(checkpoint, talks, places, longest, seed):
    """[(number of the conversation, its token ids, seed of the answer)] of the conversations `talks` at `places`,
    without those of more than `longest` tokens (None = any)."""
    encoded = ((i, checkpoint.codec.prompt(talks[i]).ids) for i in places)
    return [(i, ids, answer_seed(seed, talks[i], 0)) for i, ids in encoded if longest is None or len(ids) <= longest]


def measure(opened, heldout, asked, reference, max_new_tokens, cache, batch_size):
    """Everything that the weights say, each model loaded once at most: ({name: log-probabilities of its held-out jobs
    by token}, {name: [{"prompt": its number, "ids": of the answer that it drew, "k1", "k3": in nats, from the
    reference}]}).

    opened: {name: Checkpoint}; heldout: {name: jobs of Weights.logps}; asked: {name: `queries`}, of models that are
    compared with `reference`, a name in `opened`.
    """
    logps, answers, jobs, own, drawn = {}, {}, {}, {}, {}
    for name in sorted(opened, key=lambda name: name == reference):  # the reference last: it reads what the others drew
        with Weights(opened[name], cache, batch_size) as weights:
            logps[name] = weights.logps(heldout[name], f"{name}: held-out talk")
            if name in asked:
                _, prompts, seeds = zip(*asked[name])
                answers[name] = weights.sampled(prompts, seeds, max_new_tokens, f"{name}: answers for the KL")
                jobs[name] = [(ids + answer, len(ids)) for ids, answer in zip(prompts, answers[name])]
                own[name] = weights.logps(jobs[name], f"{name}: its answers")
            for other in jobs if name == reference else ():
                theirs = weights.logps(jobs[other], f"{name}: answers of {other}")
                every = zip(asked[other], answers[other], own[other], theirs)
                drawn[other] = [{"prompt": i, "ids": ids, **kl(a, b)} for (i, *_), ids, a, b in every]
    return logps, drawn


def kl(logps, ref_logps):
    """{"k1", "k3"} in nats of an answer, of its tokens' log-probabilities to the model that drew it and to the
    reference."""
    ratio = np.subtract(logps, ref_logps)
    return {"k1": float(ratio.sum()), "k3": float((np.exp(-ratio) - 1 + ratio).sum())}
