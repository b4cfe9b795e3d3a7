"""What servers were asked and what it cost, and the limits on it: --max_requests and --max_cost."""

from typing import Any

from korlhf.core.errors import InputError
from korlhf.llm.flags import LlmFlags


def new_usage() -> dict[str, Any]:
    """An account of what was asked and paid: --max_requests and --max_cost hold for all Clients that share one."""
    counts = ("requests", "cached", "retries", "refused", "prompt_tokens", "answer_tokens", "without_token_counts")
    return {**dict.fromkeys((*counts, "with_damaged_characters"), 0), "cost": 0.0}


class Budget:
    """The limits of LlmFlags on an account of usage. Raises InputError for a limit on costs without prices."""

    def __init__(self, llm: LlmFlags, usage: dict[str, Any]):
        if llm.max_cost and not (llm.price_input and llm.price_output):
            raise InputError(
                f"--max_cost {llm.max_cost:g}: needs --price_input and --price_output, in US dollars per million tokens"
            )
        self._llm, self._usage = llm, usage

    def spent(self) -> str:
        """Which limit has been reached and what to do, in words, or ""."""
        llm, usage = self._llm, self._usage
        more = "start the same command again with a higher one to resume"
        if 0 < llm.max_requests <= usage["requests"]:
            return f"--max_requests {llm.max_requests}: all of them are sent; {more}"
        if 0 < llm.max_cost <= usage["cost"]:
            return f"--max_cost {llm.max_cost:g}: this run has cost {usage['cost']:.4g} US dollars; {more}"
        if llm.max_cost and usage["without_token_counts"]:
            unknown = "the server does not count tokens, so costs are unknown; use --max_requests"
            return f"--max_cost {llm.max_cost:g}: {unknown}"
        return ""

    def count(self, tokens: tuple[int, int] | None) -> None:
        """Add the tokens of a prompt and its answer; None = the server does not count them."""
        usage = self._usage
        usage["without_token_counts"] += tokens is None
        prompt, answer = tokens or (0, 0)
        usage["prompt_tokens"] += prompt
        usage["answer_tokens"] += answer
        cost = usage["prompt_tokens"] * self._llm.price_input + usage["answer_tokens"] * self._llm.price_output
        usage["cost"] = cost / 1e6
