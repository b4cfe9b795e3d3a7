"""self_instruct.py: what is filtered and why, what a request shows, and the same bytes whatever happens on the way."""

import json
import random
import signal
import time

import pytest
from openai_server import Server, at_random
from prep_harness import run as run_program
from prep_harness import start

import data_prep.self_instruct as program
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import rouge as similar
from korlhf.data_prep.generate import self_instruct
from korlhf.llm import client as llm

SEEDS = [
    "요즘 잠이 잘 안 와. 뭘 하면 좋을까?",
    "여자 친구 생일 선물로 뭐가 좋을지 골라 주세요.",
    "오늘 첫 출근이라 너무 떨려요.",
    "혼자 사는데 냉장고에 두부만 남았어. 뭐 해 먹지?",
    "친구가 약속 시간에 매번 늦어서 속상해.",
    "부산으로 당일치기 여행을 가려는데 일정을 짜 주실래요?",
    "고양이가 밤마다 울어서 걱정이에요.",
    "영어 공부를 다시 시작하고 싶은데 작심삼일이야.",
    "면접에서 자기소개를 어떻게 시작하면 좋을까요?",
]
GOOD = [
    "비 오는 날에는 왜 이렇게 파전이 생각날까?",
    "아버지 환갑 때 드릴 짧은 편지를 써 주세요.",
    "룸메이트가 설거지를 안 하는데 어떻게 말하지?",
]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def numbered(texts):
    return "\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1))


def invented(body):
    """Eight instructions that depend on every character of the request; no two alike."""
    rng = random.Random(json.dumps(body, sort_keys=True))
    return numbered("".join(chr(0xAC00 + rng.randrange(11172)) for _ in range(20)) for _ in range(8))


def reply(text, finish_reason="stop"):
    return llm.Reply(text, finish_reason, None, 0, 0)


def run(folder, server, *more, n=20, out="out.jsonl", seeds=SEEDS):
    """main() on the seeds: (exit code, records, report)."""
    flags = f"--generator openai:test-model --num_instructions {n} --base_url {server.url} --requests_per_round 4"
    rows = [{"prompt": s} if isinstance(s, str) else s for s in seeds]
    ran = run_program(program, folder, rows, flags, *more, out=out)
    return ran.code, ran.out, ran.report


@pytest.mark.parametrize(
    "text, finish_reason, expected",
    [
        ("1. 가\n2. 나", "stop", ["가", "나"]),
        ("\n 1) 가나 다 \n\n 2) 3.5배 늘었어?\n", "stop", ["가나 다", "3.5배 늘었어?"]),
        ("1.가\n2.나\n3. 다", "length", ["가", "나"]),  # the last one was cut off
    ],
)
def test_a_numbered_list_is_read(text, finish_reason, expected):
    assert self_instruct.parse_list(reply(text, finish_reason)) == expected


