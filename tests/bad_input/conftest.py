"""Runs of programs that must be refused."""

import shutil
from pathlib import Path

import bad_input
import pytest

from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer

BEGUN = {"out/settings.json", "out/training.log"}  # of a training that has read its data: the same command goes on


@pytest.fixture(scope="session")
def models(folders, tmp_path_factory):
    """{name in a row's folder: a finished model}"""
    folder = tmp_path_factory.mktemp("reward") / "reward"
    scorer = reward_model.load_reward_model(folders["gpt_neox"], new_head=True)
    tokenizer = load_tokenizer(folders["gpt_neox"])
    reward_model.set_padding(scorer, tokenizer, tokenizer.eos_token_id)
    save.save_model(scorer, scorer.state_dict(), tokenizer, folder)
    return {bad_input.MODEL: folders["gpt_neox"], bad_input.REWARD: str(folder)}


@pytest.fixture
def refused(models, tmp_path, monkeypatch):
    """Function: (program, flags that are added, files, what the line says[, what may be left]) runs it and checks."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def check(name, more, files, says, code=2):
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for link, folder in models.items():
            Path(link).symlink_to(folder)
        bad_input.lay_out(tmp_path, files)
        before = bad_input.tree(tmp_path)
        found, lines = bad_input.run(name, bad_input.command(name, more), monkeypatch)
        assert (found, len(lines)) == (code, 1), (name, more, found, lines)
        assert lines[0].startswith("error: ") and all(str(word) in lines[0] for word in says), (name, more, says, lines)
        after = bad_input.tree(tmp_path)
        assert code == 3 or {k: v for k, v in after.items() if k not in BEGUN} == before, (
            name,
            more,
            sorted(after.keys() ^ before),
        )

    return check
