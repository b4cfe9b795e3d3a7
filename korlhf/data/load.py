"""Names in --data_path -> examples: training and held-out ones of a step.

A name is, in this order: a registered dataset (korlhf/data/registry.py); a file; a folder; a hub name
"owner/name[:config][@revision]". A folder that ends in a registered name, e.g. /data/Dahoas/rm-static, is a local copy
of it and read with its columns. Rows of a user's own files must be right: the first that is not is an error with file
and line. Faulty rows of published sets are left out and counted. Nothing is cached here: a file that changed is read
anew.
"""

import itertools
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.data import registry
from korlhf.data.example import Example, RowError, RowSkipped, read_row, with_label, with_scores
from korlhf.data.readers import SUFFIXES, read_rows
from korlhf.data.split import conversation_key, normalise, parse_shares, split_by_prompt

EVAL_NAMES = ("eval", "validation", "valid", "dev", "test")
_PROJECT = Path(__file__).resolve().parents[2]


def load_step(  # noqa: PLR0913 the last three are of one step each
    step: int,
    data_path: Sequence[str],
    data_split: str,
    *,
    eval_data_path: Sequence[str] = (),
    eval_share: float = 0.05,
    seed: int = 1234,
    sft_only_data_path: Sequence[str] = (),
    margin_column: str = "",
    labels: bool = False,
) -> tuple[list[Example], list[Example]]:
    """The examples of training step 1, 2 or 3 -> (training, held-out), disjoint by prompt; two lists of Example.

    Training: this step's share of every dataset of `data_path`; in step 1 also all of `sft_only_data_path`. Held-out:
    `eval_data_path` if given, else each dataset's own evaluation split, else `eval_share` of its part. Training prompts
    that are held out as well are removed. Step 3 reads no answers, and every prompt occurs once. margin_column: where a
    judge's scores of the answers are (`with_scores`). labels: single answers that are good or bad are
    taken as well (`with_label`). Raises InputError for names, files and rows that cannot be used, if nothing is left to
    train on, and if no training row has the margin_column.
    """
    parse_shares(data_split)
    parts = [(name, data_split) for name in data_path] + [(name, "1,0,0") for name in sft_only_data_path if step == 1]
    train, heldout, loaded = [], [], 0
    for name, shares in parts:
        examples = load_examples(name, step, "train", margin_column, labels)
        part = [examples[i] for i in split_by_prompt([prompt_key(e) for e in examples], shares, seed)[step - 1]]
        own = [] if eval_data_path else _load(name, step, "eval", margin_column, labels)
        if own is None:
            part, own = _hold_out(part, eval_share, f"{seed}:{name}")
        loaded += len(examples)
        train += part
        heldout += own
    for name in eval_data_path:
        own = _load(name, step, "eval", margin_column, labels)
        heldout += own or load_examples(name, step, "train", margin_column, labels)
    if not train:
        raise InputError(_why_empty(step, data_split, data_path, loaded))
    kept = _without(train, heldout)
    if not kept:
        remedy = "give other --eval_data_path" if eval_data_path else "give other data, or --eval_data_path"
        names = " ".join(data_path)
        raise InputError(f"--data_path {names}: all {len(train)} prompts of step {step} are held out as well; {remedy}")
    if margin_column and not any(e.scores for e in kept):
        names = " ".join(data_path)
        raise InputError(f"--margin_column {margin_column}: no row of {names} has it; name another, or delete the flag")
    if step == 3:
        kept, heldout = _prompts_once(kept), _prompts_once(heldout)
    return kept, heldout


def load_examples(
    name: str, step: int, split: str = "train", margin_column: str = "", labels: bool = False
) -> list[Example]:
    """All examples of one dataset, unsplit. split: "train", or "eval" for its evaluation split.

    Raises InputError if it cannot be read, cannot train `step` or has no such split.
    """
    examples = _load(name, step, split, margin_column, labels)
    if examples is None:
        raise InputError(f"dataset {name}: has no evaluation split; give another dataset")
    return examples


