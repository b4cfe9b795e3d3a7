"""A local language model as a judge: how likely it finds each of a few texts as the next ones of its answer.

No form is sampled: a score is the expected value over the next token's probabilities (G-Eval's equation 1), a choice the probabilities of the
letters. Each criterion is asked for by itself, so that no score leans on the one before. Works with any causal language model, also a base
model; how much of its probability it puts on the options at all is measured (`mass`), because a model that does not understand the form
puts little there.
"""

import math
from dataclasses import replace

from jinja2 import TemplateError

from korlhf.core.errors import InputError
from korlhf.judges import choice as choices
from korlhf.judges import form as forms
from korlhf.judges.geval import PROBABILITIES, Score
from korlhf.llm import batches as chunked
from korlhf.llm import checkpoint as local
from korlhf.llm.client import Failure

LOW_MASS = 0.5  # below this share of its probability on the options a judge does not follow the form


class LocalJudge:
    """A checkpoint that judges. path: folder or hub name; what: its flag; batch_size: questions in a forward pass.

    mass: share of the next token's probability on the options, summed over `asked` questions so far.
    """

    def __init__(self, path, what, checkpoint, batch_size):
        """checkpoint: flags.CheckpointFlags."""
        self.checkpoint = local.Checkpoint(
            path, what, checkpoint.prompt_template, checkpoint.dtype, checkpoint.trust_remote_code
        )
        self.batch_size, self.mass, self.asked = batch_size, 0.0, 0

    def rate(self, items, cache):
        """forms.Items -> for each a list of geval.Score or Failure, one an answer."""
        asked = [
            (
                item.rubric,
                criterion,
                replace(item, rubric=replace(item.rubric, criteria=(criterion,)), answers=(answer,)),
            )
            for item in items
            for answer in item.answers
            for criterion in item.rubric.criteria
        ]
        shares = iter(
            self._shares(
                [
                    (_form_messages(one), f"{c.name}: ", [str(v) for v in range(r.low, r.high + 1)])
                    for r, c, one in asked
                ],
                cache,
            )
        )
        return [
            [_score(item.rubric, [next(shares) for _ in item.rubric.criteria]) for _ in item.answers] for item in items
        ]

    def choose(self, questions, cache):
        """choices.Questions -> a Choice or Failure each."""
        shares = self._shares([(q.messages, "", list(q.letters)) for q in questions], cache)
        return [s if isinstance(s, Failure) else choices.Choice(s, choices.PROBABILITIES) for s in shares]

    def _shares(self, asked, cache):
        """asked: (messages, how the answer begins, options) -> for each the options' probabilities (together 1), or a Failure."""
        found = [_options(self.checkpoint, *one) for one in asked]
        jobs = [job for job in found if not isinstance(job, Failure)]
        same = {"local_judge": self.checkpoint.fingerprint, "dtype": self.checkpoint.dtype}
        values = iter(
            chunked.compute(jobs, cache, same, _Forward(self.checkpoint), self.batch_size, "judging", "questions")
        )
        return [job if isinstance(job, Failure) else self._normalised(next(values)) for job in found]

    def _normalised(self, logps):
        weights = [math.exp(p) for p in logps]
        total = sum(weights)
        if not 0 < total < math.inf:  # NaN too
            return Failure(
                "not finite", f"{self.checkpoint.path}: the probabilities of the options are {total}; try --dtype fp32"
            )
        self.mass += total
        self.asked += 1
        return tuple(w / total for w in weights)


def _form_messages(item):
    """The messages of a form (forms.body) with the plain lines."""
    return forms.body(item, "", False, 0.0)["messages"]


def _score(rubric, shares):
    """Score of one answer from the probabilities of each criterion's scores, or the first Failure."""
    failed = next((s for s in shares if isinstance(s, Failure)), None)
    if failed:
        return failed
    values = range(rubric.low, rubric.high + 1)
    scores = {c.key: sum(v * p for v, p in zip(values, of_one)) for c, of_one in zip(rubric.criteria, shares)}
    return Score(scores, sum(scores.values()) / len(scores), PROBABILITIES, 1)


def _options(checkpoint, messages, begin, options):
    """(token ids up to where the options part, the token with which each option goes on), or a Failure.

    Each option is tokenised as a whole answer with what stands before it, as the model would write it: " 4" is one token in some
    vocabularies and two in others.
    """
    codec = checkpoint.codec
    try:
        prompt = codec.prompt(messages).ids
    except (TemplateError, ValueError) as first:
        try:  # a template without a system role (Gemma): its text goes before the user's
            system, user = messages
            prompt = codec.prompt([{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}]).ids
        except (TemplateError, ValueError):
            return Failure(
                "bad request",
                f"{checkpoint.path}: its chat template does not take a judge's question: {str(first).splitlines()[0]}",
            )
    whole = [codec.answer(begin + option)[:-1] for option in options]
    common = next(
        (i for i in range(max(map(len, whole))) if len({tuple(ids[: i + 1]) for ids in whole}) > 1), 0
    )  # 0: all are alike
    tokens = [ids[common] if common < len(ids) else None for ids in whole]
    if None in tokens or len(set(tokens)) < len(tokens):
        raise InputError(
            f"{checkpoint.what} {checkpoint.path}: its tokenizer does not tell the options {', '.join(options)} apart by one token; "
            "give another judge"
        )
    ids = prompt + whole[0][:common]
    if checkpoint.positions and len(ids) > checkpoint.positions:
        return Failure(
            "too long",
            f"the question has {len(ids)} tokens, the judge {checkpoint.path} {checkpoint.positions} positions",
        )
    return ids, tokens


class _Forward:
    """Loads the model at the first chunk; log-probabilities of each job's options."""

    def __init__(self, checkpoint):
        self.checkpoint, self.lm = checkpoint, None

    def __call__(self, chunk):
        """(ids, option tokens) -> a list of log-probabilities (nats) each."""
        import torch

        from korlhf.data import packing
        from korlhf.models import causal_lm as models

        if self.lm is None:
            self.lm = self.checkpoint.load().eval()
        packed = packing.pack([ids for ids, _ in chunk]).to(self.checkpoint.device)
        try:
            with torch.no_grad():
                hidden = self.lm.base_model(
                    input_ids=packed.ids, position_ids=packed.position_ids, use_cache=False
                ).last_hidden_state
                logps = models.head_logits(self.lm, hidden.flatten(0, 1)[packed.last]).log_softmax(-1)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{self.checkpoint.what}: {len(chunk)} questions at once are too many for the GPU's memory; lower the batch size"
            ) from error
        return [row[torch.tensor(tokens, device=row.device)].tolist() for row, (_, tokens) in zip(logps, chunk)]
