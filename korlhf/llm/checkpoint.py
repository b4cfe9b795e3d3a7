"""Local models: what is known of a folder before its weights are loaded, and answers, sampled once and cached.

Answers are sampled in this process, or by a vLLM server that is started for a checkpoint (--rollout). torch is imported
where a model is opened: `fingerprint` and the rest do without it. Left out: several GPUs in this process, beam search
and top-k.
"""

import contextlib
import functools
import gc
import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from korlhf.core import program
from korlhf.core.errors import InputError, Unavailable
from korlhf.data import record as records
from korlhf.llm import batches
from korlhf.llm.cache import Cache
from korlhf.llm.protocol import Failure, Reply
from korlhf.models import folders
from korlhf.models.fingerprint import fingerprint
from korlhf.training.rollout_flags import VllmFlags


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled. temperature 0 = greedy; max_new_tokens counts the end of the answer."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


def answer_seed(seed: int, messages: list[dict], sample: int) -> int:
    """Seed of one answer, 31 bits: the run's seed, the conversation and the answer's number decide it alone."""
    text = f"{seed} {records.record_id(messages)} {sample}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) & 0x7FFFFFFF


class ModelFolder:
    """A model folder, LoRA folder or hub name, without its weights.

    codec: data.tokenize.Codec; fingerprint: of models.fingerprint; dtype: "fp32", "bf16" or "fp16"; positions: most
    tokens that it takes, or None. what: the flag that names it, for errors. Raises InputError if it is no model of
    this kind, or has no tokenizer or template.
    """

    scores_answers = False  # as reward models do
    wrong_kind = "a reward model, which writes no answers; give a folder of step 1 or 3"

    def __init__(
        self, path: str, what: str, prompt_template: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
    ):
        folders.check_folder(path, what)
        with program.slow_imports():
            import torch

            from korlhf.data.tokenize import Codec
            from korlhf.models import causal_lm, reward_model
            from korlhf.models.tokenizer import load_tokenizer
            from korlhf.training import implicit
            from korlhf.training.world import resolve_dtype

        config = causal_lm.config_of(path, what, trust_remote_code)
        scores = reward_model.has_head(path) or (self.scores_answers and implicit.is_implicit(path))
        if Path(path, "config.json").exists() and scores != self.scores_answers:
            raise InputError(f"{what} {path}: {self.wrong_kind}")
        self.path, self.what, self.trust_remote_code = path, what, trust_remote_code
        self.codec = Codec(load_tokenizer(path, prompt_template, trust_remote_code, what))
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.dtype = resolve_dtype(dtype, self.device)
        self.positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.fingerprint = fingerprint(path)

    def encode(self, encode: Callable[..., Any], *args: Any) -> list[int] | Failure:
        """Token ids by a method of the codec, or a Failure (Gemma 2's template raises for a system message)."""
        from korlhf.data.tokenize import UnfitConversation

        try:
            return encode(*args).ids
        except UnfitConversation as error:
            return Failure("bad request", str(error))


class Checkpoint(ModelFolder):
    """A language model that answers."""

    def __init__(self, path: str, what: str, *how: Any, rollout: VllmFlags | None = None):
        """how: as of ModelFolder; rollout: who samples its answers, None = this process."""
        super().__init__(path, what, *how)
        self.rollout, self._served = rollout or VllmFlags(), None

    @contextlib.contextmanager
    def served(self, cache: Cache, room: int = 1) -> Generator[Any]:
        """Inside, the vLLM server of --rollout, started when it is first asked, or None for `local`; inside of another
        `served` it is the same one. Its log lies next to the cache; room: as of rl.served.Served.
        """
        if self.rollout.rollout == "local" or self._served:
            yield self._served
            return
        from korlhf.rl.served import Finished, Served

        same = self.path, self.what, self.codec, self.dtype, self.positions, self.trust_remote_code
        self._served = Served(self.rollout, Finished(*same), cache.path.with_suffix(".vllm.log"), room)
        try:
            with self._served:
                yield self._served
        finally:
            self._served = None

    def load(self) -> Any:
        """The language model, on the GPU if there is one."""
        from korlhf.models import causal_lm
        from korlhf.training.world import DTYPES

        return causal_lm.load_causal_lm(
            self.path,
            self.codec.tokenizer,
            self.what,
            dtype=DTYPES[self.dtype],
            trust_remote_code=self.trust_remote_code,
        ).to(self.device)

    def prompt(self, messages: list[dict], max_new_tokens: int) -> list[int] | Failure:
        """Token ids of a conversation that is to be answered, or a Failure."""
        ids = self.encode(self.codec.prompt, messages)
        if isinstance(ids, Failure) or not self.positions or len(ids) + max_new_tokens <= self.positions:
            return ids
        return Failure(
            "too long",
            f"the prompt has {len(ids)} tokens; with --max_new_tokens {max_new_tokens} that is more than "
            f"the model's {self.positions} positions",
        )


