"""collect.py: records of every corpus, what is left out and why, samples that are even and stable."""

import json
import zipfile
from collections import Counter

import pytest
from prep_harness import argv, call, read, report, write

import data_prep.collect as program
from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import record as records
from korlhf.data_prep import collect


@pytest.fixture
def run(tmp_path):
    """Function: (corpus, inputs, *flags) -> (records, report)."""

    def go(corpus, inputs, *more):
        out, inputs = tmp_path / "out" / "collected.jsonl", inputs if isinstance(inputs, list) else [inputs]
        program.main(argv(f"--corpus {corpus}", "--input", *inputs, "--output", out, *more))
        return read(out), report(out.with_name("collected.report.json"))

    return go


@pytest.fixture
def rows(tmp_path):
    """Function: rows -> a JSONL file of them."""
    return lambda *found: write(tmp_path / "rows.jsonl", found)


def session(number, topic, *said):
    return {
        "id": number,
        "document": [
            {
                "id": f"{number}.1",
                "metadata": {
                    "topic": topic,
                    "speaker": [{"id": "A", "age": "20대", "sex": "여성"}, {"id": "B", "age": "30대", "sex": "남성"}],
                    "setting": {"relation": "친구"},
                },
                "utterance": [
                    {
                        "id": f"{number}.1.1.{n}",
                        "form": "",
                        "original_form": text,
                        "speaker_id": "AB"[n % 2 == 0],
                        "note": "",
                    }
                    for n, text in enumerate(said, 1)
                ],
            }
        ],
    }


@pytest.fixture
def nikl(tmp_path):
    """A folder of six sessions, half of them in a zip: topics 먹거리 4, 영화 2; three turns, so two exchanges, each."""
    folder = tmp_path / "NIKL_DIALOGUE_2020_v1.3"
    folder.mkdir()
    sessions = {
        f"SDRW20{i:08d}.json": session(
            f"SDRW20{i:08d}",
            "영화 > 극장" if i > 4 else "먹거리",
            f"{i}번째로 여쭤볼게요. 점심에는 보통 뭘 드세요?",
            f"저는 {i}번 식당에서 국수를 자주 먹어요. &name1& 씨는요?",
            f"저는 {i}층에서 도시락을 먹는 날이 많아요.",
        )
        for i in range(1, 7)
    }
    for name in list(sessions)[:3]:
        (folder / name).write_text(json.dumps(sessions.pop(name), ensure_ascii=False), encoding="utf-8")
    with zipfile.ZipFile(folder / "나머지.zip", "w") as file:
        for name, value in sessions.items():
            file.writestr(f"안/{name}", json.dumps(value, ensure_ascii=False))
    return folder


@pytest.fixture
def aihub(tmp_path):
    def said(speaker, text, *types):
        return {
            "speaker": speaker,
            "text": text,
            "types": list(types or ["IMMORAL_NONE"]),
            "is_immoral": bool(types),
            "intensity": len(types) * 0.8,
        }

    path = tmp_path / "talksets-train-1.json"
    talk = [
        said(1, "오늘 발표 자료는 언제쯤 다 끝날 것 같아?"),
        said(2, "미안해, 오늘 밤까지는 어떻게든 꼭 끝낼게."),
        said(1, "그 머리로 밤을 새운다고 뭐가 나오겠냐.", "CENSURE"),
        said(2, "그 동네 사람은 다 게을러서 일을 맡기면 안 돼.", "HATE", "CENSURE"),
        said(1, "너나 잘해.", "CENSURE"),
    ]
    path.write_text(json.dumps([{"id": "t-1", "sentences": talk}], ensure_ascii=False), encoding="utf-8")
    return path


def test_everyday_records(run, nikl):
    found, report = run("nikl", nikl)
    assert len(found) == 12 and [r["source"] for r in found[:2]] == [
        "nikl/SDRW2000000001.1.1.1",
        "nikl/SDRW2000000001.1.1.2",
    ]
    first, second = found[:2]
    assert first == {
        "id": records.record_id([{"role": "user", "content": first["prompt"]}]),
        "category": "everyday",
        "source": first["source"],
        "history": [{"stage": "collect", "corpus": "nikl"}],
        "prompt": "1번째로 여쭤볼게요. 점심에는 보통 뭘 드세요?",
        "output": second["prompt"],
        "topic": "먹거리",
        "speaker": {"age": "20대", "sex": "여성"},
        "answerer": {"age": "30대", "sex": "남성"},
        "relation": "친구",
    }
    assert "&" not in first["output"] and "name1" not in first["output"] and first["output"].endswith(" 씨는요?")
    assert report["counts"] == {"dialogues": 6, "exchanges": 12, "everyday, 먹거리": 8, "everyday, 영화": 4}
    assert "must not be passed on" in report["license"]


