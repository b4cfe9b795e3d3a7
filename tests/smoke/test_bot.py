"""quickstart.sh --base on a model of a few hundred thousand weights: every stage for real, in a few steps."""

import json
import subprocess

import pytest
from tiny_scripts import ROOT, environment, finished

from korlhf.applications.rlhf import budget

pytestmark = pytest.mark.long  # five programs, one after the other: 40 s
FEW = "--max_steps 2 --num_warmup_steps 1 --max_eval_examples 8 --save_steps 0"


@pytest.fixture(scope="module")
def bot(base_init, tmp_path_factory):
    """The folder of a run, and what it printed."""
    folder = tmp_path_factory.mktemp("bot")
    row = {"prompt": "내 자료에만 있는 질문이에요?", "output": "네, 여기에만 있어요."}
    (folder / "own.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    command = ["bash", str(ROOT / "applications/rlhf/run_all.sh"), "--output_dir", str(folder / "run")]
    settings = {
        "RECIPE": "bot",
        "BASE": str(base_init),
        "MINUTES": "30",
        "OWN_DATA": str(folder / "own.jsonl"),
        "SFT_FLAGS": FEW,
        "REWARD_FLAGS": f"{FEW} --per_device_train_batch_size 4",
        "PPO_FLAGS": f"{FEW} --max_answer_seq_len 16",
        "TALKS_FLAGS": "--max_prompts 6 --max_new_tokens 12",
    }
    done = subprocess.run(
        command, env={**environment(), **settings}, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "run", done.stdout


def test_every_step_trains_lora_with_the_settings_of_the_budget(bot):
    run, out = bot
    chosen = json.loads((run / "budget/budget.json").read_text(encoding="utf-8"))
    assert set(chosen["steps"]) == {"sft", "reward", "ppo", "grpo", "rloo", "reinforce", "dpo"} and all(
        n >= 4 for n in chosen["steps"].values()
    )
    assert budget.together(chosen["seconds_expected"]) < 30 * 60 and "together" in out
    for name in ("sft", "reward", "ppo"):
        assert finished(run / name)["steps"] == 2 and (run / name / "adapter/adapter_config.json").exists()
        settings = json.loads((run / name / "settings.json").read_text(encoding="utf-8"))
        settings = settings.get("settings", settings)
        own = str(run.parent / "own.jsonl")
        assert (own in settings["data_path"]) == (name != "reward")


def test_the_talks_hold_every_prompt_and_every_answer_of_the_three_models(bot):
    run, _ = bot
    result = json.loads((run / "talks.json").read_text(encoding="utf-8"))
    prompts = (ROOT / "samples/talk_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(result["talks"]) == len(prompts) == 12
    for file in ("talks.md", "talks.ko.md"):
        page = (run / file).read_text(encoding="utf-8")
        assert page.count("- **base** ") == page.count("- **SFT** ") == page.count("- **PPO** ") == 12
        for row in map(json.loads, prompts):
            assert (row.get("prompt") or row["messages"][-1]["content"]) in page
    for name in ("base", "sft", "ppo"):
        figures = result["models"][name]
        assert figures["n"] == 6 and figures["perplexity"]["n"] == 6
        for share in ("ended", "repetition", "friendly", "sense"):
            value, low, high = figures[share]
            assert 0 <= low <= value <= high <= 1
    assert result["models"]["base"]["perplexity"]["value"] != result["models"]["sft"]["perplexity"]["value"]
