"""The tables of memory in docs/gpu.md are those that benchmarks/memory.py prints."""

import re
from pathlib import Path

import pytest

from benchmarks import memory
from korlhf.training.memory import Counted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return memory.write_configs(tmp_path_factory.mktemp("shapes"))


def written(name):
    return (ROOT / name).read_text(encoding="utf-8").split("<!-- memory:start -->")[1].split("<!-- memory:end -->")[0]


def test_parameters_are_those_of_the_model_cards(folders):
    published = {"1.3B": 1_331_810_304, "3.8B": 3_809_974_272, "5.8B": 5_885_059_072}
    assert {name: Counted(folders[name], None, "bf16").params for name in published} == published


def test_both_languages_hold_the_same_tables_of_settings_that_fit():
    text = written("docs/gpu.md")
    assert text == written("docs/gpu.ko.md")
    cells = re.findall(r"\| (\d+) GB \|(.*)", text)
    peaks = [(int(gpu), float(p)) for gpu, row in cells for p in re.findall(r"\(([\d.]+) GiB\)", row)]
    assert len(cells) == 9 and len(peaks) > 40
    assert all(p <= gpu * 0.9 for gpu, p in peaks)


@pytest.mark.long
def test_a_cell_is_what_the_estimate_gives(folders):
    """One of each step; all of them take minutes."""
    tables = [part.splitlines() for part in written("docs/gpu.md").strip().split("\n\n")]
    for step, lora_dim in ((1, 0), (2, memory.LORA_DIM), (3, memory.LORA_DIM)):
        row = next(line for line in tables[step - 1] if line.startswith("| 40 GB"))
        assert memory.cell(step, "1.3B", 40, lora_dim, folders) in row.split("|")[2].split("<br>")[bool(lora_dim)]
