"""Runs a program of eval/ in this process or in one of its own, on prompts and answers that a test writes down."""

import importlib
import json
import subprocess
from pathlib import Path

import warm

ROOT = Path(__file__).resolve().parents[2]
CHANGING = ("seconds", "finished", "usage", "from_cache")  # of a result: the rest is the same for the same run


def load(name):
    """The module eval/NAME.py."""
    return importlib.import_module(f"eval.{name}")


def run(name, folder, *flags):
    """(exit code, result, rows) of eval/NAME.py in this process."""
    code = load(name).main(["--output_dir", str(folder), *map(str, flags)])
    return code or 0, *result(folder, name)


def write(path, rows):
    """A JSONL file of rows."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def prompts(path, n, categories=("everyday",)):
    """A file of n prompts whose categories take turns."""
    return write(path, [{"prompt": question(i), "category": categories[i % len(categories)]} for i in range(n)])


def question(i):
    return f"{i}번째 질문이에요. 어떻게 할까요?"


def answers(path, texts):
    """A file of answers: the i-th one, or list of them, to the i-th prompt."""
    return write(
        path,
        [
            {"prompt": question(i), "output": text}
            for i, of_prompt in enumerate(texts)
            for text in ([of_prompt] if isinstance(of_prompt, str) else of_prompt)
        ],
    )


def result(folder, program):
    """(result, rows) that a program wrote."""
    lines = (folder / f"{program}.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((folder / f"{program}.json").read_text(encoding="utf-8")), [json.loads(line) for line in lines]


def lasting(folder, program):
    """Everything of a result that two runs of the same command must have in common."""
    found, rows = result(folder, program)
    settings = {**found["settings"], "output_dir": ""}
    return {**{k: v for k, v in found.items() if k not in CHANGING}, "settings": settings}, rows


def table(found, title):
    """The one table of a result whose English title begins so."""
    (one,) = [t for t in found["tables"] if t["title"]["en"].startswith(title)]
    return one


def start(name, *flags):
    """A process of eval/NAME.py."""
    return subprocess.Popen(
        [warm.python(), str(ROOT / "eval" / f"{name}.py"), *map(str, flags)],
        env=warm.ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
