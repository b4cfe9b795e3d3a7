"""The datasets --data_path knows by name, one entry each.

To add a dataset, add a line to SOURCES. A column is a name, or a function row -> value that returns None to leave the
row out. Text comes out bare: no turn markers, no surrounding blanks, no EOS; korlhf/data/chat_template.py adds what a
model needs.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from korlhf.core.errors import InputError
from korlhf.data.example import ROLES, Example, RowError, RowSkipped, conversation, make_example, turns

Column = str | Callable[[dict], object]
NEEDS = {1: "an answer (or a plain text)", 2: "two or more ranked answers", 3: "a prompt"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a dataset is, and which columns hold what; of a free source korlhf/data/columns.py recognises them."""

    prompt: Column | None = None
    answers: tuple[Column, ...] | Callable[[dict], list | None] = ()  # best first; a function gives all
    input: Column | None = None
    system: Column | None = None
    columns: tuple[str, ...] = ()  # that every row must have
    hub: str = ""  # "" = the registered name
    revision: str = ""  # a pinned commit; name@revision in --data_path overrides it
    eval_split: str = ""  # "" = none: a share of the training rows is held out
    path: str = ""  # a file instead of a hub set: below the current folder, or the project's for samples/ and output/
    eval_path: str = ""
    remedy: str = ""  # what to do if that file is absent
    free: bool = False
    steps: tuple[int, ...] = (1, 3)
    license: str = "see its card"

    def read_row(self, row: dict, prompt_only: bool = False) -> Example:
        """A row of this dataset -> Example, or only its prompt. Raises RowError or RowSkipped."""
        missing = [c for c in self.columns if c not in row]
        if missing:
            found, expected = ", ".join(map(str, row)), ", ".join(self.columns)
            raise RowError(f"no column {', '.join(missing)}; found {found}; expected {expected}")
        prompt, answers = _value(self.prompt, row), []
        if not prompt_only:
            several = callable(self.answers)
            answers = _value(self.answers, row) if several else [_value(c, row) for c in self.answers]
        if prompt is None or answers is None or None in answers:
            raise RowSkipped("no prompt, answer or clear preference")
        messages = turns(prompt) if isinstance(prompt, str) else conversation(prompt)
        return make_example(messages, answers, _value(self.input, row), _value(self.system, row))


def _value(column, row):
    try:
        return column(row) if callable(column) else None if column is None else row.get(column)
    except (AttributeError, TypeError) as error:  # a list or object was expected within a column
        raise RowError(f"a column is not of the known kind ({error}); found {', '.join(map(str, row))}") from error


def _context_and_instruction(row):
    """heegyu/hh-rlhf-ko: earlier turns and the last question."""
    return [*(row["context"] or []), row["instruction"]]


def _turn(column):
    return lambda row: (row[column] or {}).get("value")


def _safer_first(row):
    """PKU-SafeRLHF-ko: both responses, the safer one first; None if neither the id nor the flags tell."""
    best = row["safer_response_id"]
    if best not in (0, 1):
        safe = [row["is_response_0_safe"], row["is_response_1_safe"]]
        if None in safe or bool(safe[0]) == bool(safe[1]):
            return None
        best = int(bool(safe[1]))
    return [row[f"response_{best}_ko"], row[f"response_{1 - best}_ko"]]


def _preferred_first(row):
    """preference-collection-ko-full: orig_preference decides, else the scores; None for a tie."""
    best = str(row.get("orig_preference")).strip().upper()
    if best not in ("A", "B"):
        a, b = _score(row, "orig_score_A"), _score(row, "orig_score_B")
        if a is None or b is None or a == b:
            return None
        best = "A" if a > b else "B"
    return [row[f"response_{best}"], row[f"response_{'B' if best == 'A' else 'A'}"]]


def _score(row, column):
    try:
        return None if row[column] is None else float(row[column])
    except ValueError as error:
        raise RowError(f"{column} is {row[column]!r}; expected a number") from error


def _original_instruction(row):
    return row.get("orig_instruction") or row.get("instruction")


def _instance(column):
    """Self-Instruct's seed tasks: a column of the first instance."""
    return lambda row: next((i.get(column) for i in row["instances"] or []), None)


def _shared_chat(row):
    """ShareGPT: the turns from the first human to the last gpt; None if there are no two such turns."""
    talk = row["conversations"] or []
    roles = [ROLES.get(str(m.get("from", m.get("role"))).lower()) for m in talk]
    first = roles.index("user") if "user" in roles else len(roles)
    last = max((i for i, r in enumerate(roles) if r == "assistant"), default=-1)
    return talk[first : last + 1] if first < last else None


def _pairs(prompt: Column = "prompt", answers=("chosen", "rejected"), **rest):
    named = tuple(c for c in (prompt, *(() if callable(answers) else answers)) if isinstance(c, str))
    return Source(prompt=prompt, answers=answers, **{"columns": named, "steps": (1, 2, 3), **rest})


def _instructions(prompt="instruction", answer="output", **rest):
    return Source(prompt=prompt, answers=(answer,), **{"columns": (prompt, answer), **rest})


def _sample(file, heldout="", steps=(1, 3)):
    return Source(
        free=True,
        path=f"samples/{file}.jsonl",
        eval_path=heldout and f"samples/{heldout}.jsonl",
        steps=steps,
        remedy="run python samples/build.py",
        license="Apache-2.0",
    )


