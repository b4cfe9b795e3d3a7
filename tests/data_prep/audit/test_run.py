"""audit.py on planted files: counts by hand, overlaps, fixed files that training reads, the same bytes again."""

import csv
import json
from html.parser import HTMLParser

import pytest
from prep_harness import read, write

import data_prep.audit as audit
from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import record as records
from korlhf.data_prep.audit import KINDS

EOS = "<|endoftext|>"
SFT = [
    {"prompt": "오늘 날씨가 참 좋네요!", "output": f"네, 산책하기 좋은 날이에요.{EOS}", "category": "everyday"},
    {
        "prompt": "오늘 날씨가 참 좋네요!",
        "output": "네, 산책하기 좋은 날이에요.",
        "category": "everyday",
    },  # a copy of the first once that is cleaned
    {
        "prompt": "오늘  날씨가 참 좋네요",
        "output": "그러게요, 나가 볼까요?",
        "category": "everyday",
    },  # the same prompt, another answer; doubled space
    {
        "prompt": "name1 씨는 뭐 좋아해요?",
        "output": "저는 AI 언어 모델이기 때문에 취향이 없어요.",
        "category": "everyday",
    },
    {"prompt": "주말에 뭐 하셨어요?", "output": "\u200b", "category": "everyday"},
    {"prompt": "저녁 메뉴 좀 골라 줘요.", "output": "김치찌개는 어떠세요?", "category": 7},
    {
        "messages": [
            {"role": "user", "content": "안녕하세요? "},
            {"role": "assistant", "content": "반가워요."},
            {"role": "user", "content": "오늘 뭐 해요?"},
            {"role": "assistant", "content": "책을 읽고 있어요. "},
        ],
        "category": "everyday",
    },
]
REWARD = [
    {
        "prompt": "오늘 날씨가 참 좋네요!",
        "chosen": "네, 같이 걸어요.",
        "rejected": f"몰라요.{EOS}",
        "category": "everyday",
    },
    {
        "prompt": "오늘 날씨가 참 좋네요!",
        "chosen": "몰라요.",
        "rejected": "네, 같이 걸어요.",
        "category": "everyday",
    },  # contradicts the first
    {
        "prompt": "요리를 배우고 싶어요.",
        "chosen": "쉬운 것부터 해 봐요.",
        "rejected": " 쉬운 것부터 해 봐요. ",
        "category": "everyday",
    },
    {
        "prompt": "요리를 배우고 싶어요.",
        "chosen": "쉬운 것부터 해 봐요, 달걀말이나 된장국 같은 것부터요.",
        "rejected": "쉬운 것부터 해 봐요, 달걀말이나 된장국 같은 것부터여.",
        "category": "everyday",
    },
    {
        "prompt": "강아지가 밥을 안 먹어요.",
        "chosen": "걱정되시겠어요. 병원에 가 보세요.",
        "rejected": "",
        "category": "everyday",
    },
    {
        "prompt": "친구와 다퉜어요.",
        "answers": ["속상하셨겠어요. 먼저 연락해 봐요.", "시간을 두고 생각해 봐요.", "친구가 나빠요."],
        "category": "everyday",
    },
]
PROMPTS = [
    {"prompt": "친구와 다퉜어요"},
    {"prompt": "고양이를 처음 키우게 됐는데 무엇을 준비하면 좋을까요?"},
    {"prompt": "영화 한 편 골라 주세요."},
]
TEST = [
    {"prompt": "고양이를 처음 키우게 됐는데 무엇을 준비하면 좋을까?", "output": "화장실과 사료를 준비해요."},
    {"prompt": "요리를  배우고 싶어요!", "output": "좋아요, 같이 해요."},
]
EXPECTED = {
    "special_token": {("sft", "output"): 1, ("reward", "rejected"): 1},
    "doubled_space": {("sft", "prompt"): 1, ("test", "prompt"): 1},
    "mark": {("sft", "prompt"): 1},
    "self_description": {("sft", "output"): 1},
    "empty": {("sft", "output"): 1, ("reward", "rejected"): 1},
    "invisible": {("sft", "output"): 1},
    "unusable_row": {("sft", "row"): 1},
    "trailing_space": {("sft", "prompt"): 1, ("sft", "output"): 1, ("reward", "rejected"): 1},
    "leading_space": {("reward", "rejected"): 1},
    "short_answer": {("reward", "chosen"): 1, ("reward", "rejected"): 1},
    "identical_pair": {("reward", "row"): 1},
    "near_identical_pair": {("reward", "row"): 1},
    "contradiction": {("reward", "row"): 2},
    "both_sides": {},  # both answers of a contradiction are on both sides, which is said once
    "duplicate_row": {("sft", "row"): 1},
    "duplicate_prompt": {("sft", "row"): 1, ("reward", "row"): 1},
    "near_duplicate_prompt": {},
    "test_overlap": {("reward", "row"): 1, ("prompts", "row"): 1},
    "label_flip": {},
    "loop": {},
    "cut_off": {},
    "mojibake": {},
    "personal_data": {},
    "not_korean": {},
    "template_marker": {},
    "control": {},
    "carriage_return": {},
    "not_nfc": {},
}


