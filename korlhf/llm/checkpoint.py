"""Answers of a local checkpoint, sampled once and kept in the cache of korlhf/llm/client.py.

Everything that is asked is cut into fixed chunks, and a chunk goes into the cache whole. A run that was killed goes on at its first
missing chunk and ends with the same bytes: rounding depends on which prompts share a batch, so a chunk that is not all cached is computed
again as a whole (what is cached of it stays). torch is imported where a model is opened: `fingerprint` and the rest do without it.
Left out: several GPUs (start a server such as vLLM and ask that), beam search and top-k.
"""

import gc
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import TemplateError

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint as file_fingerprint
from korlhf.data import record as records
from korlhf.llm import batches as chunked
from korlhf.llm.cache import cache_key
from korlhf.llm.client import Failure, Reply

FILES = (
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab*",
    "merges.txt",
    "*.model",
    "adapter_*",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
    "*.py",
)


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled. temperature 0 = greedy; max_new_tokens counts the end of the answer; seed: a whole number."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class _Job:
    """One answer to be sampled."""

    key: str
    ids: list[int]
    seed: int


def answer_seed(seed, messages, sample):
    """Seed of one answer, 31 bits: the run's seed, the conversation and the answer's number alone decide it, not place or model."""
    return (
        int(hashlib.sha256(f"{seed} {records.record_id(messages)} {sample}".encode()).hexdigest()[:8], 16) & 0x7FFFFFFF
    )