def test_history_first_exchanges_names_and_category(run, nikl):
    found, _ = run("nikl", nikl, "--names mark", "--exchanges first", "--category talk")
    assert (
        len(found) == 6 and found[0]["output"].endswith("name1 씨는요?") and {r["category"] for r in found} == {"talk"}
    )
    long, _ = run("nikl", nikl, "--history 2")
    assert all("messages" not in r for r in long)  # a user's turn and a reply before the prompt need four turns
    chat, _ = run("nikl", nikl, "--min_prompt_chars 22")  # 1번째로 여쭤볼게요 ... has 21
    assert len(chat) == 6 and {r["prompt"][:2] for r in chat} == {"저는"}


def test_what_is_left_out_of_dialogues_is_counted_with_its_reason(tmp_path, run):
    (tmp_path / "SDRW1.json").write_text(
        json.dumps(
            session(
                "SDRW1",
                "가족",
                "네",
                "어제 ((xx)) 그랬어요",
                "저는 오늘 아침에 일찍 일어나서 산책을 했어요.",
                "정말요?",
                "네. 날씨가 아주 좋아서 기분이 상쾌했어요.",
                "부럽네요.",
                "다음에 같이 가요. 우리 동네 공원이 정말 예쁘거든요.",
                "네, 좋아요. 주말에 연락드릴게요.",
            ),
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )
    found, report = run("nikl", tmp_path / "SDRW1.json")
    assert [r["output"] for r in found] == ["네, 좋아요. 주말에 연락드릴게요."]
    assert {k: v["count"] for k, v in report["dropped"].items()} == {
        "unintelligible": 2,
        "the answer is a mere 네": 1,
        "the prompt is a mere 네": 1,
        "answer under 10 characters": 1,
        "prompt under 16 characters": 1,
    }
    assert report["dropped"]["answer under 10 characters"]["examples"][0]["output"] == "부럽네요."


def test_labelled_utterances(run, aihub):
    found, report = run("aihub", aihub)
    assert [(r["category"], r["types"], r["intensity"], r["source"], r["conversation"]) for r in found] == [
        ("harmless", ["IMMORAL_NONE"], 0.0, "aihub/t-1-1", "t-1"),
        ("harmless", ["IMMORAL_NONE"], 0.0, "aihub/t-1-2", "t-1"),
        ("harmful", ["CENSURE"], 0.8, "aihub/t-1-3", "t-1"),
        ("harmful", ["HATE", "CENSURE"], 1.6, "aihub/t-1-4", "t-1"),
    ]
    assert report["dropped"]["prompt under 16 characters"]["count"] == 1
    assert all("output" not in r for r in found)


@pytest.mark.parametrize(
    "more, sources, reason",
    [
        (["--category harmful"], "345", "harmless: not --category harmful"),
        (["--category harmless"], "12", "harmful: not --category harmless"),
        (["--types HATE", "SEXUAL"], "4", "none of --types"),
        (["--types IMMORAL_NONE"], "12", "none of --types"),
        (["--min_intensity 0.9"], "4", "under --min_intensity"),
    ],
)
def test_only_some_utterances(run, aihub, more, sources, reason):
    found, report = run("aihub", aihub, "--min_prompt_chars 1", *more)
    assert [r["source"][-1] for r in found] == list(sources)
    assert report["dropped"][reason]["count"] == 5 - len(sources)


def test_an_utterance_without_text_is_left_out(run, aihub):
    whole = json.loads(aihub.read_text(encoding="utf-8"))
    whole[0]["sentences"][0]["text"] = "\u200b"
    aihub.write_text(json.dumps(whole), encoding="utf-8")
    found, report = run("aihub", aihub, "--min_prompt_chars 1")
    assert len(found) == 4 and report["dropped"]["message 1 is empty"] == {
        "count": 1,
        "examples": [{"source": "aihub/t-1-1"}],
    }


def test_history_of_utterances(run, aihub):
    found, _ = run("aihub", aihub, "--history 2")
    assert [m["role"] for m in found[2]["messages"]] == ["user", "assistant", "user"]
    assert found[3]["prompt"]  # the assistant's turn before it is immoral


ENGLISH = {
    "prompt": "\n\nHuman: Hi there\n\nAssistant: Hello.\n\nHuman: How are you?\n\nAssistant:",
    "chosen": " Fine, and you?",
    "rejected": " Go away.",
}


def test_english_pairs_keep_their_turns_and_say_their_language(run, rows):
    other = {**ENGLISH, "chosen": " Very well."}
    same, faulty = {**ENGLISH, "rejected": " Fine, and you?"}, {**ENGLISH, "prompt": "\n\nHuman:"}
    found, report = run("Dahoas/rm-static", rows(ENGLISH, other, ENGLISH, same, faulty))
    assert found[0] == {
        "id": found[0]["id"],
        "category": "translated",
        "source": "Dahoas/rm-static#1",
        "language": "en",
        "history": [{"stage": "collect", "corpus": "Dahoas/rm-static"}],
        "chosen": "Fine, and you?",
        "rejected": "Go away.",
        "messages": [
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "How are you?"},
        ],
    }
    assert [r["chosen"] for r in found] == ["Fine, and you?", "Very well."] and found[0]["id"] == found[1]["id"]
    assert {k: v["count"] for k, v in report["dropped"].items()} == {
        "same prompt and answers": 1,
        "identical answers": 1,
        "message 1 is empty": 1,
    }