def by_roles(folder):
    names = {"sft": SFT, "reward": REWARD, "prompts": PROMPTS, "test": TEST}
    return [part for role, rows in names.items() for part in (f"--{role}", write(folder / f"{role}_set.jsonl", rows))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All four roles with --fix: (output folder, audit.json)."""
    folder = tmp_path_factory.mktemp("audit")
    audit.main([*by_roles(folder), "--output", str(folder / "out"), "--fix"])
    return folder / "out", json.loads((folder / "out" / "audit.json").read_text(encoding="utf-8"))


def counts(report, kind):
    return {(f["set"], f["part"]): f["count"] for f in report["findings"] if f["kind"] == kind}


@pytest.mark.parametrize("kind, expected", EXPECTED.items())
def test_every_finding_is_counted(whole, kind, expected):
    assert counts(whole[1], kind) == expected


def test_every_kind_has_an_expectation():
    assert set(EXPECTED) == set(KINDS)


def test_an_example_shows_place_and_spot(whole):
    (example,) = next(f for f in whole[1]["findings"] if (f["kind"], f["set"]) == ("special_token", "sft"))["examples"]
    assert example["place"].endswith("sft_set.jsonl:1") and example["column"] == "output" and example["spot"] == EOS
    assert example["before"] == "네, 산책하기 좋은 날이에요."


def test_the_matrix_of_overlaps(whole):
    equal, near = whole[1]["overlap"]["equal"], whole[1]["overlap"]["near"]
    # readable: sft 3 x weather, 1 marks, 1 conversation; reward 2 x weather, 1 cooking (the other pair is identical),
    # 1 friend
    assert equal["sft"] == {"sft": 2, "reward": 3, "prompts": 0, "test": 0}
    assert equal["reward"] == {"sft": 2, "reward": 1, "prompts": 1, "test": 1}
    assert equal["prompts"] == {"sft": 0, "reward": 1, "prompts": 0, "test": 0}
    assert equal["test"] == {"sft": 0, "reward": 1, "prompts": 0, "test": 0}
    assert near["prompts"]["test"] == near["test"]["prompts"] == 1  # the cat, with another ending
    assert {**near["sft"], "test": 0} == equal["sft"]


def test_what_is_removed_and_why(whole):
    out, report = whole
    removed = {
        r["place"].rpartition("/")[2]: r["reasons"]
        for f in ("sft_set", "reward_set", "prompts_set", "test_set")
        for r in read(out / "fixed" / f"{f}.removed.jsonl")
    }
    assert removed == {
        "sft_set.jsonl:2": ["duplicate_row"],
        "sft_set.jsonl:5": ["empty"],
        "sft_set.jsonl:6": ["unusable_row"],
        "reward_set.jsonl:3": ["identical_pair"],
        "reward_set.jsonl:5": ["empty"],
    }
    assert [(f["rows"], f["kept_rows"], f["cleaned_rows"]) for f in report["fixed"]] == [
        (7, 4, 3),
        (6, 4, 1),
        (3, 3, 0),
        (2, 2, 1),
    ]
    assert read(out / "fixed" / "prompts_set.jsonl") == PROMPTS
    assert read(out / "fixed" / "sft_set.jsonl")[0]["output"] == "네, 산책하기 좋은 날이에요."
    assert read(out / "fixed" / "sft_set.jsonl")[3]["messages"][0]["content"] == "안녕하세요?"


def test_fixed_files_train_all_three_steps(whole):
    fixed = whole[0] / "fixed"
    with pytest.raises(InputError):
        load.load_examples(str(whole[0].parent / "sft_set.jsonl"), 1)  # before: a broken row stops training
    assert len(load.load_examples(str(fixed / "sft_set.jsonl"), 1)) == 4
    assert [len(e.answers) for e in load.load_examples(str(fixed / "reward_set.jsonl"), 2)] == [2, 2, 2, 3]
    assert len(load.load_examples(str(fixed / "prompts_set.jsonl"), 3)) == 3


def test_fixing_twice_is_fixing_once(whole, tmp_path):
    fixed = whole[0] / "fixed"
    names = [
        n for role in ("sft", "reward", "prompts", "test") for n in (f"--{role}", str(fixed / f"{role}_set.jsonl"))
    ]
    audit.main([*names, "--output", str(tmp_path / "again"), "--fix"])
    for role in ("sft", "reward", "prompts", "test"):
        assert (tmp_path / "again" / "fixed" / f"{role}_set.jsonl").read_bytes() == (
            fixed / f"{role}_set.jsonl"
        ).read_bytes()
        assert (tmp_path / "again" / "fixed" / f"{role}_set.removed.jsonl").read_bytes() == b""


def test_the_same_bytes_again(whole, tmp_path):
    audit.main([*by_roles(whole[0].parent), "--output", str(tmp_path / "out"), "--fix"])
    first, second = whole[1], json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    same = {k for k in first if first[k] == second[k]}
    assert set(first) - same <= {"seconds", "settings", "fixed"}  # times, and the output folder's name


class Tags(HTMLParser):
    """Collects what a page loads, and whether its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_escaped_and_needs_nothing_from_outside(tmp_path):
    rows = [{"prompt": "<script>alert('가')</script> 이게 뭐예요?", "output": f"<b>코드</b>예요.{EOS}"}]
    audit.main(["--input", write(tmp_path / "a&b.jsonl", rows), "--output", str(tmp_path / "out")])
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and tags.loaded == []
    assert "<script" not in page and "url(" not in page and "<b>코드" not in page
    assert "<b>코드</b>예요." in "".join(tags.text) and "a&b" in "".join(tags.text)
    assert not (tmp_path / "out" / "fixed").exists()


def test_named_kinds_are_removed_too_but_not_for_a_rejected_answer(tmp_path):
    rows = [
        {
            "prompt": "뭐 좋아해요?",
            "chosen": "저는 떡볶이를 좋아해요.",
            "rejected": "저는 AI 언어 모델이기 때문에 취향이 없어요.",
        },
        {
            "prompt": "뭐 싫어해요?",
            "chosen": "저는 AI 언어 모델이기 때문에 취향이 없어요.",
            "rejected": "저는 없어요, 그런 거.",
        },
        {"prompt": "제 번호는 010-2345-6789예요.", "chosen": "네, 알겠어요.", "rejected": "네, 그래서요?"},
    ]
    audit.main(
        [
            "--reward",
            write(tmp_path / "a.jsonl", rows),
            "--output",
            str(tmp_path / "out"),
            "--fix",
            "--remove",
            "self_description",
            "personal_data",
        ]
    )
    assert read(tmp_path / "out" / "fixed" / "a.jsonl") == rows[:1]
    assert [r["reasons"] for r in read(tmp_path / "out" / "fixed" / "a.removed.jsonl")] == [
        ["self_description"],
        ["personal_data"],
    ]
    assert "2345" not in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


def test_near_same_prompts_and_test_prompts_can_be_removed(tmp_path):
    train = [
        {"prompt": "고양이를 처음 키우게 됐는데 무엇을 준비하면 좋을까요?"},
        {"prompt": "고양이를 처음 키우게 됐는데 무엇을 준비하면 좋을까?"},
        {"prompt": "비 오는 날에는 어떤 음악이 어울릴까요?"},
    ]
    test = [{"prompt": "비 오는 날에는 어떤 음악이 어울릴까?"}]
    audit.main(
        [
            "--prompts",
            write(tmp_path / "p.jsonl", train),
            "--test",
            write(tmp_path / "t.jsonl", test),
            "--output",
            str(tmp_path / "out"),
            "--fix",
            "--remove",
            "near_duplicate_prompt",
            "test_overlap",
        ]
    )
    assert read(tmp_path / "out" / "fixed" / "p.jsonl") == train[:1]
    assert read(tmp_path / "out" / "fixed" / "t.jsonl") == test


def test_both_sides_needs_two_rows(tmp_path):
    ranked = [
        {"prompt": "뭐 먹을까요?", "answers": ["김밥 어때요?", "글쎄요, 뭐든요.", "몰라요, 몰라."]}
    ]  # the middle one is both, rightly
    audit.main(["--reward", write(tmp_path / "a.jsonl", ranked), "--output", str(tmp_path / "a")])
    assert counts(json.loads((tmp_path / "a" / "audit.json").read_text(encoding="utf-8")), "both_sides") == {}
    pairs = [
        {"prompt": "뭐 먹을까요?", "chosen": "김밥 어때요?", "rejected": "글쎄요, 뭐든요."},
        {"prompt": "뭐 먹을까요", "chosen": "글쎄요, 뭐든요!", "rejected": "몰라요, 몰라."},
    ]
    audit.main(["--reward", write(tmp_path / "b.jsonl", pairs), "--output", str(tmp_path / "b")])
    report = json.loads((tmp_path / "b" / "audit.json").read_text(encoding="utf-8"))
    assert counts(report, "both_sides") == {("reward", "row"): 1} and counts(report, "contradiction") == {}


def test_a_record_keeps_its_id_in_step_and_notes_what_was_cleaned(tmp_path):
    dirty = records.make(f"오늘{EOS} 뭐 하세요?", "everyday", "여기/1", output="책을 읽어요. ")
    clean = records.make("오늘 뭐 하세요?", "everyday", "여기/1")
    other = {**records.make("내일은 뭐 하세요?", "everyday", "여기/2", output="쉬어요, 푹."), "id": "내 것"}
    audit.main(["--input", write(tmp_path / "a.jsonl", [dirty, other]), "--output", str(tmp_path / "out"), "--fix"])
    first, second = read(tmp_path / "out" / "fixed" / "a.jsonl")
    assert first["id"] == clean["id"] != dirty["id"] and first["output"] == "책을 읽어요."
    assert first["history"] == [{"stage": "audit", "cleaned": ["special_token", "trailing_space"]}]
    assert second == other


def test_english_dialogues_keep_their_form(tmp_path):
    rows = [
        {
            "prompt": "\n\nHuman: What should I cook?\n\nAssistant:",
            "chosen": " How about soup?",
            "rejected": " No idea.",
        }
    ]
    audit.main(["--reward", write(tmp_path / "a.jsonl", rows), "--output", str(tmp_path / "out"), "--fix"])
    fixed = read(tmp_path / "out" / "fixed" / "a.jsonl")
    assert fixed == [{**rows[0], "chosen": "How about soup?", "rejected": "No idea."}]
    assert load.load_examples(str(tmp_path / "out" / "fixed" / "a.jsonl"), 2)[0].prompt == "What should I cook?"


def test_tables_and_half_characters(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "answers"], ["뭐 해요?", json.dumps(["쉬어요, 푹. ", "몰라요, 저는."], ensure_ascii=False)]]
        )
    half = tmp_path / "b.jsonl"
    half.write_text('{"prompt": "뭐 해요\\ud83d?", "output": "쉬어요, 푹.", "note": "\\ud83d"}\n', encoding="utf-8")
    audit.main(["--input", str(path), str(half), "--output", str(tmp_path / "out"), "--fix"])
    assert read(tmp_path / "out" / "fixed" / "a.jsonl") == [
        {"prompt": "뭐 해요?", "answers": ["쉬어요, 푹.", "몰라요, 저는."]}
    ]
    assert read(tmp_path / "out" / "fixed" / "b.jsonl")[0]["prompt"] == "뭐 해요?"