@pytest.mark.parametrize(
    "text, finish_reason, message",
    [
        ("네, 알겠습니다.\n1. 가", "stop", "is no numbered item"),
        ("1. 가\n이어지는 줄", "stop", "is no numbered item"),
        ("1. 가\n3. 나", "stop", "item 3 stands where 2 was due"),
        ("1. 가\n1. 나", "stop", "item 1 stands where 2 was due"),
        ("1.5배 늘었어?", "stop", "is no numbered item"),
        ("1. ", "stop", "is no numbered item"),
        ("1. 가", "length", "no numbered list"),
        ("  ", "stop", "no numbered list"),
    ],
)
def test_anything_else_is_refused(text, finish_reason, message):
    with pytest.raises(ValueError, match=message):
        self_instruct.parse_list(reply(text, finish_reason))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("배고파 죽겠네", "too short"),
        ("가" * 151, "too long"),
        ("3일 뒤에 시험인데 어떡하지?", "starts with a number or punctuation"),
        ('"힘내"라는 말이 싫어요.', "starts with a number or punctuation"),
        ("What should I cook tonight?", "not Korean"),
        ("고양이 그림 하나 그려 줘.", "asks for what a text bot cannot do"),
        ("사진 좀 보여 주실래요?", "asks for what a text bot cannot do"),
        ("잔잔한 노래 틀어 줄래?", "asks for what a text bot cannot do"),
        ("이 사진 속 강아지가 무슨 종이야?", "asks for what a text bot cannot do"),
        ("내일 아침 7시에 알람 맞춰 줘.", "asks for what a text bot cannot do"),
        ("치킨 두 마리 주문해 주세요.", "asks for what a text bot cannot do"),
        ("엄마한테 전화 좀 걸어 줘.", "asks for what a text bot cannot do"),
        ("거실 불 꺼 줄 수 있어?", "asks for what a text bot cannot do"),
        ("근처 맛집을 인터넷에서 찾아 주세요.", "asks for what a text bot cannot do"),
        ("지금 몇 시인지 알려 주세요.", "asks for what a text bot cannot do"),
        ("오늘 서울 날씨 어때?", "asks for what a text bot cannot do"),
        ("다음 문장을 존댓말로 바꿔 주세요.", "speaks of a text that is not there"),
        ("주어진 글을 세 줄로 줄여 줘.", "speaks of a text that is not there"),
        ("지구 온난화의 원인을 서술하시오.", "not everyday talk"),
        ("인공 지능의 장단점을 비교하라.", "not everyday talk"),
        ("여름휴가 계획서 작성", "not everyday talk"),
        ("파이썬으로 계산기를 만들어 줘.", "not everyday talk"),
        ("리스트를 정렬하는 함수를 작성해 주세요.", "not everyday talk"),
    ],
)
def test_what_is_filtered(text, reason):
    assert self_instruct.unfit(text, 8, 150) == reason


@pytest.mark.parametrize(
    "text",
    SEEDS
    + GOOD
    + [
        "친구가 내 사진을 말도 없이 올렸어.",
        "사진 잘 찍는 방법 좀 알려 줘.",
        "그림 그리는 취미를 시작하고 싶어요.",
        "노래 가사 하나 써 줘.",
        "신나는 노래 좀 추천해 주세요.",
        "알람을 세 개나 맞춰도 못 일어나겠어.",
        "예약해 둔 식당이 문을 닫았대.",
        "전화로 이야기하는 게 무서워요.",
        "남자 친구한테 보낼 문자 좀 써 줘.",
        "날씨가 좋아서 산책하러 나갈까 해.",
        "사진 보여 달라고 하는 상사가 불편해.",
        "다음 주에 이사하는데 뭐부터 챙기지?",
        "다음 문장을 공손하게 고쳐 줘: 내일 못 가.",
        "이번 일을 어떻게 하라는 건지 모르겠어.",
        "짧은 시 한 편 지어 주십시오.",
        "오늘 저녁 메뉴 추천",
        "유튜브 알고리즘이 이상한 것만 보여 줘.",
        "아래층이 너무 시끄러워요.",
    ],
)
def test_everyday_talk_passes(text):
    assert self_instruct.unfit(text, 8, 150) is None


def test_examples_are_three_quarters_seeds():
    rng = random.Random(0)
    seeds, generated = [f"s{i}" for i in range(20)], [f"g{i}" for i in range(20)]
    for _ in range(20):
        shown = self_instruct.examples(rng, seeds, generated, 8)
        assert len(set(shown)) == 8 and sum(t.startswith("g") for t in shown) == 2
    assert sum(t.startswith("s") for t in self_instruct.examples(rng, seeds, [], 8)) == 8
    assert sum(t.startswith("s") for t in self_instruct.examples(rng, seeds, ["g0"], 8)) == 7
    few = sorted(self_instruct.examples(rng, seeds[:3], generated, 8))
    assert len(few) == 8 and few[-3:] == seeds[:3]  # the rest is generated
    assert sorted(self_instruct.examples(rng, seeds[:3], [], 8)) == seeds[:3]


