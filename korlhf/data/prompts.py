"""Which prompts an evaluation asks."""

import random

from korlhf.data import load
from korlhf.data import record as records


def prompts(data_path, max_prompts=0, seed=1234):
    """Prompts of datasets, named as in training: a dataset's evaluation split if it has one, each prompt once.

    Returns records (korlhf/data/record.py), at most `max_prompts` (0 = all) drawn by `seed` with the categories' shares kept.
    Raises InputError for names and files that cannot be read.
    """
    found = {}
    for name in data_path:
        everything, own = load.load_step(3, [name], "0,0,1", eval_share=0.0, seed=seed)
        for example in own or everything:
            record = records.make([dict(m) for m in example.messages], example.category, name)
            found.setdefault(record["id"], record)
    return draw(list(found.values()), max_prompts, seed)


def draw(found, max_prompts, seed, key=lambda record: record["category"]):
    """At most `max_prompts` (0 = all) of the records, in their order, drawn by `seed` with the shares of the keys kept.

    A higher number keeps what a lower one draws.
    """
    if not 0 < max_prompts < len(found):
        return found
    by_key, ranked = {}, []
    for i, record in enumerate(found):
        by_key.setdefault(key(record), []).append(i)
    for name, places in by_key.items():
        drawn = random.Random(f"{seed}:{name}").sample(places, len(places))
        ranked += [
            ((k + 0.5) / len(places), name, i) for k, i in enumerate(drawn)
        ]  # each key's ranks are spread evenly from 0 to 1
    return [found[i] for i in sorted(i for _, _, i in sorted(ranked)[:max_prompts])]