def fingerprint(path):
    """sha256 over what makes a model folder answer as it does: configuration, tokenizer, template, adapter and weights, byte for byte.

    Of a hub name the commit that is current (or, without a network, the cached one) stands for the bytes. An adapter includes its base.
    Raises InputError if a hub name cannot be found.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return cache_key({"hub": str(path), "commit": _commit(path)})
    found = {p.name: file_fingerprint(p) for pattern in FILES for p in sorted(folder.glob(pattern)) if p.is_file()}
    if "adapter_config.json" in found:
        found["base"] = fingerprint(
            json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        )
    return cache_key(found)


def _commit(name):
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: no such folder, and not found on the hub: {str(error).splitlines()[0]}") from error


class Checkpoint:
    """A model folder, LoRA folder or hub name that answers: its codec at once, its weights only when `load` is called.

    codec: data.tokenize.Codec; fingerprint: see above; dtype: "fp32", "bf16" or "fp16"; positions: most tokens of prompt and answer,
    or None. what: the flag that names it, for errors. Raises InputError if it is no language model, or has no tokenizer or template.
    """

    def __init__(self, path, what, prompt_template="auto", dtype="auto", trust_remote_code=False):
        import torch  # slow to import, like the modules above it

        from korlhf.data.tokenize import Codec
        from korlhf.models import causal_lm as models
        from korlhf.models import reward_model
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.training import engine

        models.check_folder(path, what)
        config = _config(path, what, trust_remote_code)
        if Path(path, "config.json").exists() and reward_model.has_head(path):
            raise InputError(f"{what} {path}: a reward model, which writes no answers; give a folder of step 1 or 3")
        self.path, self.what, self.trust_remote_code = path, what, trust_remote_code
        self.codec = Codec(load_tokenizer(path, prompt_template, trust_remote_code, what))
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.dtype = engine.resolve_dtype(dtype, self.device)
        self.positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.fingerprint = fingerprint(path)

    def load(self):
        """The language model, on the GPU if there is one."""
        from korlhf.models import causal_lm as models
        from korlhf.training import engine

        return models.load_causal_lm(
            self.path,
            self.codec.tokenizer,
            self.what,
            dtype=engine.DTYPES[self.dtype],
            trust_remote_code=self.trust_remote_code,
        ).to(self.device)


def _config(path, what, trust_remote_code):
    from korlhf.models import causal_lm as models

    try:
        return models.load_config(models.lora_base(path, what) or path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{what} {path}: no model can be loaded ({str(error).splitlines()[0]}); give the folder of a finished model"
        ) from error


def answers(checkpoint, conversations, cache, sampling, num_answers=1, batch_size=64, desc="answers"):
    """Sample `num_answers` answers to each conversation (lists of messages); what is in the cache is not sampled again.

    Returns for each conversation a list of llm.Reply or llm.Failure (too long for the model, or not to be written in its template).
    The model is loaded only if an answer is missing, and has left the memory when this returns. Raises InputError if the GPU's memory
    does not suffice.
    """
    prompts = [_encode(checkpoint, messages, sampling.max_new_tokens) for messages in conversations]
    rounds = [
        {} for _ in range(num_answers)
    ]  # of one answer number each: a higher num_answers leaves the earlier chunks alone
    keys = []
    for messages, ids in zip(conversations, prompts):
        if isinstance(ids, Failure):
            keys.append(None)
            continue
        jobs = [_job(checkpoint, ids, sampling, answer_seed(sampling.seed, messages, k)) for k in range(num_answers)]
        for jobs_of_round, job in zip(rounds, jobs):
            jobs_of_round.setdefault(job.key, job)
        keys.append([job.key for job in jobs])
    chunks = []
    for jobs in (list(of.values()) for of in rounds):
        chunks += [[jobs[i] for i in places] for places in chunked.chunks([len(job.ids) for job in jobs], batch_size)]
    found = _sampled(checkpoint, chunks, cache, sampling, desc)
    return [[ids] * num_answers if of is None else [found[key] for key in of] for ids, of in zip(prompts, keys)]


def _encode(checkpoint, messages, max_new_tokens):
    """Prompt ids, or a Failure."""
    try:
        ids = checkpoint.codec.prompt(messages).ids
    except (TemplateError, ValueError) as error:  # e.g. Gemma 2's template raises for a system message
        return Failure(
            "bad request",
            f"{checkpoint.path}: its chat template does not take this conversation: {str(error).splitlines()[0]}",
        )
    if checkpoint.positions and len(ids) + max_new_tokens > checkpoint.positions:
        return Failure(
            "too long",
            f"the prompt has {len(ids)} tokens; with --max_new_tokens {max_new_tokens} that is more than "
            f"the model's {checkpoint.positions} positions",
        )
    return ids


def _job(checkpoint, ids, sampling, seed):
    key = cache_key(
        {"local": checkpoint.fingerprint, "dtype": checkpoint.dtype, "prompt": ids, **asdict(sampling), "seed": seed}
    )
    return _Job(key, ids, seed)


def _sampled(checkpoint, chunks, cache, sampling, desc):
    """{key: Reply} of every job, with a progress bar."""
    lm, found = None, {}
    with program.bar(total=sum(map(len, chunks)), desc=desc, unit="answers") as bar:
        for chunk in chunks:
            known = {job.key for job in chunk if cache.get(job.key) is not None}
            if len(known) < len(chunk):
                lm = checkpoint.load() if lm is None else lm
                cache.put_many(_sample(lm, checkpoint.codec, chunk, sampling))  # what is there already stays
            for job in chunk:
                value = cache.get(job.key)
                found[job.key] = Reply(
                    value["text"], value["finish_reason"], None, len(job.ids), value["tokens"], job.key in known
                )
            bar.update(len(chunk))
    if lm is not None:
        del lm
        _free_memory()
    return found


def _sample(lm, codec, chunk, sampling):
    """[(key, {"text", "finish_reason", "tokens"})] of a chunk's jobs, in one batch."""
    import torch

    from korlhf.rl import rollout

    try:
        ids = rollout.sample(
            lm,
            [job.ids for job in chunk],
            codec.stop_id,
            sampling.max_new_tokens,
            [job.seed for job in chunk],
            len(chunk),
            sampling.temperature,
            sampling.top_p,
        )
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"--batch_size {len(chunk)}: too many answers at once for the GPU; lower it, or --max_new_tokens"
        ) from error
    return [
        (
            job.key,
            {
                "text": codec.decode(answer),
                "finish_reason": "stop" if answer[-1] == codec.stop_id else "length",
                "tokens": len(answer),
            },
        )
        for job, answer in zip(chunk, ids)
    ]


def _free_memory():
    """Give the memory of a model that is no longer referred to back to the next one."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
