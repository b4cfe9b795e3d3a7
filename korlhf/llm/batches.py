"""What a local model computes for many texts, kept in the cache chunk by chunk.

Rounding depends on which texts share a batch, so a chunk goes into the cache whole, and is computed whole if a part of
it is missing there (what is there stays): a run that was killed resumes at its first missing chunk and ends with the
same figures.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.llm.cache import Cache, cache_key

WINDOW = 32  # chunks sorted by length together: less padding, and added jobs leave the chunks before alone

Job = list[int] | tuple[Any, ...]


def compute(
    jobs: Sequence[Job],
    cache: Cache,
    same: dict[str, Any],
    forward: Callable[[list], Sequence],
    batch_size: int,
    desc: str,
    unit: str = "answers",
) -> list[Any]:
    """Values of the jobs, in their order, with a progress bar. Equal jobs are computed once.

    jobs: lists of token ids, or tuples whose first part is one; same: what else the values depend on (a dict for JSON);
    forward: called with the jobs of a chunk, returns a JSON value each. Raises InputError if the GPU's memory does not
    suffice.
    """
    import torch  # slow to import

    keys = [cache_key({**same, "job": job}) for job in jobs]
    unique, asked = dict(zip(keys, jobs)), Counter(keys)
    names = list(unique)
    with progress.bar(total=len(jobs), desc=desc, unit=unit) as bar:
        lengths = [len(job[0] if isinstance(job, tuple) else job) for job in unique.values()]
        for places in chunks(lengths, batch_size):
            chunk = [names[i] for i in places]
            if any(cache.get(key) is None for key in chunk):
                try:
                    values = forward([unique[key] for key in chunk])
                except torch.OutOfMemoryError as error:
                    raise InputError(
                        f"{desc}: {len(chunk)} {unit} at once do not fit into the GPU's memory; give a smaller batch "
                        "size"
                    ) from error
                cache.put_many([(key, {"value": value}) for key, value in zip(chunk, values)])
            bar.update(sum(asked[key] for key in chunk))
    return [(cache.get(key) or {})["value"] for key in keys]


def collect(
    jobs: Sequence[Job], cache: Cache, same: dict[str, Any], ask: Callable[[list, Callable[[int, Any], None]], Any]
) -> list[Any]:
    """As `compute`, by a server that takes as many jobs at once as there are, and whose values do not depend on chunks.

    ask: called once, if a job is missing in the cache, with those that are and a function that keeps a value: (place
    of its job among them, value).
    """
    keys = [cache_key({**same, "job": job}) for job in jobs]
    missing = {key: job for key, job in zip(keys, jobs) if cache.get(key) is None}
    names = list(missing)
    if missing:
        ask(list(missing.values()), lambda place, value: cache.put(names[place], {"value": value}))
    return [(cache.get(key) or {})["value"] for key in keys]


def chunks(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Lists of `batch_size` places: sorted within windows of the order given, the longest first."""
    for start in range(0, len(lengths), WINDOW * batch_size):
        window = sorted(range(start, min(start + WINDOW * batch_size, len(lengths))), key=lambda i: -lengths[i])
        yield from (window[at : at + batch_size] for at in range(0, len(window), batch_size))
