"""Runs programs in this process on input that is wrong, and holds what they leave to what the table promises: one line
that says what is wrong and what to do, the exit code, and no half-written file.
"""

import contextlib
import importlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from korlhf.core import program

ROOT = Path(__file__).resolve().parents[2]
BAR = re.compile(r"\[\d\d:\d\d[,<]")  # a progress bar is no message
MODEL, REWARD = "neox", "reward"  # links in a row's folder to finished models

STEP = "--max_seq_len 128 --max_steps 1 --per_device_train_batch_size 1"
SFT = f"--data_path sft.jsonl --eval_data_path held.jsonl {STEP}"
PAIRS = f"--data_path pairs.jsonl --eval_data_path pairs2.jsonl {STEP}"
PPO = "--data_path prompts.jsonl --eval_data_path prompts2.jsonl --max_prompt_seq_len 64 --max_answer_seq_len 64"
PPO += " --per_device_generation_batch_size 1 --per_device_training_batch_size 1"
SERVER = "--base_url http://127.0.0.1:9/v1 --max_retries 0"
ASK = f"--data_path prompts.jsonl --responder m=openai:m {SERVER}"

# Name -> (module, a command line that works, or that would if a server were there). What follows it in a row wins.
PROGRAMS = {
    "sft": ("training.step1_supervised_finetuning.main", f"{SFT} --model_name_or_path {MODEL} --output_dir out"),
    "prompt_eval": (
        "training.step1_supervised_finetuning.prompt_eval",
        f"--model_name_or_path {MODEL} --prompt 안녕 --max_new_tokens 4",
    ),
    "reward": ("training.step2_reward_model_finetuning.main", f"{PAIRS} --model_name_or_path {MODEL} --output_dir out"),
    "dpo": ("training.step2_dpo_finetuning.main", f"{PAIRS} --model_name_or_path {MODEL} --output_dir out"),
    "kto": ("training.step2_dpo_finetuning.main", f"{PAIRS} --loss kto --model_name_or_path {MODEL} --output_dir out"),
    "rw_eval": (
        "training.step2_reward_model_finetuning.rw_eval",
        f"--model_name_or_path {REWARD} --data_path pairs.jsonl --output out/rw.json --max_seq_len 128",
    ),
    "ppo": (
        "training.step3_rlhf_finetuning.main",
        f"{PPO} --actor_model_name_or_path {MODEL} --critic_model_name_or_path {REWARD} --output_dir out --max_steps 1",
    ),
    "collect": ("data_prep.collect", "--corpus own --input sft.jsonl --output out.jsonl"),
    "split": ("data_prep.split", "--input sft.jsonl --output_dir out"),
    "audit": ("data_prep.audit", "--input sft.jsonl --output out"),
    "rank": ("data_prep.rank", "--input scored.jsonl --output out.jsonl"),
    "respond": ("data_prep.respond", f"--input prompts.jsonl --responder openai:m {SERVER} --output out.jsonl"),
    "score": ("data_prep.score", f"--input scored.jsonl --judge openai:m {SERVER} --output out.jsonl"),
    "translate": ("data_prep.translate", f"--input english.jsonl --translator openai:m {SERVER} --output out.jsonl"),
    "self_instruct": (
        "data_prep.self_instruct",
        f"--input prompts.jsonl --generator openai:m --num_instructions 2 {SERVER} --output out.jsonl",
    ),
    "evol_instruct": (
        "data_prep.evol_instruct",
        f"--input prompts.jsonl --generator openai:m {SERVER} --output out.jsonl",
    ),
    "geval": ("eval.geval", f"{ASK} --judge openai:j --output_dir out"),
    "win_rate": ("eval.win_rate", f"{ASK} --responder a=openai:m b=openai:n --judge openai:j --output_dir out"),
    "best_of_n": ("eval.best_of_n", f"{ASK} --reward_model {REWARD} --judge openai:j --output_dir out"),
    "harmlessness": ("eval.harmlessness", f"--responder m=openai:m {SERVER} --output_dir out"),
    "diversity": ("eval.diversity", f"{ASK} --heldout_data_path held.jsonl --output_dir out"),
    "benchmark": ("eval.benchmark", f"--model_name_or_path {MODEL} --tasks copa --data_dir kobest --output_dir out"),
    "chat_benchmark": (
        "eval.chat_benchmark",
        f"--benchmark logickor --data_path logickor.jsonl --responder m=openai:m {SERVER} --judge openai:j "
        "--output_dir out",
    ),
    "reward_accuracy": (
        "eval.reward_accuracy",
        f"--model_name_or_path {REWARD} --data_path pairs.jsonl --max_seq_len 128 --output_dir out",
    ),
    "agreement": ("eval.agreement", "--talks scored.jsonl --labels labels.jsonl --output_dir out"),
    "algorithms": ("eval.algorithms", "--run_dir run"),
    "report": ("eval.report", "--run_dir run --output out.html"),
    "chat": ("applications.chat.chat", f"--model_name_or_path {MODEL} --history_file history"),
    "export": (
        "applications.export.export",
        f"--model_name_or_path {MODEL} --output_dir out --check_data_path prompts.jsonl --license mit",
    ),
    "import_gguf": ("applications.export.import_gguf", "--gguf model.gguf --output_dir out"),
    "budget": ("applications.rlhf.budget", f"--model_name_or_path {MODEL} --output_dir out"),
    "talks": ("applications.rlhf.talks", f"--base {MODEL} --output_dir out"),
    "to_gguf": (
        "applications.export.to_gguf",
        f"--model_name_or_path {MODEL} --output_dir out --check_data_path prompts.jsonl",
    ),
    "label": ("applications.label.label", "--input pairs.jsonl --database out.sqlite"),
    "label_export": ("applications.label.export", "--database labels.sqlite --output out.jsonl"),
    "add_annotator": ("applications.label.add_annotator", "--auth_file people --name 지우"),
    "web_demo": ("applications.web_demo.web_demo", f"--model {MODEL}"),
    "bench_step1": ("step1", ""),
    "bench_step2": ("step2", ""),
    "bench_step3": ("step3", ""),
    "checkpoint_to_model": ("training.checkpoint_to_model", "checkpoints/step_000001 --output_dir out"),
    "bench_logits": ("logits", ""),
    "bench_scaling": ("scaling", ""),
    "bench_decode": ("decode", ""),
    "bench_checks": ("checks", ""),
    "bench_compare": ("compare", "--trl python"),
}


