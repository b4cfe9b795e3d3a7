"""Fewer rows than a batch takes: the batch is lowered and said so, and the same command finds its run again."""

import json
import subprocess

import warm
from tiny_scripts import ROOT, environment, finished

MAIN = str(ROOT / "training/step1_supervised_finetuning/main.py")


def test_three_rows_are_one_batch_of_three(folders, tmp_path):
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out"
    talks = [{"prompt": f"질문 {i}", "output": "네, 좋아요."} for i in range(3)]
    rows.write_text("".join(json.dumps(talk, ensure_ascii=False) + "\n" for talk in talks), encoding="utf-8")
    words = ["--model_name_or_path", folders["gpt_neox"], "--data_path", str(rows), "--output_dir", str(out)]
    command = [warm.python(), MAIN, *words, "--data_split", "1,0,0", "--eval_share", "0", "--max_seq_len", "64"]
    environ = environment()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    told = "note: 3 examples fill no step of the size that was asked for; lowered to "
    assert (done.stdout, done.stderr) == (f"{told}--per_device_train_batch_size 3 (not 16)\n", "")
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert settings["per_device_train_batch_size"] == 3 and finished(out)["steps"] == 1
    assert "Nothing was held out" in (out / "README.md").read_text(encoding="utf-8")
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "is finished already" in again.stdout
