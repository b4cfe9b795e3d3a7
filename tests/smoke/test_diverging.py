"""Trainings that diverge: none ends as a success, none leaves a model or a finished.json with broken weights."""

import json
import subprocess
import sys

import pytest
from free_port import free_port
from tiny_scripts import ROOT, environment

pytestmark = pytest.mark.long
RATES = "a lower --learning_rate"
ACTOR, CRITIC = "a lower --actor_learning_rate", "a lower --critic_learning_rate"
# case of diverging.py, which holds more of the same -> (exit code, its last step, what the line holds)
ENDS = {
    "sft_rate": (3, 11, RATES),
    "sft_rate_zero3": (3, 11, RATES),
    "sft_rate_lora": (3, 11, "--lora_learning_rate"),
    "sft_saves": (3, 11, "no step from it was finite"),
    "sft_one_loss": (0, 5, ""),
    "sft_one_loss_accumulated": (0, 4, ""),
    "sft_stops": (3, 4, "The last good checkpoint is that of step 2"),
    "sft_few_bad_steps": (3, 4, "--max_bad_steps 2"),
    "sft_from_nan": (2, 0, "input_layernorm.weight holds NaN or infinity"),
    "reward_rate": (3, 11, RATES),
    "reward_from_inf": (2, 0, "input_layernorm.weight holds NaN or infinity"),
    "reward_few_bad_steps": (3, 4, "--max_bad_steps 2"),
    "dpo_rate": (3, 11, RATES),
    "kto_one_loss": (0, 5, ""),
    "ppo_actor_rate": (3, 11, ACTOR),
    "grpo_actor_rate": (3, 11, ACTOR),
    "ppo_critic_rate": (3, 11, CRITIC),
    "ppo_nan_reward_model": (2, 0, "--reward_model_name_or_path"),
    "ppo_inf_reward": (2, 0, "gave inf for the answer"),
}
ON_TWO = ["sft_one_loss_accumulated", "reward_few_bad_steps", "kto_one_loss", "ppo_inf_reward"]  # ZeRO 1, 3, 0 and 0


def start(script, *words, rank="0", processes="1", port="0"):
    """A script of the harness in one process of several."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests/harness" / script), *map(str, words)],
        env={**environment(), **place, "MASTER_PORT": port, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(process):
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith('{"case"')]


def check(row):
    code, last, text = ENDS[row["case"]]
    assert (row["code"], row["steps"]) == (code, last), row
    assert row["finished"] == (code == 0) and row["finite"] is (True if code == 0 else None), row
    assert text in row["error"] and bool(row["error"]) == bool(code), row
    assert len(row["warned"]) == (code != 2) and all(RATES[:8] in line for line in row["warned"]), row
    kept = row["case"] in ("sft_saves", "sft_stops", "sft_one_loss", "kto_one_loss")  # the last ends by --max_steps
    assert not row["best"] and len(row["checkpoints"]) == kept, row


def test_every_divergence_is_caught(folders, tmp_path):
    found = rows(start("diverging.py", folders["llama"], tmp_path, *ENDS, port=str(free_port())))
    assert [row["case"] for row in found] == list(ENDS)
    for row in found:
        check(row)


def test_what_only_one_process_meets_all_leave_out_alike(folders, tmp_path):
    how = {"processes": "2", "port": str(free_port())}
    words = folders["llama"], tmp_path, *ON_TWO
    started = [start("diverging.py", *words, rank=rank, **how) for rank in "01"]
    first, second = (rows(process) for process in started)
    assert [row["case"] for row in first] == ON_TWO
    for row, other in zip(first, second, strict=True):
        check(row)
        assert row["code"] == other["code"] and not other["warned"]


def test_a_step_that_is_left_out_might_never_have_been(tmp_path):
    found = rows(start("left_out_steps.py", port=str(free_port())))
    assert len(found) == 12
    for row in found:
        assert row["left_out"] == [0, 1, 2, 3, 3] and row["kept"] == [True, True, True, True, False], row
        assert row["as_without"] and row["rate_as_without"], row
        assert [norm in ("inf", "nan") for norm in row["norms"]] == [False, True, True, True, False], row