def test_files_of_one_name_get_names_of_their_own(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "train.jsonl", [{"prompt": f"{folder}는 뭐예요?", "output": "글자예요, 글자."}])
    audit.main(
        [
            "--input",
            str(tmp_path / "x/train.jsonl"),
            str(tmp_path / "y/train.jsonl"),
            "--output",
            str(tmp_path / "out"),
            "--fix",
        ]
    )
    names = sorted(p.name for p in (tmp_path / "out" / "fixed").glob("*.jsonl") if "removed" not in p.name)
    assert names == ["input_2_train.jsonl", "input_train.jsonl"]


@pytest.mark.parametrize(
    "argv, part",
    [
        ([], "nothing to look at"),
        (["--input", "a", "--remove", "loop"], "--remove needs --fix"),
        (["--input", "a", "--fix", "--remove", "lop"], "lop: no such kind"),
        (["--input", "a", "--threshold", "0"], "--threshold 0.0"),
        (["--input", "a", "--min_hangul", "2"], "--min_hangul 2.0"),
        (["--input", "a", "--examples", "0"], "--examples 0"),
    ],
)
def test_flags_that_cannot_work(argv, part, capsys):
    with pytest.raises(SystemExit):
        audit.main([*argv, "--output", "out"])
    assert part in capsys.readouterr().err