def _jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _prompts(start: int) -> list[dict]:
    return [{"prompt": f"{i}번째 질문이에요. 같이 갈까요?", "category": "everyday"} for i in range(start, start + 6)]


CANDIDATES = [{"text": "네", "model": "a", "score": 5.0}, {"text": "몰라", "model": "b", "score": 1.0}]
# What the command lines of PROGRAMS name.
FILES = {
    "sft.jsonl": _jsonl([p | {"output": f"네, 좋아요. {i}"} for i, p in enumerate(_prompts(0))]),
    "held.jsonl": _jsonl([p | {"output": "네, 같이 가요."} for p in _prompts(10)]),
    "pairs.jsonl": _jsonl([p | {"chosen": "네, 좋아요.", "rejected": "몰라"} for p in _prompts(0)]),
    "pairs2.jsonl": _jsonl([p | {"chosen": "네, 좋아요.", "rejected": "몰라"} for p in _prompts(10)]),
    "prompts.jsonl": _jsonl(_prompts(0)),
    "prompts2.jsonl": _jsonl(_prompts(10)),
    "scored.jsonl": _jsonl([p | {"candidates": CANDIDATES} for p in _prompts(0)]),
    "labels.jsonl": _jsonl([p | {"annotator": "하나", "chosen": "네", "rejected": "몰라"} for p in _prompts(0)]),
    "logickor.jsonl": _jsonl([{"id": 1, "category": "추론", "questions": ["첫 질문?", "이어서?"]}]),
    "model.gguf": "GGUF and no more",
    "english.jsonl": _jsonl([{"prompt": "Where shall we go for a walk?", "output": "Let us go to the river."}]),
}


def module(name: str) -> Any:
    """The module of a program."""
    return importlib.import_module(PROGRAMS[name][0])


def command(name: str, more: str | list[str]) -> list[str]:
    """A program's command line of PROGRAMS and what a row adds to it."""
    return PROGRAMS[name][1].split() + (more.split() if isinstance(more, str) else [str(word) for word in more])


def lay_out(folder: Path, files: dict[str, Any]) -> None:
    """Write a row's files: name -> text, bytes, or None for a folder. They replace those of FILES."""
    for name, content in {**FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def run(name: str, argv: list[str], monkeypatch: Any) -> tuple[int, list[str]]:
    """(exit code, lines on stderr but for progress bars) of a program in this process."""
    monkeypatch.setattr(sys, "argv", [name, *argv])
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            program.run(module(name).main)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    lines = [line for line in err.getvalue().replace("\r", "\n").splitlines() if line.strip() and not BAR.search(line)]
    return code, lines


def tree(folder: Path) -> dict[str, bytes]:
    """What lies in a row's folder; caches and locks are not results."""
    kept = (p for p in folder.rglob("*") if p.is_file() and MODEL not in p.parts and REWARD not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept if ".sqlite" not in p.name}
