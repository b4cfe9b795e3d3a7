"""What a server of the OpenAI protocol says: an answer, a refusal, an error, how long to wait."""

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 120.0  # seconds; a server that asks for more is asked again anyway
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, which no UTF-8 file can hold


@dataclass(frozen=True)
class Reply:
    """An answer. logprobs: None, or a list of {"token", "logprob", "top": [{"token", "logprob"}, ...]}, one a token of the text."""

    text: str
    finish_reason: str | None
    logprobs: list | None
    prompt_tokens: int
    answer_tokens: int
    cached: bool


@dataclass(frozen=True)
class Failure:
    """kind: refusal, empty, server, rate limit, timeout, connection, bad request or unusable; reason: one line."""

    kind: str
    reason: str


def message_of(error):
    """What the server says about an error: {"error": {"message"}}, {"message"}, {"detail"} or any other body."""
    found = error.body
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def retry_after(value):
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date), up to LONGEST_RETRY_AFTER; None if it is none."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.strip()):
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def read(text):
    """The body of a 2xx answer: (dict for the cache, or Failure; (prompt tokens, answer tokens), or None if the server does not count)."""
    try:
        body = json.loads(text)
    except ValueError:
        return Failure("server", f"its answer is not JSON, or cut: {text}"), (0, 0)
    try:
        choice = body["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        logprobs = _logprobs(choice.get("logprobs"))
        usage = body.get("usage")
        tokens = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0) if usage else None
    except (LookupError, TypeError, AttributeError):
        return Failure("empty", f"no choices in its answer: {text}"), (0, 0)
    counted = dict(zip(("prompt_tokens", "answer_tokens"), tokens or (0, 0)))
    if refusal or finish == "content_filter":
        return {"refusal": whole(refusal or content or "content_filter"), **counted}, tokens
    if not isinstance(content, str) or not content:
        return Failure("empty", f"neither text nor refusal in its answer, finish_reason {finish}"), tokens or (0, 0)
    return {"text": whole(content), "finish_reason": finish, "logprobs": logprobs, **counted}, tokens


def _logprobs(found):
    """Of a choice: None, or a list of {"token", "logprob", "top"}, one a token."""
    if not found or found.get("content") is None:
        return None
    return [{**_token(t), "top": [_token(other) for other in t.get("top_logprobs") or ()]} for t in found["content"]]


def _token(found):
    return {"token": whole(found["token"]), "logprob": found["logprob"]}


def whole(text):
    """The text with U+FFFD for every half of a surrogate pair."""
    return HALF_CHARACTER.sub("\ufffd", text)