def test_planted_replies(tmp_path):
    planted = {
        7: [GOOD[0], SEEDS[2], "고양이 그림 하나 그려 줘.", "배고파"],
        8: [GOOD[1], "아버지 환갑 때 드릴 짧은 편지 써 주세요!", "아버지 환갑 때 드릴 짧은 편지를 써 주세요"],
        9: [GOOD[2], "하나 더 있는 말입니다만 남아요."],
    }
    with Server(lambda body: numbered(planted[body["seed"]])) as server:
        code, found, report = run(tmp_path, server, "--seed 7", "--requests_per_round 3", n=3)
    assert code == 0 and [r["prompt"] for r in found] == GOOD
    assert found[0] == {
        "id": records.record_id([{"role": "user", "content": GOOD[0]}]),
        "category": "self_instruct",
        "source": "self_instruct",
        "history": [{"stage": "self_instruct", "model": "test-model", "round": 1}],
        "prompt": GOOD[0],
    }
    assert {k: v["count"] for k, v in report["dropped"].items()} == {
        "too similar to a seed or an earlier one": 3,
        "asks for what a text bot cannot do": 1,
        "too short": 1,
    }
    assert report["counts"] == {"seeds": 9, "more than was wanted": 1, "rounds": 1}
    assert report["similarity"]["accepted"]["n"] == 3 and report["similarity"]["all that were compared"]["n"] == 6
    nearest = [max(similar.rouge_l(GOOD[i], t) for t in SEEDS + GOOD[:i]) for i in range(3)]
    assert report["similarity"]["accepted"]["mean"] == pytest.approx(sum(nearest) / 3, abs=1e-4)
    assert report["usage"]["requests"] == 3


def test_the_threshold_is_a_flag(tmp_path):
    near = "요즘 밤에 잠이 안 와. 뭘 하면 좋을까?"
    score = similar.rouge_l(near, SEEDS[0])
    with Server(lambda body: numbered([near])) as server:
        assert run(tmp_path, server, "--max_similarity", score + 1e-6, "--requests_per_round 1", n=1)[0] == 0
        assert run(tmp_path, server, "--max_similarity", score, "--requests_per_round 1", n=1)[0] == 3


def test_what_a_request_shows(tmp_path):
    with Server(invented) as server:
        assert run(tmp_path, server, "--seed 5", n=40)[0] == 0
        bodies = sorted(server.requests, key=lambda b: b["seed"])
    assert [b["seed"] for b in bodies] == list(range(5, 13))  # two rounds of 4
    first = [json.loads(line)["prompt"] for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()][
        :32
    ]
    for i, body in enumerate(bodies):
        shown = [line.partition(". ")[2] for line in body["messages"][-1]["content"].splitlines() if line[:1].isdigit()]
        assert len(set(shown)) == 8 and set(shown) <= set(SEEDS + first)
        assert len(set(shown) & set(SEEDS)) == (8 if i < 4 else 6)
        assert (
            body["messages"][-1]["content"].endswith("새 말 8개를 1번부터 번호를 붙여 쓰세요.")
            and body["messages"][0]["role"] == "system"
        )
    assert len({b["messages"][-1]["content"] for b in bodies}) == 8


def test_an_input_is_shown_with_its_seed_and_conversations_are_left_out(tmp_path):
    rows = [
        {"prompt": "이 말을 공손하게 고쳐 줘.", "input": "내일은\n못 가."},
        {"prompt": "이 말을 공손하게 고쳐 줘.", "input": "내일은 못 가"},
        {"messages": [{"role": r, "content": r} for r in ("user", "assistant", "user")]},
    ]
    with Server(lambda body: numbered(GOOD)) as server:
        _, _, report = run(tmp_path, server, "--requests_per_round 1", n=3, seeds=rows)
        assert "1. 이 말을 공손하게 고쳐 줘. 내일은 못 가.\n\n" in server.requests[0]["messages"][-1]["content"]
    dropped = {k: v["count"] for k, v in report["dropped"].items()}
    assert dropped == {"seed: a conversation of several turns": 1, "seed: the same as an earlier one": 1}