@pytest.mark.parametrize(
    "corpus, row, expected",
    [
        (
            "yitingxie/rlhf-reward-datasets",
            {"prompt": "\n\nHuman: Hi?\n\n", "chosen": "Assistant: Yes", "rejected": "Assistant: No"},
            {"category": "translated", "prompt": "Hi?", "chosen": "Yes", "rejected": "No", "language": "en"},
        ),
        (
            "lcw99/evolve-instruct",
            {"input": "국을 알려 줘", "output": "두부국"},
            {"category": "evol", "prompt": "국을 알려 줘", "output": "두부국"},
        ),
        (
            "self-instruct/seed_tasks",
            {
                "id": "seed_7",
                "name": "a",
                "instruction": "고쳐 줘",
                "instances": [{"input": "내일 못 감", "output": "내일 못 가요"}],
            },
            {
                "category": "self_instruct",
                "prompt": "고쳐 줘",
                "input": "내일 못 감",
                "output": "내일 못 가요",
                "source": "self-instruct/seed_tasks#seed_7",
            },
        ),
        (
            "self-instruct/seed_tasks",
            {"instruction": "Sort", "instances": [{"input": "<noinput>", "output": "a"}]},
            {"category": "self_instruct", "prompt": "Sort", "output": "a", "language": "en"},
        ),
        (
            "nlpai-lab/kullm-v2",
            {"id": "a_1", "instruction": "요약", "input": "긴 글", "output": "글"},
            {
                "category": "instruct",
                "prompt": "요약",
                "input": "긴 글",
                "output": "글",
                "source": "nlpai-lab/kullm-v2#a_1",
            },
        ),
        (
            "maywell/ko_Ultrafeedback_binarized",
            {"prompt": "왜?", "chosen": "가", "rejected": "나"},
            {"category": "instruct", "chosen": "가", "rejected": "나"},
        ),
        (
            "own",
            {"question": "뭐 해?", "answer": "쉬어요", "category": "인사", "mood": 3},
            {"category": "인사", "prompt": "뭐 해?", "output": "쉬어요", "mood": 3},
        ),
        ("sample/prompts", {"prompt": "뭐 해?", "category": "everyday"}, {"category": "everyday", "prompt": "뭐 해?"}),
    ],
)
def test_registered_and_own_rows(run, rows, corpus, row, expected):
    ((found,), _) = run(corpus, rows(row))
    fixed = {
        "id": found["id"],
        "history": [{"stage": "collect", "corpus": corpus}],
        "source": found["source"],
        "prompt": found["prompt"],
    }
    assert found == {**fixed, **expected}


def test_junk_and_duplicates_of_instructions(run, rows):
    found, report = run(
        "lcw99/evolve-instruct",
        rows(
            {"input": "#새로운 질문# 국을 알려 줘", "output": "국"},
            {"input": "국을 알려 줘", "output": "두부국"},
            {"input": "국을  알려줘!", "output": "뭇국"},
            {"input": "밥은?", "output": "#새로운 질문# 밥"},
        ),
    )
    assert [r["output"] for r in found] == ["두부국"]
    assert {k: v["count"] for k, v in report["dropped"].items()} == {"#새로운 질문# left in it": 2, "same prompt": 1}


