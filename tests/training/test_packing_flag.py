"""--packing comes to every model of the three steps."""

import json

import pytest
from step_programs import main_of

from korlhf.models.reward_model import load_reward_model
from korlhf.rl import models as ppo_models
from korlhf.training import engine
from korlhf.training.world import World


class Stop(Exception):
    """Raised in the place of the last engine."""


@pytest.mark.parametrize(
    "step, models, engines",
    [
        (1, ["--model_name_or_path", "lm"], 1),
        (2, ["--model_name_or_path", "lm"], 1),
        (3, ["--actor_model_name_or_path", "lm", "--critic_model_name_or_path", "rm"], 4),
    ],
)
def test_every_model_gets_the_flag(step, models, engines, folders, codec, tmp_path, monkeypatch):
    rows = [{"prompt": f"질문 {i}", "chosen": "네, 좋아요.", "rejected": "아니요."} for i in range(120)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    wrapped = []

    def engine_of(module, *_, **__):
        wrapped.append(module)
        if len(wrapped) == engines:
            raise Stop

    for owner in (engine, ppo_models):
        monkeypatch.setattr(owner, "Engine", engine_of)
    monkeypatch.setattr(ppo_models, "Frozen", engine_of)
    monkeypatch.setattr(engine, "start", lambda *_: World.alone())
    paths = {"lm": folders["llama"], "rm": tmp_path / "rm"}
    load_reward_model(folders["llama"], new_head=True).save_pretrained(paths["rm"])
    codec.tokenizer.save_pretrained(paths["rm"])
    argv = [paths.get(word, word) for word in models]
    argv += ["--data_path", str(data), "--output_dir", str(tmp_path / "out"), "--packing", "off"]
    monkeypatch.setattr("sys.argv", ["main.py", *map(str, argv)])
    with pytest.raises(Stop):
        main_of(step).main()
    assert [module.packing for module in wrapped] == ["off"] * engines
