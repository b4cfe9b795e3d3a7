"""--data_split "2,4,4": which rows of a dataset belong to which training step.

A prompt's share is decided by a hash of the prompt and the seed alone. So it is the same on every rank and machine,
does not move when rows are added, and is the same in every dataset: a prompt that two datasets share never meets two
steps. The price is that shares are met up to chance: a share of .4 of 1,000 prompts is 400 give or take 15.
"""

import hashlib
import unicodedata
from collections.abc import Iterable

from korlhf.core.errors import InputError


def normalise(prompt: str) -> str:
    """What makes two prompts the same: case, spacing, Unicode form and final punctuation do not count."""
    text = "".join(unicodedata.normalize("NFKC", prompt).casefold().split())
    return text.rstrip(".!?~…。") or text


def conversation_key(messages: Iterable[dict[str, str]]) -> str:
    """What makes two conversations the same: all of their messages but the system message, normalised."""
    return normalise("\n".join(m["content"] + "\n" + m.get("input", "") for m in messages if m["role"] != "system"))


def parse_shares(shares: str) -> list[float]:
    """ "2,4,4" -> [.2, .4, .4]; raises InputError unless it is three numbers of at least 0, not all 0."""
    try:
        values = [float(s) for s in shares.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(0 <= v < float("inf") for v in values) or not sum(values):
        raise InputError(f"--data_split {shares!r}: give three shares, one for each step, e.g. 2,4,4")
    return [v / sum(values) for v in values]


def split_by_prompt(prompts: Iterable[str], shares: str, seed: int) -> list[list[int]]:
    """Indices of `prompts` for steps 1, 2 and 3: three increasing lists, disjoint and covering.

    prompts: equal ones (see `normalise`) land in the same list. shares: "2,4,4". Raises InputError for bad shares.
    """
    first, second, third = parse_shares(shares)
    bounds = [first, first + second if third else 1.0]
    parts = [[], [], []]
    for i, prompt in enumerate(prompts):
        digest = hashlib.sha256(f"{seed}:{normalise(prompt)}".encode()).digest()
        place = int.from_bytes(digest[:6], "big") / 2**48
        parts[sum(place >= bound for bound in bounds)].append(i)
    return parts
