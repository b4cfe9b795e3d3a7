"""What a model says before and after: figures and pages, on tiny models with random weights."""

import importlib
import json
import math
import shutil

import pytest

from korlhf.applications.rlhf import talks, talks_page
from korlhf.core.ai_mark import MARK, NOTICE


def answer(text, tokens, ended=True, repetition=0.0):
    return {"text": text, "tokens": tokens, "ended": ended, "repetition": repetition}


def test_figures_by_hand():
    found = talks.figures(
        [
            answer("오늘은 집에서 푹 쉬어 보세요.", 10),
            answer("그건 네가 멍청해서 그래.", 8),
            answer("네네네네네네네네네네네네", 64, ended=False, repetition=0.8),
            answer("따뜻한 차 한 잔 마셔 보세요.", 10),
        ]
    )
    assert found["n"] == 4 and found["tokens"] == 23
    assert found["ended"][0] == 0.75 and found["repetition"][0] == pytest.approx(0.2)
    assert found["sense"][0] == 0.75 and found["friendly"][0] == 0.5
    # Wilson (1927) for 3 of 4, z 1.96: (3 + z^2/2 +- z sqrt(3/4 + z^2/4)) / (4 + z^2)
    z = 1.959964
    middle, half = 3 + z * z / 2, z * math.sqrt(3 * 1 / 4 + z * z / 4)
    assert found["ended"][1:] == pytest.approx([(middle - half) / (4 + z * z), (middle + half) / (4 + z * z)], abs=1e-4)


@pytest.fixture(scope="module")
def run_dir(folders, tmp_path_factory):
    """A run whose four models are tiny random ones, with its talks."""
    run = tmp_path_factory.mktemp("run")
    for name in ("sft", "ppo", "dpo"):
        shutil.copytree(folders["gpt_neox"], run / name)
    (run / "ppo/finished.json").write_text('{"steps": 3}', encoding="utf-8")
    settings = {"per_device_generation_batch_size": 16, "actor_lora_learning_rate": 1e-4}
    (run / "ppo/settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (run / "dpo/finished.json").write_text('{"steps": 5, "heldout_after": {"accuracy": 0.5}}', encoding="utf-8")
    settings = {"per_device_train_batch_size": 8, "lora_learning_rate": 2e-5}
    (run / "dpo/settings.json").write_text(json.dumps(settings), encoding="utf-8")
    prompts = [{"prompt": "오늘 뭐 | 해?"}, {"prompt": "배고파", "category": "everyday"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in prompts)
    (run / "asked.jsonl").write_text(lines, encoding="utf-8")
    pairs = [{"prompt": f"{i}번?", "chosen": "네, 좋아요.", "rejected": "몰라"} for i in range(5)]
    (run / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    words = ["--base", folders["llama"], "--output_dir", str(run), "--max_new_tokens", "6", "--max_prompts", "3"]
    words += ["--talk_data_path", str(run / "asked.jsonl"), "--data_path", str(run / "asked.jsonl")]
    importlib.import_module("applications.rlhf.talks").main([*words, "--answers_data_path", str(run / "pairs.jsonl")])
    return run


def test_every_answer_of_every_model_is_on_both_pages(run_dir):
    result = json.loads((run_dir / "talks.json").read_text(encoding="utf-8"))
    assert result.items() >= MARK.items() and result["time"].startswith("20")
    assert list(result["models"]) == ["base", "sft", "ppo", "dpo"] and "### 명령어:\n{prompt}" in result["template"]
    assert [set(talk["answers"]) for talk in result["talks"]] == [{"base", "sft", "ppo", "dpo"}] * 2
    assert result["models"]["sft"]["perplexity"]["n"] == 3
    # the same weights and the same random streams: the same words
    assert all(talk["answers"]["sft"] == talk["answers"]["ppo"] for talk in result["talks"])
    assert result["models"]["base"]["perplexity"] != result["models"]["sft"]["perplexity"]
    for file, user in (("talks.md", "user"), ("talks.ko.md", "사용자")):
        page = (run_dir / file).read_text(encoding="utf-8")
        assert NOTICE["ko" if ".ko" in file else "en"] in page
        assert f"**{user}** 오늘 뭐 \\| 해?" in page and page.count("- **PPO** ") == 2
        assert "| PPO | 3 | 16 | 0.0001 |  |" in page and "| DPO | 5 | 8 | 2e-05 |  |" in page


def test_the_page_tells_what_the_trainings_reached():
    after = {"score": 1.5, "score_std": 2.0, "kl": 0.25, "n": 6, "accuracy": 0.75, "ci95": [0.5, 0.9]}
    result = {
        "template": "Human: {prompt}\n\nAssistant:\n",
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64},
        "seed": 7,
        "dtype": "fp32",
        "models": {"base": {"model": "모델", **talks.figures([answer("네, 좋아요.", 4)])}},
        "talks": [],
        "training": {
            "sft": {"steps": 40, "batch": 8, "rate": 3e-4},
            "reward": {"steps": 20, "heldout_after": after, "trivial_rules": {"longer": 0.4, "shorter": 0.6}},
            "ppo": {"steps": 3, "heldout_before": {**after, "score": 0.5}, "heldout_after": after},
            "seconds": {"sft": {"seconds": 90}},
        },
    }
    result["models"]["base"]["perplexity"] = {"value": [20.0, 15.0, 30.0], "n": 9}
    page = talks_page.page(result, "en")
    assert "| SFT | 40 | 8 | 0.0003 | 2 |" in page and "| reward model | 20 |  |  |  |" in page
    assert "0.750 of 6 pairs in the right order (95 % 0.500 to 0.900); the best baseline (shorter): 0.600." in page
    assert "score 0.50 -> 1.50 (standard deviation 2.00). KL 0.2 nats per answer." in page
    assert "| perplexity of the best written answers | 20.0 (15.0-30.0) | 9 |" in page
    assert "보상 모델은 평가용 순위의 6쌍" in talks_page.page(result, "ko")
    del after["kl"]  # without a KL penalty none is measured
    assert "(standard deviation 2.00).\n" in talks_page.page(result, "en")
