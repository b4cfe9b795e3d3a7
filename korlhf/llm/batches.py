"""What a local model computes for many texts, kept in the cache chunk by chunk.

Rounding depends on which texts share a batch, so a chunk is computed and kept as a whole: a run that was killed goes on at its first missing
chunk and ends with the same figures.
"""

from korlhf.core import program
from korlhf.llm.cache import cache_key

WINDOW = 32  # chunks whose jobs are sorted by length together: less padding, and jobs added at the end leave the chunks before alone


def compute(jobs, cache, same, forward, batch_size, desc, unit="answers"):
    """Values of the jobs, in their order, with a progress bar.

    jobs: lists of token ids, or tuples whose first part is one; same: what else the values depend on (a dict for JSON); forward: called
    with the jobs of a missing chunk, returns a JSON value each.
    """
    out = [None] * len(jobs)
    with program.bar(total=len(jobs), desc=desc, unit=unit) as bar:
        for places in chunks([len(_ids(job)) for job in jobs], batch_size):
            chunk = [jobs[i] for i in places]
            key = cache_key({**same, "chunk": chunk})
            if cache.get(key) is None:
                cache.put(key, {"values": forward(chunk)})
            for i, value in zip(places, cache.get(key)["values"]):
                out[i] = value
            bar.update(len(chunk))
    return out


def _ids(job):
    return job[0] if isinstance(job, tuple) else job


def chunks(lengths, batch_size):
    """Lists of `batch_size` places: sorted within windows of the order given, the longest first (too little memory shows at once)."""
    for start in range(0, len(lengths), WINDOW * batch_size):
        window = sorted(range(start, min(start + WINDOW * batch_size, len(lengths))), key=lambda i: -lengths[i])
        yield from (window[at : at + batch_size] for at in range(0, len(window), batch_size))
