"""Imports go downward only, and the heavy libraries stay on their floors."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {0: "errors flags friendly pipes ports refusals rules tables templates data.corpora data.files data.kobest data.marks "
             "data.ranking data.records data.rows data.safety data.sources data.splits demo.streams demo.votes eval.reward_tables "
             "export.hub export.provenance labelling.accounts labelling.desk labelling.export labelling.items labelling.store "
             "labelling.verdicts pipeline.needs pipeline.process pipeline.record pipeline.stages pipeline.state report.answers "
             "report.charts report.curves report.grids report.summary report.words talk.dialogue talk.guard",
          1: "cache choices chunked completions forms geval llm log losses ppo rubrics stage stats audit.bias audit.checks "
             "audit.content audit.fields audit.fix audit.flips audit.kinds audit.overlap audit.page audit.report audit.sample "
             "audit.scan data.near data.packing data.similar eval.bag eval.comparison eval.diversity eval.diversity_report "
             "eval.multiple_choice eval.pairwise eval.reward_figures eval.reward_warnings labelling.agreement labelling.service "
             "pipeline.corpora pipeline.estimates pipeline.parts pipeline.plan pipeline.prints pipeline.recipes pipeline.run "
             "pipeline.sample report.gather report.page talk.screen",
          2: "models pairs reward_model rollout data.load data.tokenize eval.benchmark eval.harness eval.harness_tasks "
             "eval.trained_on export.same_answers talk.live",
          3: "checkpoint engine evaluation judges local local_judge ppo_step program responders reward_judge demo.limits demo.login "
             "demo.routes demo.service demo.sessions eval.conflicts eval.harmlessness eval.regression report.checks talk.chat "
             "talk.local_bot talk.scorer talk.server_bot"}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
LIBRARIES = {0: set(), 1: {"torch", "tqdm", "matplotlib"}}
LIBRARIES[2] = LIBRARIES[1] | {"transformers", "peft", "datasets", "safetensors", "tokenizers"}
LIBRARIES[3] = LIBRARIES[2] | {"deepspeed"}
# pyarrow is imported only where a parquet file is met.
ALSO = {"data.files": {"pyarrow"}, "stats": {"numpy", "scipy", "sklearn"}, "completions": {"openai"}, "llm": {"httpx2", "openai"},
        "rubrics": {"yaml"}, "data.similar": {"numpy", "rapidfuzz"}, "data.near": {"numpy"}, "local": {"huggingface_hub", "jinja2"},
        "reward_judge": {"jinja2"}, "local_judge": {"jinja2"}, "audit.scan": {"numpy", "rapidfuzz"}, "audit.overlap": {"numpy"},
        "audit.flips": {"numpy", "scipy", "sklearn"}, "audit.page": {"jinja2"}, "eval.bag": {"numpy", "scipy", "sklearn"},
        "eval.comparison": {"numpy"}, "eval.diversity": {"scipy"}, "eval.regression": {"jinja2", "numpy"}, "eval.pairwise": {"numpy"},
        "eval.reward_figures": {"numpy", "scipy"}, "eval.multiple_choice": {"numpy", "scipy"}, "eval.harness": {"lm_eval", "numpy"},
        "eval.harness_tasks": {"lm_eval"}, "report.page": {"jinja2", "markupsafe"}, "talk.local_bot": {"jinja2"},
        "talk.scorer": {"jinja2"}, "talk.screen": {"prompt_toolkit"}, "talk.server_bot": {"httpx2", "openai"},
        "export.hub": {"httpx2", "huggingface_hub"}, "export.provenance": {"huggingface_hub", "yaml"}, "demo.routes": {"starlette"}}
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
