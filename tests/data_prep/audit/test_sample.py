"""The passages that are shown of texts, and the fair sample of them."""

from korlhf.data.characters import visible
from korlhf.data_prep.audit.checks import Spot
from korlhf.data_prep.audit.sample import Reservoir, passage, shortened


def test_a_passage_shows_what_cannot_be_seen():
    found = passage("a.jsonl:3", "output", "안\u200b녕 \x00 하세요 ", Spot(1, 2, "U+200B"))
    assert (found.before, found.spot, found.after) == ("안", "⟨U+200B⟩", "녕 ⟨U+0000⟩ 하세요 ")
    assert (
        passage("a", "b", "네 ", Spot(1, 2, "one space")).spot == "␣"
        and passage("a", "b", "", Spot(0, 0, "nothing")).spot == "∅"
    )
    long = passage("a", "b", "가" * 100 + "나" * 300 + "다" * 100, Spot(100, 400, ""))
    assert (long.before, long.spot, long.after) == ("…" + "가" * 60, "나" * 160 + "…", "나" * 60 + "…")


def test_personal_data_is_blotted_out_everywhere_it_is_shown():
    text = "제 번호는 010-2345-6789예요. "
    assert "2345" not in "".join(passage("a", "b", text, Spot(20, 21, "one space"))) and "2345" not in shortened(text)
    assert shortened("가" * 10 + " 010-2345-6789", 20) == "가" * 10 + " 010-****- …"


def test_emojis_stay_whole():
    assert visible("👩\u200d🚀 가\u200b나") == "👩\u200d🚀 가⟨U+200B⟩나"


def drawn(seed):
    box = Reservoir(5, seed)
    for i in range(100):
        if (at := box.place()) is not None:
            box.keep(at, i)
    return box.items


def test_a_reservoir_is_a_fair_sample_and_the_same_again():
    assert drawn("1") == drawn("1") != drawn("2") and len(set(drawn("1"))) == 5
    hits = [i for seed in range(400) for i in drawn(str(seed))]  # every item 20 times in the mean
    assert abs(sum(i < 50 for i in hits) / len(hits) - 0.5) < 0.05 and len(set(hits)) == 100
