"""Imports go downward only, and the heavy libraries stay on their floors."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {0: "errors flags tables templates friendly rules data.sources data.splits data.rows data.files data.records data.corpora data.marks data.ranking data.safety refusals data.kobest reward_tables "
             "dialogue guard hub provenance labelling.accounts labelling.desk labelling.export labelling.items labelling.store labelling.verdicts "
             "pipeline.needs pipeline.process pipeline.record pipeline.stages pipeline.state report.answers report.charts report.curves report.grids "
             "report.summary report.words demo.streams demo.votes ports",
          1: "losses ppo data.packing log stage stats cache chunked completions llm rubrics forms geval choices data.similar data.near audit.kinds audit.fields "
             "audit.checks audit.content audit.sample audit.bias audit.flips audit.scan audit.overlap audit.fix audit.report audit.page bag comparison diversity diversity_report "
             "multiple_choice pairwise reward_figures reward_warnings screen labelling.agreement labelling.service pipeline.estimates pipeline.plan "
             "pipeline.prints pipeline.recipes pipeline.run pipeline.corpora pipeline.parts pipeline.sample report.gather report.page",
          2: "models reward_model data.load data.tokenize rollout pairs harness harness_tasks benchmark same_answers live trained_on",
          3: "engine checkpoint ppo_step program local evaluation responders reward_judge local_judge judges harmlessness conflicts "
             "regression chat local_bot server_bot scorer report.checks "
             "demo.limits demo.login demo.routes demo.service demo.sessions"}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
LIBRARIES = {0: set(), 1: {"torch", "tqdm", "matplotlib"}}
LIBRARIES[2] = LIBRARIES[1] | {"transformers", "peft", "datasets", "safetensors", "tokenizers"}
LIBRARIES[3] = LIBRARIES[2] | {"deepspeed"}
ALSO = {"data.files": {"pyarrow"},  # imported only where a parquet file is met
        "stats": {"numpy", "scipy", "sklearn"}, "completions": {"openai"}, "llm": {"openai", "httpx2"}, "rubrics": {"yaml"},
        "data.similar": {"numpy", "rapidfuzz"}, "data.near": {"numpy"}, "local": {"jinja2", "huggingface_hub"}, "reward_judge": {"jinja2"}, "local_judge": {"jinja2"},
        "audit.scan": {"numpy", "rapidfuzz"}, "audit.overlap": {"numpy"}, "audit.flips": {"numpy", "scipy", "sklearn"}, "audit.page": {"jinja2"},
        "bag": {"numpy", "scipy", "sklearn"}, "comparison": {"numpy"}, "diversity": {"scipy"}, "regression": {"numpy", "jinja2"},
        "pairwise": {"numpy"}, "reward_figures": {"numpy", "scipy"}, "multiple_choice": {"numpy", "scipy"}, "harness": {"lm_eval", "numpy"},
        "harness_tasks": {"lm_eval"}, "report.page": {"jinja2", "markupsafe"}, "local_bot": {"jinja2"}, "scorer": {"jinja2"},
        "screen": {"prompt_toolkit"}, "server_bot": {"httpx2", "openai"}, "hub": {"huggingface_hub", "httpx2"},
        "provenance": {"huggingface_hub", "yaml"}, "demo.routes": {"starlette"}}
MODULES = sorted(p for p in (ROOT / "korlhf").rglob("*.py") if p.name != "__init__.py")
PROGRAMS = sorted([*(ROOT / "training").glob("*/*.py"), *(p for top in ("data_prep", "eval") for p in (ROOT / top).glob("*.py")),
                   *(ROOT / "applications").glob("*/*.py")])


def name_of(path):
    return ".".join(path.relative_to(ROOT / "korlhf").with_suffix("").parts)


def imports(path):
    """(module, imported name or None) of every import statement, also those inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found += [(node.module, alias.name) for alias in node.names]
    return found


def own(path):
    """Modules of korlhf that `path` imports, without the leading `korlhf.`"""
    names = {name_of(p) for p in MODULES}
    out = set()
    for module, name in imports(path):
        if module.split(".")[0] == "korlhf":
            rest = module.removeprefix("korlhf").lstrip(".")
            inner = f"{rest}.{name}".lstrip(".") if name else rest
            out |= {n for n in (rest, inner) if n in names}
    return out


def libraries(path):
    return {m.split(".")[0] for m, _ in imports(path)} - set(sys.stdlib_module_names) - {"korlhf"}


def test_there_is_something_to_look_at():
    assert len(MODULES) > 15 and len(PROGRAMS) >= 3
    assert {"ppo", "engine", "data.packing"} <= own(ROOT / "korlhf" / "ppo_step.py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_its_own_floor_and_those_below(path):
    name = name_of(path)
    assert name in FLOOR, f"{name} has no floor: add it to FLOORS"
    upward = {n for n in own(path) if FLOOR.get(n, 9) > FLOOR[name]}
    assert not upward, f"{name} (floor {FLOOR[name]}) imports {sorted(upward)} from above"
    heavy = libraries(path) - LIBRARIES[FLOOR[name]] - ALSO.get(name, set())
    assert not heavy, f"{name} (floor {FLOOR[name]}) imports {sorted(heavy)}"


def test_no_module_imports_itself_by_a_detour():
    edges = {name_of(p): own(p) for p in MODULES}
    while edges:
        leaves = {n for n, to in edges.items() if not to & set(edges)}
        assert leaves, f"imports in a circle: {sorted(edges)}"
        edges = {n: to for n, to in edges.items() if n not in leaves}


def test_deepspeed_is_imported_by_the_engine_alone():
    tops = ("korlhf", "training", "data_prep", "eval", "applications", "benchmarks", "samples")
    everywhere = [p for top in tops for p in (ROOT / top).rglob("*.py")]
    assert [p.relative_to(ROOT).as_posix() for p in everywhere if "deepspeed" in libraries(p)] == ["korlhf/engine.py"]


def test_ppo_imports_nothing_of_korlhf():
    assert not own(ROOT / "korlhf" / "ppo.py") and libraries(ROOT / "korlhf" / "ppo.py") == {"torch"}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_programs_do_not_import_each_other(path):
    others = {p.stem for p in PROGRAMS}
    assert not {m.split(".")[0] for m, _ in imports(path)} & (others | {"training", "data_prep", "eval", "applications"})


def test_no_module_edits_the_import_path():
    for path in MODULES + PROGRAMS:
        assert "sys.path" not in path.read_text(encoding="utf-8"), path
