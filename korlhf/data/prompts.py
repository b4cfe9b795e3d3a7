"""Which prompts an evaluation asks."""

import random
from collections.abc import Callable, Iterable

from korlhf.data import load, record
from korlhf.data.record import Record


def prompts(data_path: Iterable[str], max_prompts: int = 0, seed: int = 1234) -> list[Record]:
    """Prompts of datasets, named as in training: a dataset's evaluation split if it has one, each prompt once.

    At most `max_prompts` (0 = all) drawn by `seed` with the categories' shares kept.
    Raises InputError for names and files that cannot be read.
    """
    found = {}
    for name in data_path:
        everything, own = load.load_step(3, [name], "0,0,1", eval_share=0.0, seed=seed)
        for example in own or everything:
            made = record.make(example.messages, example.category, name)
            found.setdefault(made["id"], made)
    return draw(list(found.values()), max_prompts, seed)


def draw(records: list, max_prompts: int, seed: int, key: Callable = lambda record: record["category"]) -> list:
    """At most `max_prompts` (0 = all) of the records, in their order, drawn by `seed` with the shares of the keys kept.

    A higher number keeps what a lower one draws.
    """
    if not 0 < max_prompts < len(records):
        return records
    by_key, ranked = {}, []
    for i, one in enumerate(records):
        by_key.setdefault(key(one), []).append(i)
    for name, places in by_key.items():
        drawn = random.Random(f"{seed}:{name}").sample(places, len(places))
        ranked += [((k + 0.5) / len(places), name, i) for k, i in enumerate(drawn)]  # ranks spread evenly from 0 to 1
    return [records[i] for i in sorted(i for _, _, i in sorted(ranked)[:max_prompts])]
