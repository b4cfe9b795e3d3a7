"""One of two processes of a training is killed, or stops without a word: when and how the other ends, and whether both
go on to the bits of a training that was left alone. One JSON line a case.

python tests/harness/lost_node.py FOLDER_OF_A_LANGUAGE_MODEL FOLDER_TO_WRITE_TO
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import spread

FLAGS = (
    "--data_path sample/sft --eval_data_path sample/heldout_sft --data_split 10,0,0 --per_device_train_batch_size 2 "
    "--max_eval_examples 8 --max_steps 20 --save_steps 3 --seed 7 --zero_stage"
)
TIMEOUT = 10  # seconds of --ddp_timeout; the first process alone draws curves and writes the model meanwhile
SECONDS = 60  # a survivor that takes longer hangs
# case -> (the rank, its signal, ZeRO stage)
CASES = {
    "rank 1 killed": (1, signal.SIGKILL, 0),
    "rank 0 killed": (0, signal.SIGKILL, 3),
    "rank 1 stopped": (1, signal.SIGSTOP, 2),
}


def start(forked, model, out, zero_stage, timeout=600):
    words = [*FLAGS.split(), zero_stage, "--ddp_timeout", timeout, "--model_name_or_path", model, "--output_dir", out]
    return forked.Started(1, words, 2, f"{out}.log")


def rows(out):
    path = out / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


def lose(forked, model, out, rank, number, zero_stage):
    """What became of the other process: seconds until it ended, exit code, its last line, its traceback's file."""
    started, survivor = start(forked, model, out, zero_stage, TIMEOUT), 1 - rank
    limit = time.monotonic() + 200
    while rows(out) < 8 and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(started.pids[rank], number)
    began, code = time.monotonic(), None
    while code is None and time.monotonic() - began < SECONDS:
        done, status = os.waitpid(started.pids[survivor], os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0.005)
    seconds = time.monotonic() - began
    started.running = {started.pids[rank], *([] if code is not None else [started.pids[survivor]])}
    started.kill()
    text = Path(f"{out}.log").read_text(encoding="utf-8")
    traced = out / "errors" / f"rank{survivor}.txt"
    return {
        "seconds": round(seconds, 1),
        "code": code,
        "last": text.splitlines()[-1],
        "tracebacks_on_console": text.count("Traceback"),
        "traced": traced.exists() and "Traceback" in traced.read_text(encoding="utf-8"),
    }


def to_the_end(started):
    while not started.ended():
        time.sleep(0.02)
    return started.codes


def main():
    model, work = sys.argv[1], Path(sys.argv[2])
    forked = spread.kills()
    forked.imports()
    for case, (rank, number, zero_stage) in CASES.items():
        whole, lost = (work / f"{case.replace(' ', '_')}_{name}" for name in ("whole", "lost"))
        assert to_the_end(start(forked, model, whole, zero_stage)) == [0, 0]
        row = {"case": case, "zero_stage": zero_stage, **lose(forked, model, lost, rank, number, zero_stage)}
        row["codes"] = to_the_end(start(forked, model, lost, zero_stage))
        row["resumed"] = "resuming" in Path(f"{lost}.log").read_text(encoding="utf-8")
        row["differences"] = forked.compare(None, whole, lost)
        row["errors_left"] = (lost / "errors").exists()
        print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