def test_files_that_cannot_be_looked_at(tmp_path):
    good = write(tmp_path / "good.jsonl", [{"prompt": "뭐 해요?"}])
    out = ["--output", str(tmp_path / "out")]
    for argv, part in (
        (["--sft", good, good], "is given twice"),
        (["--sft", str(tmp_path / "none.jsonl")], "no such file"),
        (["--input", write(tmp_path / "odd.jsonl", [{"a": 1}])], "odd.jsonl:1: none of the 1 rows"),
        (["--reward", good], "step 2 needs"),
        (["--input", good, "--output", good], "cannot be written: is a file"),
    ):
        with pytest.raises(InputError, match=part):
            audit.main([*argv, *(out if "--output" not in argv else [])])
    audit.main(["--input", good, *out, "--fix"])
    with pytest.raises(InputError, match="would be overwritten"):
        audit.main(["--input", str(tmp_path / "out" / "fixed" / "good.jsonl"), *out, "--fix"])


def test_fix_says_what_it_left_and_does_not_shrink_the_test_set(tmp_path, capsys):
    train = [
        {"prompt": "제 번호는 010-2345-6789예요.", "output": "네, 알겠어요."},
        {"prompt": "오늘 뭐 해요?", "output": "책을 읽어요."},
        {"prompt": "오늘 뭐 해요?", "output": "책을 읽어요."},
    ]
    test = [{"prompt": "뭐 먹을까요?", "output": "김밥 어때요? "}] * 2 + [{"prompt": "잘 자요?", "output": " "}]
    files = ["--sft", write(tmp_path / "s.jsonl", train), "--test", write(tmp_path / "t.jsonl", test)]
    audit.main([*files, "--output", str(tmp_path / "out"), "--fix"])
    shown = capsys.readouterr().out
    assert "left: Personal data (personal_data) 1" in shown and "with --remove personal_data" in shown
    assert "left in the test set, which --fix does not shrink: Empty texts (empty) 1, Exact copies" in shown
    assert "--remove_test_rows removes them" in shown
    fixed = tmp_path / "out" / "fixed"
    assert len(read(fixed / "s.jsonl")) == 2 and read(fixed / "t.removed.jsonl") == []
    kept = read(fixed / "t.jsonl")
    assert [r["output"] for r in kept[:2]] == ["김밥 어때요?"] * 2 and len(kept) == 3  # cleaned, none removed
    audit.main([*files, "--output", str(tmp_path / "two"), "--fix", "--remove_test_rows", "--remove", "personal_data"])
    shown = capsys.readouterr().out
    assert "left in the test set" not in shown and "personal_data" not in shown
    assert [len(read(tmp_path / "two" / "fixed" / f"{n}.jsonl")) for n in "st"] == [1, 1]
    audit.main([*files, "--output", str(tmp_path / "three")])
    assert "  left" not in capsys.readouterr().out  # nothing was fixed
