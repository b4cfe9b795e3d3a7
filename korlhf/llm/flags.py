"""Flags of whoever answers: local checkpoints and OpenAI-compatible servers."""

from argparse import ArgumentParser
from dataclasses import dataclass

from korlhf.core.flags import flag
from korlhf.training.rollout_flags import VllmFlags


@dataclass(frozen=True, kw_only=True)
class CheckpointFlags:
    """local checkpoints"""

    prompt_template: str = flag(
        "auto",
        "how a conversation is written out; auto = the template in the model's folder, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    trust_remote_code: bool = flag(False, "run Python code that comes with a hub model")


@dataclass(frozen=True, kw_only=True)
class SamplerFlags(CheckpointFlags, VllmFlags):
    """local checkpoints"""

    batch_size: int = flag(64, "answers sampled at once, by --rollout local", above=0)

    def check(self, parser: ArgumentParser) -> None:
        """Raises InputError for a --rollout that cannot work."""
        self.check_vllm()


@dataclass(frozen=True, kw_only=True)
class StreamFlags:
    """OpenAI-compatible server"""

    base_url: str = flag(
        "", "address of the server if openai:MODEL has none, e.g. http://127.0.0.1:8000/v1; else OpenAI's"
    )
    api_key_env: str = flag("OPENAI_API_KEY", "environment variable that holds the key")
    request_timeout: float = flag(120.0, "seconds without a word until an answer is given up", above=0)


@dataclass(frozen=True, kw_only=True)
class LlmFlags:
    """OpenAI-compatible server"""

    base_url: str = flag("", "address of the server, e.g. http://127.0.0.1:8000/v1 (vLLM, Ollama, ...); else OpenAI's")
    api_key_env: str = flag(
        "OPENAI_API_KEY", "environment variable that holds the key, which is in no flag, log or report"
    )
    concurrency: int = flag(8, "requests in flight at once", above=0)
    max_requests: int = flag(
        0, "stop after this many requests in this run; answers are kept, a higher limit resumes; 0 = no limit", low=0
    )
    max_cost: float = flag(
        0.0, "US dollars after which no request is started (those in flight are finished); 0 = no limit", low=0
    )
    price_input: float = flag(0.0, "US dollars per million tokens of prompts", low=0)
    price_output: float = flag(0.0, "US dollars per million tokens of answers", low=0)
    request_timeout: float = flag(120.0, "seconds until an unanswered request is given up and tried again", above=0)
    max_retries: int = flag(6, "tries after the first when the server is busy, fails or drops the connection", low=0)
    cache: str = flag(
        "",
        "SQLite file of all answers: nothing is asked twice; not given = one in the folder of the output",
        output="file",
    )
