"""The card of an export: what it says, and that the hub reads it."""

import pytest
from huggingface_hub import ModelCard

from korlhf.applications.export.card import card, licence_note
from korlhf.core.ai_mark import CARD, NoticeFlags
from korlhf.core.errors import InputError
from korlhf.models.card import Sample
from korlhf.training.provenance import Origin

FIGURES = {"heldout before n": 300, "heldout after score": 10.79, "heldout after n": 300, "steps": 56}
SFT = Origin("sft", "/home/me/sft", ("nlpai-lab/kullm-v2", "my.jsonl"), {})
PPO = Origin("ppo", "/home/me/ppo", ("sample/prompts",), FIGURES, "reward", ("sample/reward", "sample/prompts"))
BASE = Origin("EleutherAI/polyglot-ko-1.3b", "EleutherAI/polyglot-ko-1.3b", (), {})
SAMPLES = [Sample("몇 시예요?", [("답변 · answer", "5 | 6\n*둘*")])]
TEMPLATE = "### 명령어:\n{prompt}\n\n### 응답:\n"


def test_a_card_is_read_by_the_hub_and_holds_no_path(tmp_path):
    export = {"weights": "bf16", "equal": "20 of 20"}
    card("chatbot", [PPO, SFT, BASE], (BASE.name, "apache-2.0"), TEMPLATE, export, SAMPLES).save(tmp_path / "README.md")
    loaded = ModelCard.load(tmp_path / "README.md")
    assert (loaded.data.license, loaded.data.base_model, loaded.data.language) == ("apache-2.0", BASE.name, ["ko"])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "/home/me" not in text and "| equal | 20 of 20 |" in text and TEMPLATE in text
    assert (
        "| before | after |\n|---|---|---|\n| n | 300 | 300 |\n| score |  | 10.79 |\n\nscore: " in text
        and "5 \\| 6<br>\\*둘\\*" in text
        and "AI가 쓴 것" in text
    )
    assert "\n| | |\n|---|---|\n| steps | 56 |\n\n## 프롬프트 형식 · Prompt format" in text
    assert "- `sft`: trained on nlpai-lab/kullm-v2, my.jsonl\n- `ppo`: PPO on the prompts of sample/prompts, " in text
    note = licence_note("mit", "a/b", [PPO, SFT, BASE])
    assert "trained on: sample/prompts, sample/reward, nlpai-lab/kullm-v2, my.jsonl.\n" in note


def test_what_people_are_told_of_ai_stands_first_can_be_replaced_and_left_out():
    made = [Origin("mine", "/x/mine", (), {})], ("mine", "mit"), "", {}
    found = str(card("x", *made))
    assert f"만들었습니다.\n\n> {CARD['ko']}\n>\n> {CARD['en']}\n\n## 사용법" in found
    own = str(card("x", *made, (), NoticeFlags(ai_notice="AI입니다").told(CARD)))
    assert "만들었습니다.\n\n> AI입니다\n\n## 사용법" in own and CARD["en"] not in own
    off = str(card("x", *made, (), NoticeFlags(ai_notice="off").told(CARD)))
    assert "만들었습니다.\n\n## 사용법" in off
    with pytest.raises(InputError, match="--ai_notice"):
        NoticeFlags(ai_notice=" ").told(CARD)


def test_what_is_not_known_is_left_out():
    text = str(card("x", [Origin("mine", "/x/mine", (), {})], ("mine", "mit"), "", {"weights": "fp32"}))
    assert "base_model" not in text and "Nothing is recorded." in text and "held-out data" not in text