def answers(
    checkpoint: Checkpoint,
    conversations: Sequence[list[dict]],
    cache: Cache,
    sampling: Sampling,
    num_answers: int = 1,
    batch_size: int = 64,
    desc: str = "answers",
) -> list[list[Reply | Failure]]:
    """Sample `num_answers` answers to each conversation (lists of messages); what is in the cache is not sampled again.

    Returns for each conversation a list of Reply or Failure (too long for the model, or not to be written in its
    template). The model is loaded, or its server started, only if an answer is missing, and has left the memory when
    this returns, but for a server inside of `served`. Raises InputError if the GPU's memory does not suffice, and for a
    server that fails: what it has answered is in the cache.
    """
    prompts = [checkpoint.prompt(messages, sampling.max_new_tokens) for messages in conversations]
    jobs = [
        [
            (ids, answer_seed(sampling.seed, messages, k))
            for messages, ids in zip(conversations, prompts)
            if not isinstance(ids, Failure)
        ]
        for k in range(num_answers)
    ]
    with checkpoint.served(cache) as server:
        if server:
            found = _by_server(server, checkpoint, jobs, cache, sampling, desc)
        else:
            found = _here(checkpoint, jobs, cache, sampling, batch_size, desc)
    values = [iter(of_sample) for of_sample in found]
    return [
        [ids if isinstance(ids, Failure) else _reply(ids, *next(of_sample)) for of_sample in values] for ids in prompts
    ]


def _same(checkpoint: Checkpoint, sampling: Sampling) -> dict[str, Any]:
    return {"answers_of": checkpoint.fingerprint, "dtype": checkpoint.dtype, **asdict(sampling)}


def _here(checkpoint, jobs, cache, sampling, batch_size, desc):
    """Values of lists of jobs, one per sample: in chunks of their own, so that a higher num_answers leaves the earlier
    ones alone."""
    load = functools.cache(checkpoint.load)
    forward = functools.partial(_sample, load, checkpoint.codec, sampling)
    found = []
    for k, of_sample in enumerate(jobs, 1):
        name = f"{desc} {k}/{len(jobs)}" if len(jobs) > 1 else desc
        found.append(batches.compute(of_sample, cache, _same(checkpoint, sampling), forward, batch_size, name))
    if load.cache_info().currsize:
        load.cache_clear()
        _free_memory()
    return found


def _sample(
    load: Callable[[], Any], codec: Any, sampling: Sampling, chunk: list[tuple[list[int], int]]
) -> list[tuple[str, str, int]]:
    """`_said` of a chunk's jobs, in one batch."""
    from korlhf.rl import rollout

    prompts, seeds = zip(*chunk)
    sampled = rollout.sample(load(), prompts, seeds, codec.eos_token_id, _limits(sampling), len(chunk))
    return [_said(codec, ids) for ids in sampled]


def _by_server(server, checkpoint, jobs, cache, sampling, desc):
    """As `_here`, all samples at once. What else its arguments make of the weights is a part of the question."""
    codec, same = checkpoint.codec, _same(checkpoint, sampling)
    same |= {"rollout": "vllm", "vllm_args": checkpoint.rollout.vllm_args}

    def ask(missing, keep):
        prompts, seeds = zip(*missing)
        server.sample(prompts, seeds, _limits(sampling), desc, lambda place, ids: keep(place, _said(codec, ids)))

    try:
        values = iter(batches.collect([job for of_sample in jobs for job in of_sample], cache, same, ask))
    except Unavailable as error:
        raise InputError(f"{error}; its answers are in the cache: start the same command again") from error
    return [[next(values) for _ in of_sample] for of_sample in jobs]


def _limits(sampling: Sampling) -> Any:
    from korlhf.rl.rollout import Limits

    return Limits(sampling.max_new_tokens, sampling.temperature, sampling.top_p)


def _said(codec: Any, ids: list[int]) -> tuple[str, str, int]:
    """(text, finish_reason, tokens)"""
    return codec.decode(ids), "stop" if ids[-1] == codec.eos_token_id else "length", len(ids)


def _reply(prompt: list[int], text: str, finish_reason: str, tokens: int) -> Reply:
    return Reply(text, finish_reason, None, len(prompt), tokens)


def _free_memory() -> None:
    """Give the memory of a model that is no longer referred to back to the next one."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
