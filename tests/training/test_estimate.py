"""--estimate_memory against what trainings take, and against counts by hand."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from korlhf.training import estimate, memory
from korlhf.training.flags import ModelFlags, RunFlags, TrainFlags
from korlhf.training.ppo_flags import PpoFlags
from tests.harness.step_programs import main_of

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 512
CASES = [
    {},
    {"lora_dim": 8},
    {"gradient_checkpointing": True},
    {"zero_stage": 3},
    {"step": 2},
    {"step": 3},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config and nothing else, of 9 million parameters."""
    out = tmp_path_factory.mktemp("llama")
    shape = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 768}
    LlamaConfig(vocab_size=4000, num_key_value_heads=2, **shape).save_pretrained(out)
    return str(out)


def given(folder, gpus=1, dtype="fp32", step=1, **flags):
    """TOKENS a pass: in step 2 two answers to two prompts, in step 3 four prompts with answers."""
    length, model = TOKENS // 4, ModelFlags(model_name_or_path=folder, **flags)
    batch = TrainFlags(per_device_train_batch_size=4 // step, max_seq_len=length)
    models = {"": model}
    if step == 3:
        half = {"max_prompt_seq_len": length // 2, "max_answer_seq_len": length // 2}
        batch = PpoFlags(per_device_generation_batch_size=4, per_device_training_batch_size=4, **half)
        models = {"actor_": model, "critic_": model}
    return estimate.Given(step, models, batch, RunFlags(output_dir="x"), gpus, dtype)


def test_two_answers_to_a_prompt_are_two_sequences(folder):
    one = given(folder)
    preferences = replace(one, step="2 (preferences)", batch=replace(one.batch, per_device_train_batch_size=2))
    assert estimate.estimate(preferences) == estimate.estimate(one)


@pytest.mark.long
def test_estimates_are_within_a_fifth_of_measured_peaks(folder, monkeypatch):
    command = [sys.executable, ROOT / "tests/harness/measured_peaks.py", folder, str(TOKENS), *map(json.dumps, CASES)]
    alone = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")}
    environment = {**alone, "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    monkeypatch.setattr(memory, "BUCKET", 0)  # on a CPU its pages are never touched
    for case, bytes_there in zip(CASES, measured, strict=True):
        print("PEAK", case, bytes_there, estimate.peak(estimate.estimate(given(folder, **case))))
        assert estimate.peak(estimate.estimate(given(folder, **case))) == pytest.approx(bytes_there, rel=0.2), case


def test_a_pass_is_counted_as_by_hand():
    """A layer of 3 x 5 over 2 rows in fp32: the output, and at the end the gradients of weights and output."""
    layer = torch.nn.Linear(3, 5, bias=False, device="meta")
    rows = torch.empty(2, 3, device="meta")
    with memory.Watch(layer) as watch:
        out = layer(rows)
        assert watch.now == 2 * 5 * 4
        del out
        assert (watch.now, watch.most) == (0, 2 * 5 * 4)


def test_states_are_those_of_the_config(folder):
    # embedding and head 4000 x 256 each; a layer: q, o 256 x 256, k, v 128 x 256, three of 768 x 256, two norms
    params = 2 * 4000 * 256 + 6 * (2 * 256**2 + 2 * 128 * 256 + 3 * 768 * 256 + 2 * 256) + 256
    parts = estimate.estimate(given(folder, dtype="bf16"))["optimizer step"]
    assert parts == {
        "parameters": params * 2,
        "optimizer": params * 12,
        "gradients": params * 2,
        "fp32 gradients": params * 4,
    }
    spread = estimate.estimate(given(folder, 4, "bf16", zero_stage=2))["optimizer step"]
    assert spread == {"parameters": params * 2, **{k: v / 4 for k, v in parts.items() if k != "parameters"}}
    lora = estimate.estimate(given(folder, dtype="bf16", lora_dim=8))["optimizer step"]
    adapter = 6 * 8 * (4 * 256 + 2 * 256 + 2 * 128)  # A: from 256, four times; B: to 256 and to 128
    assert lora["parameters"] == (params + adapter) * 2 and lora["optimizer"] == adapter * 12
    small = estimate.estimate(given(folder, dtype="bf16", lora_dim=8, load_in_4bit=True))["optimizer step"]
    linear = 6 * (2 * 256**2 + 2 * 128 * 256 + 3 * 768 * 256)
    assert small["parameters"] == pytest.approx(lora["parameters"] - linear * (2 - 0.5 - 0.127 / 8))


def test_step_3_without_a_critic_and_a_reference_takes_their_memory_less(folder):
    models = {p: ModelFlags(model_name_or_path=folder) for p in ("actor_", "critic_")}
    params, at_rest = memory.Counted(folder, None, "fp32").params, []
    for how in ({}, {"advantage_estimator": "rloo"}, {"advantage_estimator": "rloo", "kl_coef": 0.0}):
        given = estimate.Given(3, models, PpoFlags(**how), RunFlags(output_dir="x"), 1, "fp32")
        phases = estimate.estimate(given)
        assert any("critic" in name for name in phases) == (not how)
        at_rest.append(phases["sampling"]["models and optimizers"])
    assert at_rest[0] - at_rest[1] == pytest.approx(params * (4 + 8), rel=0.2)  # the critic has a head of its own
    assert at_rest[1] - at_rest[2] == params * 4


def test_step_3_counts_every_model_and_the_cache(folder):
    models = {p: ModelFlags(model_name_or_path=folder) for p in ("actor_", "critic_")}
    batch = PpoFlags(per_device_generation_batch_size=4, per_device_training_batch_size=2)
    of_3 = estimate.Given(3, models, batch, RunFlags(output_dir="x"), 1, "fp32")
    phases = estimate.estimate(of_3)
    assert set(phases) == {
        *(f"{phase} of the {model}" for phase in ("training", "optimizer step") for model in ("actor", "critic")),
        *("sampling", "scoring"),
    }
    # keys and values of 6 layers, 2 heads of 64, 4 rows of 512 tokens
    assert phases["sampling"]["KV cache"] == 2 * 6 * 2 * 64 * 4 * 512 * 4
    lora = replace(of_3, models={p: replace(m, lora_dim=8) for p, m in models.items()})
    whole = phases["scoring"]["models and optimizers"]
    params = memory.Counted(folder, None, "fp32").params
    # without LoRA: four models, two with Adam's 8 bytes a parameter
    assert whole == pytest.approx(4 * params * 4 + 2 * params * 8 - 2 * 4000 * 256 * 4 - 4000 * 256 * 8, rel=0.01)
    assert (
        estimate.estimate(lora)["scoring"]["models and optimizers"] < 0.4 * whole
    )  # three models without the reference


def test_the_program_prints_it_loads_nothing_and_says_what_helps(folder, monkeypatch, capsys, tmp_path):
    argv = ["main.py", "--model_name_or_path", folder, "--data_path", "sample/sft", "--output_dir", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", [*argv, "--estimate_memory", "--dtype", "bf16"])
    main_of(1).main()
    out = capsys.readouterr().out
    assert "peak " in out and "fits 24 GB" in out and "with --gradient_checkpointing: " in out
    assert "with --lora_dim 16: " in out and "with --per_device_train_batch_size 8: " in out
    assert not (tmp_path / "o").exists()
