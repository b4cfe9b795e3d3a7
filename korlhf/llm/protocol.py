"""What a server of the OpenAI protocol says: an answer, a refusal, an error, how long to wait; its address and key."""

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from korlhf.core.errors import InputError
from korlhf.data.characters import CONTROL, SURROGATE

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"
NO_KEY = "not-needed"  # servers of one's own want some key, and take any
LONGEST_RETRY_AFTER = 120.0  # seconds; a server that asks for more is asked again anyway
CONTEXT_ERROR = re.compile(
    r"context.?(length|window|size)|maximum.{0,20}(length|tokens)|too (long|many tokens)", re.IGNORECASE
)
PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
SECRET = re.compile(r"(?<![A-Za-z0-9])sk-[^\s\"',)}\]]+")


@dataclass(frozen=True)
class Reply:
    """An answer. answer_tokens: None if they are not known; logprobs: None, or a dict per token of the text:
    {"token", "logprob", "top": [{"token", "logprob"}, ...]}."""

    text: str
    finish_reason: str | None
    logprobs: list[dict] | None
    prompt_tokens: int
    answer_tokens: int | None


@dataclass(frozen=True)
class Failure:
    """kind: refusal, empty, server, rate limit, timeout, connection, too long, bad request or unusable; reason: one
    line."""

    kind: str
    reason: str


def address(base_url: str) -> tuple[str, bool]:
    """The address without a slash at its end, and whether it is OpenAI's own. Raises InputError."""
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if (shown := PASSWORD.sub("***@", base_url)) != base_url:  # it would stand in caches, reports and logs
        raise InputError(
            f"--base_url {shown}: holds a name or password; take it out, and give a key by the environment variable of "
            "--api_key_env"
        )
    if not good:
        raise InputError(f"--base_url {base_url}: is no address; give one like http://127.0.0.1:8000/v1")
    return base_url.rstrip("/"), f".{parts.hostname}".endswith(".api.openai.com")


def api_key(variable: str, required: bool) -> str:
    """The key from the environment, or "" if there is none and none is required. Raises InputError."""
    key = os.environ.get(variable, "").strip()
    if required and not key:
        raise InputError(
            f"--api_key_env {variable}: this environment variable is not set; export it with your OpenAI key, "
            "or give --base_url for another server"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"--api_key_env {variable}: this environment variable holds characters that no key has; export the bare key"
        )
    return key


def one_line(text: object, key: str) -> str:
    """One line of a foreign text, of at most 300 characters, without keys."""
    text = str(text).replace(key, "***") if key else str(text)
    return " ".join(SECRET.sub("***", whole(text)).split())[:300]


def message_of(error: "openai.APIStatusError") -> str:
    """What the server says about an error: {"error": {"message"}}, {"message"}, {"detail"} or any other body."""
    said = error.body
    if isinstance(said, dict):
        said = said.get("message") or said.get("detail") or said
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, up to LONGEST_RETRY_AFTER; None if it gives no seconds (its other
    form, a date, no server of this protocol sends)."""
    if value is None or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.strip()):
        return None
    return min(float(value), LONGEST_RETRY_AFTER)


def read(text: str) -> tuple[dict | Failure, tuple[int, int] | None]:
    """The body of a 2xx answer: dict for the cache, or Failure; tokens of prompt and answer, None if not counted."""
    try:
        body = json.loads(text)
    except ValueError:
        return Failure("server", f"its answer is not JSON, or cut: {text}"), (0, 0)
    try:
        choice = body["choices"][0]
        message, finish, usage = choice["message"], choice.get("finish_reason"), body.get("usage")
        content, refusal = message.get("content"), message.get("refusal")
        logprobs = (choice.get("logprobs") or {}).get("content")
        if logprobs is not None:
            logprobs = [{**_token(t), "top": list(map(_token, t.get("top_logprobs") or ()))} for t in logprobs]
        tokens = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0) if usage else None
    except (LookupError, TypeError, AttributeError):
        return Failure("empty", f"no choices in its answer: {text}"), (0, 0)
    counted = dict(zip(("prompt_tokens", "answer_tokens"), tokens or (0, 0)))
    if refusal or finish == "content_filter":
        return {"refusal": whole(refusal or content or "content_filter"), **counted}, tokens
    if not isinstance(content, str) or not content:
        return Failure("empty", f"neither text nor refusal in its answer, finish_reason {finish}"), tokens or (0, 0)
    return {"text": plain(content), "finish_reason": finish, "logprobs": logprobs, **counted}, tokens


def _token(token: dict) -> dict:
    return {"token": whole(token["token"]), "logprob": token["logprob"]}


def whole(text: str) -> str:
    """The text with U+FFFD for every half of a surrogate pair."""
    return SURROGATE.sub("\ufffd", text)


def plain(text: str) -> str:
    """The text with U+FFFD for what no text holds: NUL, ESC and other control characters, halves of a surrogate
    pair.
    """
    return CONTROL.sub("\ufffd", text)
