"""The chain of trainings behind a folder, and its licence."""

import json

import pytest

from korlhf.core.errors import InputError
from korlhf.training import provenance
from korlhf.training.reward_flags import RewardFlags, reward_model_of


def training(folder, figures=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "finished.json").write_text(json.dumps(figures or {}), encoding="utf-8")
    return folder


@pytest.fixture
def ppo(tmp_path):
    """A chain: ppo <- sft <- a hub name."""
    sft = training(
        tmp_path / "sft",
        model_name_or_path="EleutherAI/polyglot-ko-1.3b",
        data_path=["nlpai-lab/kullm-v2", str(tmp_path / "my.jsonl")],
        sft_only_data_path=["Bingsu/ko_alpaca_data"],
    )
    figures = {
        "heldout_after": {"score": 10.793070, "n": 300, "by_category": {"evol": {"n": 60}}},
        "dtype": "fp32",
        "steps": 56,
        "ok": True,
    }
    return training(
        tmp_path / "ppo",
        figures,
        actor_model_name_or_path=str(sft),
        critic_model_name_or_path="x",
        data_path=["sample/prompts"],
        unsupervised_dataset_name="",
    )


def test_the_chain_leads_to_the_base(ppo):
    found = provenance.chain(str(ppo))
    assert [(o.name, o.data) for o in found] == [
        ("ppo", ("sample/prompts",)),
        ("sft", ("nlpai-lab/kullm-v2", "my.jsonl", "Bingsu/ko_alpaca_data")),
        ("EleutherAI/polyglot-ko-1.3b", ()),
    ]
    assert found[0].figures == {"heldout after score": 10.79, "heldout after n": 300, "steps": 56}


def test_adapter_and_best_belong_to_the_training_above(ppo):
    for name in ("adapter", "best", "best/adapter", "actor_ema"):
        (ppo / name).mkdir()
        found = provenance.chain(str(ppo / name))
        assert [o.name for o in found] == ["ppo", "sft", "EleutherAI/polyglot-ko-1.3b"]
        assert found[0].figures["steps"] == 56
        assert found[0].path == str(ppo / name)


def test_an_adapter_of_others_leads_to_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}', encoding="utf-8")
    assert [o.name for o in provenance.chain(str(tmp_path))] == [tmp_path.name, "a/b"]


def test_a_chain_that_bites_its_tail_ends(tmp_path):
    one = training(tmp_path / "one", model_name_or_path=str(tmp_path / "two"))
    training(tmp_path / "two", model_name_or_path=str(one))
    assert [o.name for o in provenance.chain(str(one))] == ["one", "two"]


def test_a_broken_record_is_told(ppo):
    (ppo / "settings.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="settings.json: cannot be read"):
        provenance.chain(str(ppo))


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_licence_is_that_of_the_nearest_card_or_the_one_given(ppo, tmp_path, no_hub):
    found = provenance.chain(str(ppo))
    with pytest.raises(
        InputError, match="--license: not given, and no card of ppo, sft, EleutherAI/polyglot-ko-1.3b states one"
    ):
        provenance.licence(found)
    assert provenance.licence(found, "mit") == ("mit", "--license")
    for wrong in ("Apache 2.0", "CC-BY-4.0", "-"):
        with pytest.raises(InputError, match=f"--license {wrong}: not a licence as the hub writes it"):
            provenance.licence(found, wrong)
    (tmp_path / "sft" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# SFT\n", encoding="utf-8")
    assert provenance.licence(found) == ("cc-by-nc-4.0", "the card of sft")
    for broken in (
        "# license: mit\n",
        "---\nlicense: [\n---\n",
        "---\n- license\n---\n",
        "---\nlicense: mit\n",
        "x\n---\nlicense: mit\n---\n",
    ):
        (tmp_path / "sft" / "README.md").write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match="--license"):
            provenance.licence(found)


def test_the_reward_model_of_ppo_is_named_with_its_data(ppo, tmp_path):
    # it begins as the very model that it judges
    training(tmp_path / "reward", model_name_or_path=str(ppo), data_path=["sample/reward"])
    settings = json.loads((ppo / "settings.json").read_text(encoding="utf-8"))
    settings["critic_model_name_or_path"] = str(tmp_path / "reward")
    (ppo / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    found = provenance.chain(str(ppo))
    assert found[0].reward == "reward" and found[1].reward == ""
    assert found[0].reward_data[:2] == ("sample/reward", "sample/prompts")


def test_rewards_on_a_card_have_no_paths_and_no_addresses(tmp_path):
    texts = [
        f"0.8*{tmp_path}/reward",
        f"{tmp_path}/mine.py:score",
        "http://10.0.0.1/s",
        "judge:openai:m@http://10.0.0.1/v1",
    ]
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    shown = provenance.rewards(RewardFlags(reward=[*texts, "-0.5*rules:repetition"]).rewards)
    assert shown == "0.8*reward, 1*mine.py:score, 1*a server of scores, 1*judge:openai:m, -0.5*rules:repetition"


def test_the_reward_model_of_a_training_is_the_first_that_is_named():
    assert reward_model_of({"reward": ["0.2*rules:sense", "0.8*a/b,c/d"], "critic_model_name_or_path": "x"}) == "a/b"
    assert reward_model_of({"reward": ["rules:sense"], "critic_model_name_or_path": "x"}) == ""
    assert reward_model_of({"critic_model_name_or_path": "x"}) == "x"
