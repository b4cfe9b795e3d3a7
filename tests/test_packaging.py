"""`pip install korlhf` takes what requirements.txt pins."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {r.name: next(iter(r.specifier)).version for r in map(Requirement, (x for x in lines if x and x[0] != "#"))}


def test_every_pin_of_requirements_is_allowed_by_pyproject_and_none_is_missing():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    pinned = pins("requirements.txt")
    assert allowed.keys() == pinned.keys()
    assert {name for name, version in pinned.items() if version not in allowed[name]} == set()
    dev = pins("requirements-dev.txt")
    assert not pinned.keys() & dev.keys()
    untested = {"wandb", "trackio"}  # tests/training/test_trackers.py has stand-ins
    optional = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    own = {r.name for r in optional if str(r.specifier).startswith("==")}  # pinned where it is named
    assert all(r.name in own or dev[r.name] in r.specifier for r in optional if r.name not in untested)


def test_every_pin_is_in_a_group_that_setup_installs():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines.index(next(x for x in lines if "==" in x)) > lines.index("## training")


def test_every_file_of_the_library_that_is_no_module_is_in_the_wheel():
    """setuptools takes only what package-data names: a new YAML file would be missing for those who install by pip."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    named = {
        path
        for package, patterns in tool["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {
        p for p in (ROOT / "korlhf").rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".py"
    }
    assert there == named