def _prepared(folder, script, file, steps):
    """A training file of a data_prep recipe, with its own test file."""
    return Source(
        free=True,
        path=f"output/data/{folder}/{file}_train.jsonl",
        eval_path=f"output/data/{folder}/{file}_test.jsonl",
        steps=steps,
        remedy=f"make it with bash data_prep/{script}",
        license="that of its corpora, see data_prep/README.md",
    )


RECIPES = {"raw_sample": "run_sample.sh", "v1": "run_v1.sh", "v2": "run_v2.sh", "v3": "run_v3.sh"}
SOURCES = {
    # the sample written for this project
    "sample/sft": _sample("sft", "heldout_sft"),
    "sample/reward": _sample("reward", "heldout_reward", (1, 2, 3)),
    "sample/prompts": _sample("prompts", "heldout_prompts", (3,)),
    "sample/text": _sample("text", steps=(1,)),
    "sample/heldout_sft": _sample("heldout_sft"),
    "sample/heldout_reward": _sample("heldout_reward", steps=(1, 2, 3)),
    "sample/heldout_prompts": _sample("heldout_prompts", steps=(3,)),
    # what the recipes of data_prep/ make: of the raw sample, and of the real corpora
    **{
        f"{folder}/{file}": _prepared(folder, script, file, steps)
        for folder, script in RECIPES.items()
        for file, steps in (("sft", (1, 3)), ("reward", (1, 2, 3)), ("prompts", (3,)))
    },
    # your own file where DeepSpeed-Chat expects it
    "local/jsonfile": Source(
        free=True,
        path="data/train.json",
        eval_path="data/eval.json",
        steps=(1, 2, 3),
        license="your own",
        remedy="write it there, or give the file itself to --data_path",
    ),
    # English pairs
    "yitingxie/rlhf-reward-datasets": _pairs(eval_split="test"),
    "Dahoas/rm-static": _pairs(eval_split="test"),
    "Dahoas/full-hh-rlhf": _pairs(eval_split="test"),
    # instructions
    "lcw99/evolve-instruct": _instructions(
        "input",
        path="data/evol_instruct.json",
        remedy="download gen_data/evol_instruct.json of https://github.com/lcw99/evolve-instruct to it",
    ),
    "self-instruct/seed_tasks": Source(
        prompt="instruction",
        answers=(_instance("output"),),
        input=_instance("input"),
        license="Apache-2.0",
        columns=("instruction", "instances"),
        path="data/seed_tasks.jsonl",
        remedy="download data/seed_tasks.jsonl of https://github.com/yizhongw/self-instruct to it",
    ),
    "Bingsu/ko_alpaca_data": _instructions(input="input", license="CC BY-NC 4.0"),  # KoAlpaca v1.0
    "beomi/KoAlpaca-v1.1a": _instructions(license="CC BY-NC 4.0"),
    "nlpai-lab/kullm-v2": _instructions(input="input", license="Apache-2.0"),
    "heegyu/OIG-small-chip2-ko": _instructions("user_translated", "chip2_translated", license="Apache-2.0"),
    "junelee/sharegpt_deepl_ko": Source(prompt=_shared_chat, columns=("conversations",)),
    "jojo0217/korean_rlhf_dataset": _instructions(input="input", license="Apache-2.0"),  # no pairs, despite its name
    # Korean pairs
    "maywell/ko_Ultrafeedback_binarized": _pairs(),
    "heegyu/hh-rlhf-ko": _pairs(
        _context_and_instruction,
        (_turn("chosen"), _turn("rejected")),
        license="MIT",
        columns=("context", "instruction", "chosen", "rejected"),
    ),
    "heegyu/PKU-SafeRLHF-ko": _pairs(
        "prompt_k",
        _safer_first,
        license="CC BY-NC 4.0",
        columns=(
            *("prompt_k", "response_0_ko", "response_1_ko"),
            *("is_response_0_safe", "is_response_1_safe", "safer_response_id"),
        ),
    ),
    "kuotient/orca-math-korean-dpo-pairs": _pairs("question", system="system"),
    "SJ-Donald/orca-dpo-pairs-ko": _pairs("question", system="system"),
    "nayohan/preference-collection-ko-full": _pairs(
        _original_instruction,
        _preferred_first,
        columns=("response_A", "response_B", "orig_score_A", "orig_score_B", "orig_preference"),
    ),
}


def in_words(steps: tuple[int, ...]) -> str:
    """(1, 2, 3) -> "steps 1, 2 and 3"."""
    *others, last = map(str, steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"


def close_names(name: str) -> str:
    """A hint at registered names that look like `name`; "" if none does."""
    lower = {n.lower(): n for n in SOURCES}
    close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=2)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def find_source(name: str, step: int) -> Source:
    """The Source registered as `name` ("@revision" may follow). Raises InputError if it cannot train `step`."""
    source = SOURCES.get(name.split("@")[0])
    if source is None:
        raise InputError(f"dataset {name}: not registered; registered are {', '.join(sorted(SOURCES))}")
    if step not in source.steps:
        what = f"step {step} needs {NEEDS[step]}, which this dataset has not; it can train {in_words(source.steps)}"
        raise InputError(f"dataset {name}: {what}")
    return source