def test_the_output_is_what_training_reads(run, rows, tmp_path):
    run("Dahoas/rm-static", rows(ENGLISH))
    out = str(tmp_path / "out" / "collected.jsonl")
    for step, answers in ((1, 2), (2, 2), (3, 0)):
        (example,) = load.load_examples(out, step)
        assert len(example.messages) == 3 and len(example.answers) == answers and example.category == "translated"


@pytest.mark.parametrize(
    "counts, per_topic, limit, expected",
    [
        ({"a": 5, "b": 2}, 0, 0, {"a": 5, "b": 2}),
        ({"a": 5, "b": 2}, 3, 0, {"a": 3, "b": 2}),
        ({"a": 100, "b": 100, "c": 100}, 0, 10, {"a": 3, "b": 3, "c": 4}),  # 10 // 3, 7 // 2, the rest
        ({"a": 1, "b": 50, "c": 3}, 0, 20, {"a": 1, "b": 16, "c": 3}),  # what small topics lack goes to the large one
        ({"a": 9, "b": 9}, 4, 100, {"a": 4, "b": 4}),
        ({"a": 9, "b": 9}, 0, 1, {"a": 0, "b": 1}),
    ],
)
def test_quotas(counts, per_topic, limit, expected):
    assert collect.quotas(counts, per_topic, limit) == expected


def test_a_sample_is_even_over_topics_and_does_not_depend_on_order(run, nikl):
    every, _ = run("nikl", nikl)
    some, report = run("nikl", nikl, "--per_topic 3")
    assert Counter(r["topic"] for r in some) == {"먹거리": 3, "영화": 3}
    assert [r for r in every if r in some] == some  # the corpus's order
    assert report["dropped"]["not sampled"]["count"] == 6 and report["counts"]["everyday, 영화"] == 3
    fewer, _ = run("nikl", nikl, "--limit 2")
    assert Counter(r["topic"] for r in fewer) == {"먹거리": 1, "영화": 1} and all(r in some for r in fewer)
    other, _ = run("nikl", nikl, "--per_topic 3", "--seed 5")
    assert other != some
    same, _ = run("nikl", [nikl / "나머지.zip", nikl], "--per_topic 3")  # another order, and the zip twice
    assert sorted(r["id"] for r in same) == sorted(r["id"] for r in some)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--corpus nikle"], r"--corpus nikle: not known"),
        (["--corpus", "dahoas/rm-statik"], "did you mean Dahoas/rm-static"),
        (["--corpus nikl", "--types HATE"], "--types: nikl has no such thing; it is for --corpus aihub"),
        (["--corpus aihub", "--per_topic 3"], "--per_topic: aihub"),
        (["--corpus own", "--history 2"], "--history: own .*nikl and aihub"),
        (["--corpus nikl", "--history 3"], "--history 3: give an even number"),
        (["--corpus aihub", "--types RUDE"], "--types RUDE: not known; give some of CENSURE"),
        (["--corpus aihub", "--category everyday"], "--category everyday: of aihub give harmful"),
        (["--corpus nikl", "--input nowhere"], "--input nowhere: no such file"),
        (["--corpus own", "--input a.txt"], "a.txt: no such file"),
        (["--corpus own"], r"rows.jsonl:1: no prompt; found a"),
        (["--corpus", "nlpai-lab/kullm-v2"], r"nothing is left of it \(1 no column"),
        (["--corpus nikl"], r"not a NIKL conversation|broken JSON|found a"),
    ],
)
def test_user_errors_are_one_line(tmp_path, rows, argv, message):
    argv = argv if "--input" in " ".join(argv) else [*argv, "--input", rows({"a": 1})]
    with pytest.raises(InputError, match=message) as error:
        call(program.main, [*argv, "--output", str(tmp_path / "out.jsonl")])
    assert "\n" not in str(error.value) and not list(tmp_path.glob("out*"))


def test_the_wrong_folder(tmp_path, rows):
    rows({"prompt": "a"})
    with pytest.raises(InputError, match=r"no files SDRW\*\.json in it; expected NIKL.*; found 1 \.jsonl"):
        call(program.main, ["--corpus nikl", "--input", str(tmp_path), "--output", str(tmp_path.parent / "o.jsonl")])
    with pytest.raises(
        InputError, match=r"--input .*: is a folder; --corpus own reads files: name them, e\.g\. .*/\*\.jsonl"
    ):
        call(program.main, ["--corpus own", "--input", str(tmp_path), "--output", str(tmp_path.parent / "o.jsonl")])
