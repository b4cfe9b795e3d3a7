"""applications/rlhf/run_all.sh as a user runs it: raw corpora to the report by real scripts, then again, then with a changed setting."""

import json
import re
import subprocess

import pytest
import rigged_reward
import torch
from free_port import free_port
from tiny_scripts import ROOT, environment
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

STAGES = ["init", "base", "data", "sft", "reward", "ppo", "eval"]
FEW = [
    "init.FLAGS=--vocab_size 1024 --hidden_size 64 --layers 2",
    "base.FLAGS=--max_steps 3 --max_eval_examples 10",
    "base.SAVE_STEPS=0",
    "sft.FLAGS=--max_steps 3 --max_eval_examples 10",
    "sft.BATCH=4",
    "reward.FLAGS=--max_steps 2 --max_eval_examples 10",
    "reward.BATCH=4",
    "ppo.FLAGS=--max_steps 2 --max_eval_examples 6",
    "ppo.BATCH=8",
    "ppo.TRAINING_BATCH=8",
    "ppo.MAX_ANSWER_SEQ_LEN=12",
    "eval.MAX_PROMPTS=4",
    "eval.MAX_NEW_TOKENS=8",
    "eval.PARTS=diversity",
]
CORPORA = {
    "NUM_ANSWERS": "3",
    "MAX_NEW_TOKENS": "120",
    "MIN_MARGIN": "0",
    "SELF_INSTRUCT": "5",
    "HARMFUL": "20",
    "PER_TOPIC": "3",
    "EVOL_LIMIT": "10",
    "TRANSLATED": "10",
}
EOS = "<|endoftext|>"


def rigged_teachers(folder):
    """MODELS for run_sample.sh: a model that says some syllables whatever it is asked, and a reward model that likes more of them."""
    vocabulary = [EOS, "<|unk|>", *"네가요좋아그래서말해"]
    text = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<|unk|>"))
    text.pre_tokenizer, text.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=2048,
            n_embd=4,
            n_layer=1,
            n_head=1,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[0, 0], model.lm_head.weight[1, 0] = (
            -1.0,
            -20.0,
        )  # about 1 in 30 tokens is the end, none is unknown
    model.save_pretrained(folder / "sft")
    PreTrainedTokenizerFast(tokenizer_object=text, eos_token=EOS, pad_token=EOS, unk_token="<|unk|>").save_pretrained(
        folder / "sft"
    )
    rigged_reward.counts_tokens(folder / "reward")
    for name in ("sft", "reward"):
        (folder / name / "finished.json").write_text("{}", encoding="utf-8")
    return folder


def run(folder, port, *words, changes=()):
    """(finished process, names of the stages that ran)"""
    environ = {
        **environment(),
        **CORPORA,
        "RUN": str(folder),
        "PORT": str(port),
        "MODELS": str(folder.parent / "teachers"),
        "SEED": "7",
    }
    done = subprocess.run(
        ["bash", str(ROOT / "applications/rlhf/run_all.sh"), *words, "--set", *FEW, *changes],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environ,
        cwd=folder.parent,
    )
    return done, re.findall(r"^\[\d/7\] (\w+): done in ", done.stdout, re.MULTILINE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    port = free_port()
    folder = tmp_path_factory.mktemp("전체 과정") / "내 run"
    rigged_teachers(folder.parent / "teachers")
    done, ran = run(folder, port)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert ran == STAGES
    return folder, port, done


def test_the_whole_chain_leaves_models_data_results_and_a_report(finished):
    folder, _, done = finished
    for name in ("base", "sft", "reward", "ppo"):
        assert (folder / name / "finished.json").exists() and (folder / name / "model.safetensors").stat().st_size > 0
    settings = json.loads((folder / "ppo" / "settings.json").read_text(encoding="utf-8"))
    assert settings["data_path"] == [str(folder / "data" / "prompts_train.jsonl")]
    assert (folder / "data" / "audit" / "audit.html").exists() and (folder / "eval" / "diversity.json").exists()
    assert (
        "PPO" in (folder / "report.html").read_text(encoding="utf-8")
        and f"report: {folder / 'report.html'}" in done.stdout
    )
    entries = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["stages"]
    assert list(entries) == STAGES and all(
        e["state"] == "done" and e["seconds"] > 0 and e["memory_mb"] > 10 for e in entries.values()
    )
    assert sorted(p.stem for p in (folder / "logs").iterdir()) == sorted(STAGES)
    assert (folder / "logs" / "sft.log").read_text(encoding="utf-8").count("held-out loss") == 2


def test_again_everything_is_up_to_date(finished):
    folder, port, _ = finished
    before = (folder / "sft" / "model.safetensors").stat().st_mtime_ns
    done, ran = run(folder, port)
    assert done.returncode == 0 and ran == [] and "everything is up to date" in done.stdout
    assert (folder / "sft" / "model.safetensors").stat().st_mtime_ns == before


def test_with_one_setting_changed_only_what_depends_on_it_runs(finished):
    folder, port, _ = finished
    done, ran = run(folder, port, changes=["ppo.KL_COEF=0.5"])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert ran == ["ppo", "eval"]
    assert "RUN/ppo holds a run with other inputs or settings: thrown away (--overwrite_output_dir)" in done.stdout
    assert json.loads((folder / "ppo" / "settings.json").read_text(encoding="utf-8"))["kl_coef"] == 0.5
