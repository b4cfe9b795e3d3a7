"""The budget of a real model's steps, by hand arithmetic."""

import importlib
import json

import pytest

from korlhf.applications.rlhf import budget, plan
from korlhf.core.errors import InputError
from korlhf.rl.training import REFERENCE_ANSWERS

# start 10 s, a row 3 s, a ranking 6 s, a sampled answer of full length 4 s, a usual one 2 s. By hand:
#   sft step    8 x 3                                   =  24 s
#   reward step 8 x 6                                   =  48 s
#   ppo step   16 x (2 + 4/3 x (3 + 6/3))               = 138.67 s
#   grpo step  16 x (2 + 4/3 x 3 + 1/3 x 6/3)           = 106.67 s, as rloo and reinforce, without a critic
#   dpo step    8 x 3 x 4/3 x 3                         =  96 s
#   fixed  9 x 10 + 2 x ((48 x 3 + 48 x 6) / 3 + 16 x (2 + 1)) + 64 x (2 + 1) + 60 x (4 + 2 + 2) + 3 x 48
#          = 90 + 384 + 192 + 624 = 1290 s
SLOW = budget.Speed(start=10, row=3, ranking=6, answer=4)
MANY = dict.fromkeys(budget.SHARES, 10_000)


def test_seconds_of_a_step_and_of_all_that_is_fixed():
    names = ("sft", "reward", "ppo", "grpo", "rloo", "reinforce", "dpo")
    without_critic = [320 / 3] * 3
    assert [SLOW.step(name) for name in names] == pytest.approx([24, 48, 416 / 3, *without_critic, 96])
    assert SLOW.fixed == pytest.approx(1290) and budget.REFERENCE == REFERENCE_ANSWERS


def test_steps_share_what_is_left():
    # 100 minutes, a tenth kept back: 5400 s - 1290 s = 4110 s; half to SFT, a quarter to the reward model and to what
    # follows: 1027.5 // 138.67 = 7 steps of PPO, 1027.5 // 106.67 = 9 without a critic, 1027.5 // 96 = 10 of DPO
    counts = {"sft": 2055 // 24, "reward": 1027 // 48, "ppo": 7, "grpo": 9, "rloo": 9, "reinforce": 9, "dpo": 10}
    assert budget.steps(SLOW, 100, MANY) == counts
    expected = budget.seconds(SLOW, counts)
    assert expected["rest"] == pytest.approx(1290)
    # the longest of what follows is PPO: 971 s, the others 960 s
    assert budget.together(expected) == pytest.approx(85 * 24 + 21 * 48 + 7 * 416 / 3 + 1290)


def test_no_step_trains_longer_than_its_useful_passes():
    few = {**MANY, "sft": 20, "reward": 16, "ppo": 40, "dpo": 16}
    found = budget.steps(SLOW, 10_000, few)
    assert [found[name] for name in ("sft", "reward", "ppo", "dpo")] == [5, 4, 5, 4]


def test_too_few_minutes_name_those_that_are_enough():
    with pytest.raises(InputError, match="--minutes 30: too few .* give (\\d+) or more") as refused:
        budget.steps(SLOW, 30, MANY)
    # PPO decides: 1290 + 4 x 416/3 / (1/4) = 3508.7 s, / .9 = 65.0 minutes
    assert "give 65 or more" in str(refused.value)
    assert budget.steps(SLOW, 65, MANY)["ppo"] == 4
    with pytest.raises(InputError):
        budget.steps(SLOW, 64, MANY)


def test_own_data_goes_to_the_steps_that_it_can_train(tmp_path):
    rows = {
        "answers": {"prompt": "가", "output": "나"},
        "pairs": {"prompt": "가", "chosen": "나", "rejected": "다"},
        "prompts": {"prompt": "가"},
        "text": {"text": "가나다"},
    }
    own = {}
    for name, row in rows.items():
        own[name] = str(tmp_path / f"{name}.jsonl")
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    found = plan.datasets(list(own.values()))
    of = {step: [n for n, path in own.items() if path in paths] for step, paths in found.items()}
    assert of == {1: ["answers", "pairs", "text"], 2: ["pairs"], 3: ["answers", "pairs", "prompts"]}
    assert all(found[step][: len(sample)] == sample for step, sample in plan.DATA.items())
    (tmp_path / "broken.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="broken.jsonl:1"):
        plan.datasets([str(tmp_path / "broken.jsonl")])


@pytest.mark.parametrize(
    ("name", "shares"), [("sft", "1,0,0"), ("reward", "0,1,0"), ("ppo", "0,0,1"), ("grpo", "0,0,1"), ("dpo", "0,1,0")]
)
def test_flags_are_those_of_the_step(name, shares):
    """Every word is a flag that the step's own parser takes."""
    step3 = name in ("ppo", "grpo")
    folders = {"sft": "step1_supervised_finetuning", "reward": "step2_reward_model_finetuning"}
    folder = {**folders, "dpo": "step2_dpo_finetuning"}.get(name, "step3_rlhf_finetuning")
    words = plan.words(name, ["sample/best"], "human_assistant", 40)
    models = ["--actor_model_name_or_path", "a/b", "--critic_model_name_or_path", "a/c"]
    models = models if step3 else ["--model_name_or_path", "a/b"]
    *_, given = importlib.import_module(f"training.{folder}.main").parse([*words, *models, "--output_dir", "out"])
    assert given["data_split"] == shares and given["max_steps"] == 40
    assert given["actor_lora_dim" if step3 else "lora_dim"] == plan.LORA["lora_dim"]


def test_what_was_measured_for_the_same_question_is_kept(tmp_path, capsys):
    kept = importlib.import_module("applications.rlhf.budget").kept
    asked, file = {"minutes": 60.0, "seed": 7}, tmp_path / "budget.json"
    assert not kept(file, asked)
    file.write_text(json.dumps({"asked": asked}), encoding="utf-8")
    assert kept(file, asked) and "as it was measured before" in capsys.readouterr().out
    assert not kept(file, {**asked, "minutes": 30.0})


def test_a_tiny_model_is_measured_and_gets_its_settings(folders, tmp_path, capsys):
    """The program whole, in this process: the model has no template of its own, so the shortest of ours is chosen."""
    main = importlib.import_module("applications.rlhf.budget").main
    words = ["--model_name_or_path", folders["gpt_neox"], "--minutes", "30", "--output_dir", str(tmp_path / "b")]
    main(words)
    told = json.loads((tmp_path / "b/budget.json").read_text(encoding="utf-8"))
    assert all(seconds > 0 for seconds in told["seconds_measured"].values())
    assert budget.together(told["seconds_expected"]) <= 0.9 * 30 * 60
    sft = (tmp_path / "b/sft.flags").read_text(encoding="utf-8").splitlines()
    assert sft[: sft.index("--data_split")] == ["--data_path", "sample/best", "sample/reward"]
    assert sft[sft.index("--prompt_template") + 1] == "human_assistant"
    assert int(sft[sft.index("--max_steps") + 1]) == told["steps"]["sft"]
    assert "of 30 minutes, with the longest of ppo" in capsys.readouterr().out
    main(words)
    assert "as it was measured before" in capsys.readouterr().out
