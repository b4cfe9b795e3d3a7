"""The comparison of algorithms: the same answers for all models, and a table of means over seeds."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from eval import algorithms as program
from korlhf.core.errors import InputError
from korlhf.eval import algorithms

pytestmark = pytest.mark.usefixtures("no_collection")


@pytest.fixture
def run(folders, tmp_path):
    """An SFT model, itself as ppo_1, another model as ppo_2 and dpo_1, and a reward model."""
    for name, of in {"sft": "llama", "ppo_1": "llama", "ppo_2": "qwen2", "dpo_1": "qwen2"}.items():
        (tmp_path / name).mkdir()
        for file in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
            (tmp_path / name / file).symlink_to(f"{folders[of]}/{file}")
        (tmp_path / name / "tokenizer_config.json").symlink_to(f"{folders[of]}/tokenizer_config.json")
        (tmp_path / name / "finished.json").write_text(json.dumps({"peak_memory_mb": 512.0}), encoding="utf-8")
    torch.manual_seed(3)
    config = AutoConfig.from_pretrained(folders["llama"], num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(folders["llama"]).save_pretrained(tmp_path / "reward")
    clock = {"ppo_1": {"seconds": 10}, "ppo_2": {"seconds": 20}, "dpo_1": {"seconds": 7}}
    (tmp_path / "stages.json").write_text(json.dumps(clock), encoding="utf-8")
    return tmp_path


def test_all_models_answer_the_same_prompts(run, capsys):
    program.main(["--run_dir", str(run), "--max_prompts", "12", "--max_new_tokens", "8", "--batch_size", "5"])
    models = json.loads((run / "algorithms.json").read_text(encoding="utf-8"))["models"]
    assert list(models) == ["sft", "ppo_1", "ppo_2", "dpo_1"]
    sft, same, other, dpo = models.values()
    assert 4 < sft["n"] <= 12 and abs(sft["kl"]) < 1e-5  # longer prompts than the models take are left out
    assert {k: same[k] for k in sft} == sft and (same["seconds"], same["peak_memory_mb"]) == (10, 512)
    assert other["kl"] > 1 and other["score"] != sft["score"]
    assert {k: v for k, v in dpo.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert (run / "algorithms.png").stat().st_size > 5000
    written = (run / "algorithms.md").read_text(encoding="utf-8")
    assert written.splitlines()[2].startswith("| SFT | 0.00 |") and written in capsys.readouterr().out


def figures(score, **more):
    return {
        "score": score,
        "score_std": 2.0,
        "kl": 1.0,
        "friendly": 0.5,
        "sense": 1.0,
        "eos_rate": 0.25,
        "n": 4,
        **more,
    }


def test_the_table_has_means_and_extremes_over_seeds():
    measured = {
        "sft": figures(1.0),
        "ppo_1": figures(2.0, seconds=10.0),
        "ppo_2": figures(5.0, seconds=30.0),
        "rloo_1": figures(0.0, distinct_2=0.75),
    }
    head, _, sft, ppo, rloo = algorithms.table(measured).splitlines()
    assert head == "| | score | KL | friendly | sense | distinct-2 | EOS | seconds | MB |"
    assert sft == "| SFT | 0.00 | 1.00 | 0.500 | 1.000 | – | 0.250 | – | – |"
    assert ppo.startswith("| PPO (2) | 1.25 (0.50, 2.00) | 1.00 (1.00, 1.00) |") and ppo.endswith(" 20 (10, 30) | – |")
    assert rloo == "| RLOO (1) | -0.50 | 1.00 | 0.500 | 1.000 | 0.750 | 0.250 | – | – |"


def test_what_is_missing_is_named(run):
    (run / "ppo_2" / "finished.json").unlink()
    with pytest.raises(InputError, match="ppo_2 is not finished; start its training again"):
        algorithms.trained(run)
    with pytest.raises(InputError, match="needs sft, reward and models such as ppo_1; make them with RECIPE=a"):
        algorithms.trained(run / "reward")