def load_rows(name: str) -> Iterable[tuple[str, dict]]:
    """(place, row) of a file, of a folder with one file or a train.*, or of a hub name's only split or its train; the
    rows as they are. Raises InputError if it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return read_rows(path)
    if path.is_dir():
        return _folder(path, name, "train", None)
    hub = _hub_name(name)
    return _pick(hub_splits(name, hub["hub"], hub["config"], hub["revision"]), name, "train")


def check_names(names: Iterable[str]) -> None:
    """Raises InputError if one of the names is neither known, nor a file or folder, nor can be a hub name. Reads
    nothing.
    """
    for name in names:
        path = Path(name).expanduser()
        if name.partition("@")[0] not in registry.SOURCES and not path.exists():
            _hub_name(name)


def _hub_name(name):
    """The parts of a hub name. Raises InputError if it looks like a path, at which there is nothing."""
    path, hub = Path(name).expanduser(), registry.HUB.fullmatch(name)
    if not hub or path.suffix.lower() in SUFFIXES or name.startswith((".", "sample/", "local/")):
        raise InputError(f"{path}: no such file or folder{registry.close_names(name) or close_names(path)}")
    return hub


def prompt_key(example: Example) -> str:
    """What makes two examples the same prompt: the conversation without a system message, or the text, normalised."""
    return conversation_key(example.messages) if example.messages else normalise(example.text)


def _why_empty(step, data_split, data_path, loaded):
    share, names = data_split.split(",")[step - 1].strip(), " ".join(data_path)
    if not float(share):
        return f"--data_split {data_split}: the share of step {step} is 0, so it has nothing to train on; raise it"
    what = f"step {step} got none of the {loaded} rows of {names}: its share, {share}, is too small for so few"
    return f"--data_split {data_split}: {what}; raise it or give more data"


def _hold_out(examples, share, seed):
    """Examples -> (rest, held-out): `share` of the prompts, at least one if there are two."""
    of = [prompt_key(e) for e in examples]
    keys = list(dict.fromkeys(of))
    n = min(max(1, round(share * len(keys))), len(keys) - 1) if share > 0 and keys else 0
    held = set(random.Random(seed).sample(keys, n))
    return [e for e, k in zip(examples, of) if k not in held], [e for e, k in zip(examples, of) if k in held]


def _without(train, heldout):
    held = {prompt_key(e) for e in heldout}
    kept = [e for e in train if prompt_key(e) not in held]
    if gone := len(train) - len(kept):
        _note(f"{gone} of {len(train)} training examples removed: their prompts are held out for evaluation as well")
    return kept


def _prompts_once(examples):
    first = {}
    for e in examples:
        first.setdefault(prompt_key(e), replace(e, answers=()))
    return list(first.values())


def _note(text):
    if os.environ.get("RANK", "0") == "0":  # every rank reads the data; one of them tells
        print(text, file=sys.stderr, flush=True)


def _load(name, step, split, margin_column="", labels=False):
    """Examples of a split, or None if there is no evaluation split."""
    if step not in (1, 2, 3) or split not in ("train", "eval"):
        raise ValueError(f"step {step!r} or split {split!r}: expected 1, 2 or 3 and train or eval")
    source, rows, strict = _open(name, step, split)
    rows = source.made(rows) if source and rows is not None else rows
    read = read_row if source is None or source.free else source.read_row
    read = partial(read, prompt_only=step == 3)
    if margin_column:
        read = partial(_with_scores, read, margin_column)
    if labels:
        read = partial(_with_label, read)
    return None if rows is None else _examples(name, step, rows, read, strict)


def _with_scores(read, column, row):
    return with_scores(read(row), row, column)


def _with_label(read, row):
    return with_label(read(row), row)


def _examples(name, step, rows, read, strict):
    """Read rows; `strict`: a faulty one is an InputError, else it is left out and counted."""
    examples, left_out, first, n = [], Counter(), "", 0
    for place, row in rows:
        n += 1
        try:
            example = read(row)
        except (RowSkipped, RowError) as error:
            if strict and isinstance(error, RowError):
                raise InputError(f"{place}: {error}") from error
            first = first or f"{place}: {error}"
            left_out[str(error).split(" (")[0].split(";")[0]] += 1
            continue
        if step not in example.steps:
            can = f"this row can train {registry.in_words(example.steps)}"
            raise InputError(f"{place}: step {step} needs {registry.NEEDS[step]}; {can}")
        examples.append(replace(example, columns=row) if step == 3 else example)
    if not examples:
        raise InputError(f"dataset {name}: all {n} rows are left out; the first is {first or 'missing'}")
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common(4))
        _note(f"{name}: {left_out.total()} of {n} rows left out: {reasons}{' ...' if len(left_out) > 4 else ''}")
    return examples


def _open(name, step, split):
    """A name -> (Source or None for free columns, its rows or None if it has no such split, strict)."""
    path = Path(name).expanduser()
    registered, _, revision = name.partition("@")
    if registered in registry.SOURCES:
        source = registry.find_source(registered, step)
        if source.path:
            return source, _rows_of_path(name, source, split), source.free
        splits = hub_splits(name, registered, source.config or None, revision)
        return source, _pick(splits, name, split, source), False
    if path.is_file() or path.is_dir():
        copy = _copy_of(path)
        source = registry.find_source(copy, step) if copy else None
        rows = _folder(path, name, split, source) if path.is_dir() else read_rows(path) if split == "train" else None
        return source, rows, source is None
    hub = _hub_name(name)
    return None, _pick(hub_splits(name, hub["hub"], hub["config"], hub["revision"]), name, split), False


def _rows_of_path(name, source, split):
    """Rows of a source that is a file; None if it has no evaluation file."""
    relative = source.path if split == "train" else source.eval_path
    if not relative:
        return None
    path = _PROJECT / relative if relative.startswith(("samples/", "output/")) else Path(relative)
    if path.is_file():
        return read_rows(path)
    if split == "eval":
        _note(f"{name}: {path} is absent, so a share of {source.path} is held out instead")
        return None
    raise InputError(f"dataset {name}: {path} is absent; {source.remedy}")


def _copy_of(path):
    """The registered hub set of which `path`, or the folder it is in, is a copy; "" if none."""
    return next((n for n in registry.endings(path) if n in registry.SOURCES and not registry.SOURCES[n].path), "")


def hub_splits(name: str, hub: str, config: str | None = None, revision: str | None = None) -> dict:
    """All splits of a hub dataset, called `name` where an InputError says why it cannot be had and what to do."""
    import datasets.exceptions  # slow to import

    if not progress.on_terminal():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(hub, config, revision=revision or None)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        what = f"no file or folder, and the hub does not give it: {_first_line(error)}{registry.close_names(name)}"
        remedy = f"elsewhere run: hf download --repo-type dataset {hub} --local-dir {hub}, and give that folder"
        raise InputError(f"dataset {name}: {what} (offline? {remedy})") from error


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def _pick(splits, name, split, source=None):
    """Rows of the training or evaluation split of {split: dataset}; None if there is no evaluation split."""
    own, eval_split = (source.split, source.eval_split) if source else ("", "")
    if split == "train":
        found = next((s for s in (own, "train") if s in splits), next(iter(splits)) if len(splits) == 1 else None)
        if found is None:
            remedy = "give a file or folder with the one you mean"
            raise InputError(f"dataset {name}: has no split train; found {', '.join(splits)}; {remedy}")
    else:
        wanted = [eval_split] if eval_split else EVAL_NAMES
        found = next((s for s in wanted if s in splits and "train" in splits), None)
    return None if found is None else ((f"{name}:{i}", row) for i, row in enumerate(splits[found], 1))


def _folder(path, name, split, source):
    """Rows of a folder: of datasets.save_to_disk, or with train.*, eval.* and the like, or with one file."""
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        import datasets.exceptions  # slow to import

        try:
            saved = datasets.load_from_disk(str(path))
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = _first_line(error)
            raise InputError(f"dataset {name}: not a readable save_to_disk folder: {reason}; save it again") from error
        splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        return _pick(splits, name, split, source)
    files = _data_files(path) or _data_files(path / "data")
    train = _named(files, "train", name)
    if split == "eval":
        found = next((f for f in (_named(files, s, name) for s in EVAL_NAMES) if f), None) if train else None
    else:
        found = train or (files if len(files) == 1 else None)
        if found is None:
            there = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
            what = f"the folder has neither train.* nor exactly one data file ({', '.join(SUFFIXES)})"
            raise InputError(f"dataset {name}: {what}; found {there}; name the file")
    return None if found is None else itertools.chain.from_iterable(read_rows(f) for f in found)


def _data_files(folder):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []


def _named(files, stem, name):
    """The file STEM.*, or the shards STEM-00000-of-00002.*; an InputError if several files are the one."""
    found = [f for f in files if re.fullmatch(rf"{stem}(-\d+-of-\d+)?", f.stem)]
    if len(found) > 1 and not all("-of-" in f.stem for f in found):
        names = ", ".join(f.name for f in found)
        raise InputError(f"dataset {name}: several files could be {stem}: {names}; name the one you mean")
    return found
