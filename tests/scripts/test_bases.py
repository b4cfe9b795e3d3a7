"""The run scripts of today's bases for real: all four trainings, each on a tiny model of the base's architecture, with
its conversation template."""

import subprocess

import pytest
import tiny_scripts
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen3Config

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "head_dim": 8}
SHAPE |= {"num_key_value_heads": 1, "max_position_embeddings": 1024, "tie_word_embeddings": True}
BASES = {
    "kanana/run_3b_lora.sh": (LlamaConfig, "llama3", {}),
    "gemma/run_1b_lora.sh": (
        Gemma3TextConfig,
        "gemma",
        {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen/run_4b_lora.sh": (Qwen3Config, "chatml", {}),
}
FEW = ("--max_steps", "2", "--max_eval_examples", "4")
STEPS = {  # each after those whose models it starts from
    "sft": ("step1_supervised_finetuning", "sample/sft", ()),
    "reward": ("step2_reward_model_finetuning", "sample/reward", ()),
    "dpo": ("step2_dpo_finetuning", "sample/reward", ()),
    "ppo": ("step3_rlhf_finetuning", "sample/prompts", ("--max_answer_seq_len", "8")),
}


@pytest.mark.long
@pytest.mark.parametrize("script", BASES)
def test_the_four_trainings_of_a_base(script, tmp_path, chat_codec):
    config, template, more = BASES[script]
    tokenizer = chat_codec(template).tokenizer
    ids = {name: tokenizer.eos_token_id for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(vocab_size=len(tokenizer), **SHAPE, **ids, **more))
    for folder in (model, tokenizer):
        folder.save_pretrained(tmp_path / "base")
    settings = {"RUN_NAME": "x", "PER_DEVICE_GENERATION_BATCH_SIZE": "4", "PER_DEVICE_TRAINING_BATCH_SIZE": "4"}
    settings |= {"PER_DEVICE_TRAIN_BATCH_SIZE": "2", "GRADIENT_ACCUMULATION_STEPS": "1", "ZERO_STAGE": "0"}
    for step, (folder, data, flags) in STEPS.items():
        made = tmp_path / step
        base = {"MODEL_NAME_OR_PATH": str(tmp_path / ("sft" if step == "dpo" else "base"))}
        pairs = (("ACTOR", "sft"), ("CRITIC", "reward"))
        base |= {f"{who}_MODEL_NAME_OR_PATH": str(tmp_path / of) for who, of in pairs}
        done = subprocess.run(
            ["bash", str(tiny_scripts.ROOT / "training" / folder / "training_scripts" / script), *FEW, *flags],
            env={**tiny_scripts.environment(), **settings, **base, "DATA_PATH": data, "OUTPUT_DIR": str(made)},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, f"{step}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        assert (made / "model.safetensors").is_file() and (made / "adapter").is_dir() and tiny_scripts.finished(made)
