"""What visitors are told of a model: nothing that tells of this machine."""

import json

import pytest

from korlhf.applications.web_demo.models import about
from korlhf.core.errors import InputError


def trained(folder, **settings):
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(folder)


def test_base_trainings_and_licence_of_a_training_and_of_an_export(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    sft = trained(tmp_path / "sft", model_name_or_path=str(tmp_path / "base"), data_path=["sample/sft"])
    reward = trained(tmp_path / "reward", model_name_or_path=sft, data_path=["sample/reward"])
    ppo = {"actor_model_name_or_path": sft, "reward_model_name_or_path": reward, "data_path": ["sample/prompts"]}
    found = about(trained(tmp_path / "ppo", **ppo))
    assert found == {
        "base": "base",
        "licence": "apache-2.0",
        "trainings": [
            {"name": "sft", "data": ["sample/sft"], "reward": ""},
            {"name": "ppo", "data": ["sample/prompts"], "reward": "reward"},
        ],
    }
    export = tmp_path / "export"
    export.mkdir()
    settings = {"base_model": "EleutherAI/polyglot-ko-1.3b", "license": "mit"}
    written = {"settings": settings, "trainings": found["trainings"]}
    (export / "export.json").write_text(json.dumps(written), encoding="utf-8")
    expected = {"base": settings["base_model"], "licence": "mit", "trainings": found["trainings"]}
    assert about(str(export)) == expected and about("openai:m@http://10.0.0.1/v1") == {}
    (export / "export.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="export.json: cannot be read"):
        about(str(export))


def test_nothing_is_known_of_a_bare_folder(tmp_path):
    assert about(str(tmp_path)) == {"base": tmp_path.name, "licence": "", "trainings": []}
