"""The main.py of the steps as modules."""

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    1: "step1_supervised_finetuning",
    2: "step2_reward_model_finetuning",
    "dpo": "step2_dpo_finetuning",
    3: "step3_rlhf_finetuning",
}


def main_of(step):
    """The module of that step's main.py."""
    return importlib.import_module(f"training.{FOLDERS[step]}.main")


def parse(step, argv):
    """That step's parsed flags as a dict: the last of what its parse() returns."""
    return main_of(step).parse(argv)[-1]
