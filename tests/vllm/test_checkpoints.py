"""Finished checkpoints that a real vLLM on the CPU answers with: token for token what they say in this process."""

import json
import sys
from pathlib import Path

import pytest
import torch
from prep_harness import run, write
from transformers import AutoModelForCausalLM

from data_prep import respond
from korlhf.data import record as records
from korlhf.models import lora, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training.flags import ModelFlags
from training.step1_supervised_finetuning import prompt_eval

GREEDY = "--temperature 0 --dtype fp32 --max_new_tokens 24"
ON_GPU = ["--vllm_args", "--gpu-memory-utilization 0.2"] if torch.cuda.is_available() else []
QUESTIONS = [f"{i}번째 {'정말 ' * (i % 7)}질문이에요." for i in range(40)]


@pytest.fixture(scope="module")
def adapter(models, tmp_path_factory):
    """A LoRA folder on the llama, that says something else."""
    path, base = tmp_path_factory.mktemp("lora"), models / "llama"
    plain = AutoModelForCausalLM.from_pretrained(base)
    lm = lora.add_lora(plain, ModelFlags(model_name_or_path="x", lora_dim=4), "CAUSAL_LM")
    torch.manual_seed(3)
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    weights = {n: p.detach() for n, p in lm.named_parameters()}
    save.save_model(lm, weights, load_tokenizer(str(base)), path, str(base))
    return path / "adapter"


def left():
    return list(Path("/dev/shm").glob("korlhf-*"))


def test_respond(models, adapter, tmp_path):
    found = [records.make(question, "everyday", "test") for question in QUESTIONS]
    before, files = left(), sorted(p.name for p in (models / "llama").iterdir())
    said = {}
    for rollout in ("local", "vllm"):
        who = f"--responder llama={models}/llama lora={adapter} --rollout {rollout} --num_answers 1"
        ran = run(respond, tmp_path, found, GREEDY, who, *(ON_GPU if rollout == "vllm" else ()), out=f"{rollout}.jsonl")
        assert ran.code == 0 and not ran.failed
        said[rollout] = [[(c["text"], c["model"], c["finish_reason"]) for c in r["candidates"]] for r in ran.out]
    assert said["vllm"] == said["local"]
    assert len({text for row in said["local"] for text, *_ in row}) > 40
    assert (tmp_path / "llm_cache.vllm.log").read_text(encoding="utf-8").count("== 20") == 2
    assert left() == before and sorted(p.name for p in (models / "llama").iterdir()) == files


def test_prompt_eval(models, tmp_path, monkeypatch):
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": q, "category": "everyday"} for q in QUESTIONS])
    rows = {}
    for rollout in ("local", "vllm"):
        flags = f"--model_name_or_path {models}/gpt_neox --data_path {prompts} --max_prompts 0 --rollout {rollout}"
        more = ON_GPU if rollout == "vllm" else []
        words = ["prompt_eval.py", *f"{flags} {GREEDY} --output {tmp_path}/{rollout}".split(), *more]
        monkeypatch.setattr(sys, "argv", words)
        prompt_eval.main()
        rows[rollout] = json.loads((tmp_path / f"{rollout}.json").read_text(encoding="utf-8"))["prompts"]
    assert rows["vllm"] == rows["local"] and len(rows["local"]) == 40
    assert (tmp_path / "vllm.vllm.log").exists() and not (tmp_path / "local.vllm.log").exists()
