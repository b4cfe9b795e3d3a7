"""applications/rlhf/run_all.sh by real scripts: raw corpora to the report, and the quickstart; a few steps each."""

import json

import rigged_reward
import torch
from free_port import free_port
from tiny_scripts import run_all
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

FEW = {
    "INIT_FLAGS": "--vocab_size 1024 --hidden_size 64 --layers 2",
    "BASE_FLAGS": "--max_steps 2 --max_eval_examples 10",
    "SFT_FLAGS": "--max_steps 2 --max_eval_examples 10 --per_device_train_batch_size 4",
    "REWARD_FLAGS": "--max_steps 2 --max_eval_examples 10 --per_device_train_batch_size 4",
    "PPO_FLAGS": "--max_steps 2 --max_eval_examples 6 --max_answer_seq_len 12 --per_device_generation_batch_size 8 "
    "--per_device_training_batch_size 8",
    "EVAL_MAX_PROMPTS": "4",
    "EVAL_MAX_NEW_TOKENS": "8",
    "EVAL_PARTS": "diversity",
}
# Two of the corpora; all of them are in test_data_prep.py.
CORPORA = {"ENGLISH": "", "EVOL": "", "SEEDS": "", "HARMFUL": "20", "PER_TOPIC": "3"}
CORPORA |= {"NUM_ANSWERS": "3", "MAX_NEW_TOKENS": "120", "MIN_MARGIN": "0"}
EOS = "<|endoftext|>"


def rigged_teachers(folder):
    """MODELS: one that says some syllables whatever it is asked, and a reward model that likes more of them."""
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


def test_raw_corpora_to_the_report(tmp_path):
    folder, teachers = tmp_path / "내 run", rigged_teachers(tmp_path / "teachers")
    shown = run_all(folder, SEED="7", MODELS=str(teachers), PORT=str(free_port()), **FEW, **CORPORA)
    assert shown.endswith(f"the report, with everything on one page: {folder}/report.html\n")
    for name in ("base", "sft", "reward", "ppo"):
        assert (folder / name / "finished.json").exists() and (folder / name / "model.safetensors").stat().st_size > 0
    settings = json.loads((folder / "ppo" / "settings.json").read_text(encoding="utf-8"))
    assert settings["data_path"] == [str(folder / "data" / "prompts_train.jsonl")] and settings["seed"] == 7
    assert (folder / "data" / "audit" / "audit.html").exists()
    assert "PPO" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "logs" / "sft.log").read_text(encoding="utf-8").count("held-out loss") == 2


def test_the_quickstart_leaves_its_table_picture_and_dialogues(three_steps):
    shown = run_all(
        three_steps, "--from", "dialogues", "--to", "summary", RECIPE="quickstart", DIALOGUES_FLAGS="--max_prompts 2"
    )
    assert "reward: held-out accuracy" in shown
    summary = json.loads((three_steps / "summary.json").read_text(encoding="utf-8"))
    assert summary["seconds"]["total"] > 0 and summary["ppo"]["steps"] == 3 and summary["sft"]["peak_memory_mb"] > 10
    assert (three_steps / "curves.png").stat().st_size
    dialogues = (three_steps / "dialogues.md").read_text(encoding="utf-8")
    assert dialogues.count("\n| base | sft | ppo |\n") == 2
