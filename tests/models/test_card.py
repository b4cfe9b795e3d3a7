"""The card of a model folder: for people, in two languages, and without a path of this machine."""

import pytest
from huggingface_hub import ModelCard

from korlhf.core.ai_mark import CARD
from korlhf.models import card
from korlhf.models.card import Sample, places, quoted, write_card
from korlhf.training.provenance import measured

FIGURES = [("loss", "3.1", "2.1 [2, 2.2]"), ("perplexity", "22", "8.2")]


def written(folder, kind="sft", base="EleutherAI/polyglot-ko-1.3b", figures=FIGURES, samples=()):
    write_card(
        folder, kind, "Title", (base, ["sample/sft"]), "8 examples, 6 steps", ("held-out (n 300)", figures), samples
    )
    return ModelCard.load(folder / "README.md")


def test_a_card_says_what_how_good_how_to_run_and_under_which_licence(tmp_path):
    samples = [Sample("뭐 해?\n<b>", [("답변 · answer", "# 쉬어요 *지금*")])]
    found = written(tmp_path, samples=samples)
    assert (found.data.base_model, found.data.language, found.data.license) == (
        "EleutherAI/polyglot-ko-1.3b",
        ["ko"],
        None,
    )
    assert found.data.pipeline_tag == "text-generation"
    assert "**뭐 해?<br>\\<b\\>**\n\n- 답변 · answer: \\# 쉬어요 \\*지금\\*\n" in found.text
    assert f"\n> {CARD['ko']}\n>\n> {CARD['en']}\n\nMade from" in found.text
    assert "AI가 쓴 것" in found.text and "written by an AI" in found.text
    table = "| held-out (n 300) | before · 학습 전 | after · 학습 후 |\n|---|---|---|\n"
    assert f"{table}| loss | 3.1 | 2.1 [2, 2.2] |\n| perplexity | 22 | 8.2 |\n\nloss: " in found.text
    assert "\n- sample/sft\n\n8 examples, 6 steps\n" in found.text
    assert "see the base model's card" in found.text and "AutoModelForCausalLM.from_pretrained(path)" in found.text
    assert "\n\n\n\n" not in found.text


@pytest.mark.parametrize("kind", list(card.KINDS))
def test_every_kind_says_everything_in_both_languages(tmp_path, kind):
    text = written(tmp_path, kind, base="base").text
    for name in ("what", "figures", "limits"):
        for key in (name, f"{name}_ko"):
            assert card.KINDS[kind][key] in text, key
    assert (
        card.KINDS[kind]["code"] in text
        and "Samples" not in text
        and "base_model" not in str(written(tmp_path, kind, "base"))
    )
    assert ("run_chat.sh" in text) == (CARD["ko"] in text) == (kind != "reward")
    compile(card.KINDS[kind]["code"], kind, "exec")


def test_without_figures_it_says_so(tmp_path):
    assert "Nothing was held out" in written(tmp_path, figures=[]).text


def test_a_figure_has_its_interval_where_there_is_one():
    assert measured({"loss": 2.12345, "ci95": {"loss": [2.0, 2.25]}}, "loss") == "2.123 [2, 2.25]"
    assert measured({"accuracy": 0.5, "ci95": [0.4, 0.6]}, "accuracy") == "0.5"
    assert measured({"loss": 1.0}, "sense") == "" == measured(None, "loss")


def test_samples_are_at_equal_distances_and_long_ones_are_cut():
    assert places(300) == [0, 100, 200] and places(2) == [0, 1] and places(0) == []
    assert quoted("가" * 601) == "가" * 600 + " \\[…\\]" and quoted(" \n") == "(…)"
