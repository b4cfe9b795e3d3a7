"""korlhf/eval/conflicts.py: judges that cannot judge a responder fairly."""

import json
import shutil
from types import SimpleNamespace

import pytest

from korlhf.eval import conflicts
from korlhf.llm import checkpoint as local


@pytest.fixture
def run(folders, tmp_path):
    """Function: settings -> a step 3 folder with best/ in it."""

    def make(name="ppo", **settings):
        folder = tmp_path / name
        shutil.copytree(folders["gpt_neox"], folder / "best")
        (folder / "settings.json").write_text(
            json.dumps({"actor_model_name_or_path": "sft", **settings}), encoding="utf-8"
        )
        return folder

    return make


def reward(path):
    return SimpleNamespace(kind="reward_model", name="judge", path=str(path), fingerprint=local.fingerprint(path))


def checkpoint(path):
    return {"kind": "checkpoint", "model": str(path), "fingerprint": local.fingerprint(path)}


def test_a_model_trained_against_the_judge(run, folders, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folders["qwen2"], moved)  # the same bytes elsewhere
    rewards = {"reward_model_name_or_path": folders["qwen2"], "critic_model_name_or_path": folders["llama"]}
    trained = run(**rewards, advantage_estimator="grpo")
    by_critic = run("by_critic", reward_model_name_or_path="", critic_model_name_or_path=folders["qwen2"])
    responders = {
        "ppo": checkpoint(trained),
        "best": checkpoint(trained / "best"),
        "critic": checkpoint(by_critic),
        "sft": checkpoint(folders["gpt_neox"]),
        "file": {"kind": "file", "model": "x.jsonl"},
    }
    found = conflicts.of(reward(moved), responders)
    assert [line["en"].split(" was")[0] for line in found] == ["ppo", "best", "critic"]
    assert "trained by GRPO" in found[0]["en"] and "GRPO로 학습한" in found[0]["ko"]
    assert "trained by PPO" in found[2]["en"]
    assert all("this very reward model" in line["en"] and "바로 이 보상 모델" in line["ko"] for line in found)
    assert conflicts.of(reward(folders["llama"]), responders) == []  # another reward model


def test_a_reward_model_that_is_gone_may_be_the_judge(run, folders, tmp_path):
    responders = {"ppo": checkpoint(run(reward_model_name_or_path=str(tmp_path / "gone")))}
    (line,) = conflicts.of(reward(folders["llama"]), responders)
    assert "trained by PPO against" in line["en"] and "which no longer exists" in line["en"]
    assert "그 자리에 없습니다" in line["ko"]
    hub = SimpleNamespace(kind="reward_model", name="me/reward", path="me/reward", fingerprint="x")
    (line,) = conflicts.of(hub, {"ppo": checkpoint(run("hub", reward_model_name_or_path="me/reward"))})
    assert "this very reward model (me/reward)" in line["en"]


def test_every_reward_of_a_training_is_compared_by_path_and_bytes(run, folders, tmp_path, monkeypatch):
    same, other = tmp_path / "same", folders["llama"]
    shutil.copytree(folders["qwen2"], same)
    monkeypatch.chdir(tmp_path)
    settings = {"reward": [f"0.5*{other}", "0.5*rules:sense", "same"]}
    assert [
        conflicts.raised(f"reward_model:{path}", settings) for path in (same, folders["qwen2"], folders["gpt_neox"])
    ] == [True, True, False]
    assert conflicts.raised("reward_model:gone", settings) is None and conflicts.raised("openai:j", settings) is False
    assert conflicts.raised("reward_model:gone", {"reward": [f"{other},gone"]}) is True
    assert conflicts.raised("openai:j", {"reward": ["http://a/b"]}) is None
    assert conflicts.raised("openai:j", {"reward": ["gone.py:f"]}) is conflicts.raised("openai:j", {}) is False
    (line,) = conflicts.of(reward(folders["qwen2"]), {"ppo": checkpoint(run(**settings))})
    assert "this very reward model (same)" in line["en"]


def test_a_judge_that_is_a_responder(folders):
    judge = SimpleNamespace(kind="checkpoint", name="judge", fingerprint=local.fingerprint(folders["llama"]))
    (line,) = conflicts.of(
        judge,
        {
            "a": checkpoint(folders["llama"]),
            "b": checkpoint(folders["qwen2"]),
            "c": {"kind": "server", "model": "judge"},
        },
    )
    assert "is the same model as the responder a" in line["en"] and "답변한 모델 a" in line["ko"]
    judge = SimpleNamespace(kind="openai", name="gpt-4o", fingerprint="")
    (line,) = conflicts.of(
        judge, {"a": {"kind": "server", "model": "gpt-4o", "url": "x"}, "b": {"kind": "file", "model": "gpt-4o"}}
    )
    assert "responder a" in line["en"]