def test_the_same_bytes_with_failures_and_in_any_order(tmp_path):
    with Server(invented) as calm:
        run(tmp_path, calm, "--concurrency 1", "--cache", tmp_path / "a.sqlite", n=150, out="calm.jsonl")
    with Server(invented, faults=at_random(0.3, seed=3)) as stormy:
        run(
            tmp_path,
            stormy,
            "--concurrency 16",
            "--max_retries 12",
            "--cache",
            tmp_path / "b.sqlite",
            n=150,
            out="stormy.jsonl",
        )
    assert len(stormy.requests) > len(stormy.answered) == len(calm.answered) == 20
    assert (tmp_path / "calm.jsonl").read_bytes() == (tmp_path / "stormy.jsonl").read_bytes()
    assert len((tmp_path / "calm.jsonl").read_text(encoding="utf-8").splitlines()) == 150


def test_a_killed_process_goes_on_and_ends_with_the_same_bytes(tmp_path):
    with Server(invented) as server:
        run(tmp_path, server, "--cache", tmp_path / "whole.sqlite", n=150, out="whole.jsonl")
    with Server(invented, delay=0.1) as server:
        more = ["--concurrency 2", "--cache", tmp_path / "cache.sqlite"]
        files = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
        flags = f"--generator openai:test-model --num_instructions 150 --base_url {server.url} --requests_per_round 4"
        process = start("self_instruct", *files, flags, *more)
        while len(server.answered) < 10 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert 10 <= len(server.answered) < 20 and not (tmp_path / "out.jsonl").exists()
        code, _, report = run(tmp_path, server, *more, n=150)
    assert code == 0 and (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert report["usage"]["cached"] >= 8 and len(server.answered) <= 22  # at most the two in flight are asked again


def test_what_cannot_be_read_is_asked_again_and_then_failed(tmp_path):
    asked = []

    def answer(body):
        asked.append(body["seed"])
        return numbered([GOOD[0]]) if len(asked) == 3 else "목록이 아닌 말"

    with Server(answer) as server:
        code, found, report = run(tmp_path, server, "--requests_per_round 1", n=1)
        assert code == 0 and len(found) == 1 and len(asked) == len(set(asked)) == 3
        more = ["--max_rounds_without_new 2", "--cache", tmp_path / "b.sqlite"]
        code, found, report = run(tmp_path, server, "--requests_per_round 1", *more, n=1)
    assert code == 3 and not found and report["failed"] == {"unusable": 2}
    failed = [json.loads(line) for line in (tmp_path / "out.failed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert failed[1]["record"] == {"request": 1, "round": 2} and "is no numbered item" in failed[1]["reason"]


def test_dry_rounds_end_it_with_what_there_is(tmp_path, capsys):
    with Server(lambda body: numbered(GOOD[:2])) as server:
        code, found, report = run(tmp_path, server, "--requests_per_round 2", "--max_rounds_without_new 2", n=5)
        assert len(server.requests) == 6
    assert code == 3 and [r["prompt"] for r in found] == GOOD[:2] and report["counts"]["rounds"] == 3
    assert "--num_instructions 5: 2 are written; 2 rounds in a row brought nothing new" in capsys.readouterr().err


def test_user_errors(tmp_path, capsys):
    with Server() as server:
        for generator in ("gpt-4o", "openai:", "local:model", "openai:m@http://127.0.0.1:1/v1"):
            with pytest.raises(InputError, match="--generator .*write openai:MODEL"):
                run(tmp_path, server, "--generator", generator)
        with pytest.raises(InputError, match="every seed is longer than 6 characters"):
            run(tmp_path, server, "--max_chars 3", "--min_chars 1")
        for more in (["--min_chars 9", "--max_chars 8"], ["--new_per_request 0"], ["--num_instructions 0"]):
            with pytest.raises(SystemExit) as ended:
                run(tmp_path, server, *more)
            assert ended.value.code == 2 and str(more[0]) in capsys.readouterr().err
        assert not server.requests
    assert not (tmp_path / "out.jsonl").exists()
