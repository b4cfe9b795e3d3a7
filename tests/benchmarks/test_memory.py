"""The memory calculator against arithmetic by hand, and the README's tables against the calculator."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import memory
from korlhf.models import causal_lm

ROOT = Path(__file__).resolve().parents[2]
TINY = memory.Shape("tiny", params=1000, hidden=10, layers=2, vocab=50)
ONE = memory.Setting(zero_stage=0, batch=1, seq_len=4)


def test_parameters_are_those_of_the_model_cards():
    published = {"1.3B": 1_331_810_304, "3.8B": 3_809_974_272, "5.8B": 5_885_059_072}
    assert {m.name: m.params for m in memory.MODELS if m.name in published} == published


def test_lora_parameters():
    # rank 16 at hidden -> 3 x hidden: A is 16 x 4096, B is 12288 x 16, in 28 layers
    assert memory.trained(memory.neox("5.8B", 4096, 28), 16) == 28 * (16 * 4096 + 12288 * 16)


def test_reward_model_has_a_score_for_an_output_embedding():
    assert memory.as_reward(TINY).params == 1000 - 50 * 10 + 10


@pytest.mark.parametrize(
    "setting, expected",
    [
        (dict(zero_stage=0), (2000, 12000, 2000)),  # 16 bytes a parameter
        (dict(zero_stage=0, gpus=4), (2000, 12000, 2000)),
        (dict(zero_stage=1, gpus=4), (2000, 3000, 2000)),
        (dict(zero_stage=2, gpus=4), (2000, 3000, 500)),
        (dict(zero_stage=3, gpus=4), (2000 + 500, 3000, 500)),  # the gathered ones and its own share
        (dict(zero_stage=2, offload=True), (2000, 0, 0)),
        (dict(zero_stage=3, offload=True), (2000, 0, 0)),
        (dict(zero_stage=0, dtype="fp32"), (4000, 8000, 4000)),
        (dict(zero_stage=2, dtype="fp32"), (4000, 12000, 4000)),  # ZeRO keeps a master copy of fp32 weights too
        (dict(zero_stage=0, lora_dim=2), (2320, 1920, 320)),  # 2 x 4 x 10 x 2 = 160 trained parameters
    ],
)
def test_states(setting, expected):
    s = memory.Setting(**setting)
    assert (memory.weights(TINY, s), memory.optimizer(TINY, s), memory.gradients(TINY, s)) == expected


def test_activations_with_and_without_checkpointing():
    assert memory.activations(TINY, 5, ONE) == 5 * 10 * (2 + 18 + 8) * 2
    assert memory.activations(TINY, 5, replace(ONE, no_gradient_checkpointing=True)) == 5 * 10 * (2 * 18 + 8) * 2


def test_cache_of_keys_and_values():
    # 32 prompts of 512 tokens: keys and values, 28 layers, 4,096 wide, 2 bytes
    assert memory.cache(memory.neox("5.8B", 4096, 28), 32 * 512, memory.Setting()) == 7_516_192_768


def test_phases_of_step_1():
    # 4 tokens: activations 4 * 10 * 28 * 2 = 2240, logits 4 * 50 * 12 = 2400; the fp32 gradient of the optimizer step
    # is 4000
    assert memory.phases(1, TINY, ONE) == {"start-up": 2000, "training": 16000 + 2240 + 2400, "optimizer": 20000}


def test_many_logits_cost_one_chunk_and_a_second_gradient_of_the_head(monkeypatch):
    assert memory.CHUNK_LOGITS == causal_lm.CHUNK_LOGITS
    monkeypatch.setattr(memory, "CHUNK_LOGITS", 100)  # two of four tokens
    assert memory.logits_trained(TINY, 4, ONE) == 100 * 12 + 50 * 10 * 2
    assert memory.logits_trained(TINY, 4, replace(ONE, lora_dim=2)) == 100 * 12


def test_zero_3_reads_a_share_and_one_matrix():
    # 1,000 parameters over two GPUs, and the 50 x 10 embedding
    assert memory.start_up(TINY, replace(ONE, zero_stage=3, gpus=2)) == (500 + 500) * 2


def test_gradient_bucket_is_there_with_zero_only():
    stage_2 = memory.phases(1, TINY, replace(ONE, zero_stage=2))
    assert stage_2["training"] == 16000 + 2240 + 2400 + 500_000_000 * 2


def test_phases_of_step_2():
    # 510 parameters, two answers of 4 tokens, no logits
    assert memory.phases(2, TINY, ONE) == {
        "start-up": 1020,
        "training": 510 * 16 + 8 * 10 * 28 * 2,
        "optimizer": 510 * 20,
    }


def test_phases_of_step_3_with_lora():
    rest = (2320 + 1920) + (670 * 2 + 1920) + 510 * 2  # actor, critic, reward model; no reference copy
    assert memory.phases(3, TINY, replace(ONE, lora_dim=2)) == {
        "start-up": 1000 * 2 + 510 * 2 + 510 * 2,
        "sampling": rest + 2 * 2 * 10 * 4 * 2 + 4 * 10 * 12 * 2,
        "scoring": rest + 4 * 10 * 12 * 2 + 2 * 50 * 10,  # two answer tokens
        "training": rest + 640 + 2 * 2240 + 2 * 50 * 12,  # of actor and critic
        "optimizer": rest + 640 + 640,
    }


def test_full_step_3_has_a_reference_copy():
    rest = 1000 * 14 + 510 * 14 + 510 * 2 + 1000 * 2
    assert memory.phases(3, TINY, ONE)["sampling"] == rest + 320 + 960


def test_sampling_under_zero_3_needs_the_whole_actor():
    found = memory.phases(3, TINY, replace(ONE, zero_stage=3, gpus=2))
    # gathered + share of actor, reference (1000) and critic, reward (510), two optimizers, whole weights, cache and
    # work
    assert found["sampling"] == 2 * (2000 + 1000) + 2 * (1020 + 510) + 6 * 1510 + 2000 + 320 + 960


def test_every_printed_setting_fits():
    cells = re.findall(r"\| (\d+) GB \|(.*)", memory.tables())
    peaks = [(int(gpu), float(p)) for gpu, row in cells for p in re.findall(r"\(([\d.]+) GiB\)", row)]
    assert len(cells) == 9 and len(peaks) > 40
    assert all(p <= gpu * 0.9 for gpu, p in peaks)


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_readme_holds_the_tables(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    inside = text.split("<!-- memory:start -->")[1].split("<!-- memory:end -->")[0]
    assert inside.strip() == memory.tables().strip()


def test_one_line(capsys):
    memory.main(["--hidden", "2048", "--layers", "24", "--batch", "16", "--step", "1"])
    out = capsys.readouterr().out
    assert "1.33B parameters" in out and "fits 40 GB" in out


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--hidden", "10"], "--layers"),
        (["--params", "5"], "--hidden"),
        (["--hidden", "10", "--layers", "2", "--gpus", "0"], "--gpus"),
        (["--hidden", "10", "--layers", "2", "--offload", "--zero_stage", "0"], "--offload needs ZeRO"),
        (["--hidden", "10", "--layers", "2", "--lora_dim", "-1"], "--lora_dim -1"),
    ],
)
def test_wrong_flags_name_the_flag(flags, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        memory.main(flags)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
