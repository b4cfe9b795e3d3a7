"""Weights that ZeRO-3 spreads over two processes while they are read are those of a model loaded whole."""

import json
import subprocess
import sys

import pytest
from free_port import free_port
from tiny_scripts import ROOT, environment


@pytest.mark.long
def test_spread_weights_train_as_whole_ones_and_are_averaged(folders, tmp_path):
    script, port = str(ROOT / "tests/harness/two_processes.py"), str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, script, folders["llama"], str(tmp_path)],
            env={
                **environment(),
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    (out, err), _ = (process.communicate(timeout=300) for process in started)
    assert [process.returncode for process in started] == [0, 0], err[-3000:]
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [row["case"] for row in rows] == ["full", "dora", "reward", "reward_lora"]
    for row in rows:
        whole, parts = row["losses"]
        assert row["spread"] and row["difference"] < 1e-5 and row["ema"] < 1e-6, row
        assert parts == pytest.approx(whole, rel=1e-5) and len(set(whole)) == 3, row
