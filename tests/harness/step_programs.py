"""The three main.py, imported by path: they are programs in folders of their own, not part of the package."""

import functools
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {1: "step1_supervised_finetuning", 2: "step2_reward_model_finetuning", 3: "step3_rlhf_finetuning"}


@functools.cache
def main_of(step):
    """The module of that step's main.py."""
    path = ROOT / "training" / FOLDERS[step] / "main.py"
    spec = importlib.util.spec_from_file_location(f"step{step}_main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(step, argv):
    """That step's parsed flags as a dict: the last of what its parse() returns."""
    return main_of(step).parse(argv)[-1]
