"""evol_instruct.py: what is asked, what is eliminated and why, how rounds go on, the same bytes whatever happens."""

import json
import random
import re
from collections import Counter

import pytest
import yaml
from openai_server import Server, at_random, error, refusal
from prep_harness import run as run_program

import data_prep.evol_instruct as program
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import rouge as similar
from korlhf.data_prep.generate import evolve as evol
from korlhf.data_prep.generate.elimination import MUTATIONS, bare_reply, failed_evolution
from korlhf.llm import client as llm

PARENT = "요즘 잠이 잘 안 와. 뭘 하면 좋을까?"
GIVEN = [
    PARENT,
    "여자 친구 생일 선물로 뭐가 좋을지 골라 주세요.",
    "오늘 첫 출근이라 너무 떨려요.",
    "냉장고에 두부만 남았는데 뭐 해 먹지?",
    "친구가 매번 약속에 늦어서 속상해.",
    "부산 당일치기 여행 일정을 짜 주실래요?",
    "고양이가 밤마다 울어서 걱정이에요.",
    "영어 공부가 늘 작심삼일이야.",
    "면접 자기소개는 어떻게 시작해?",
    "윗집이 새벽마다 청소기를 돌려.",
]


WORDING = evol.load_wording(program.WORDING)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def invented(body):
    """An instruction that depends on every character of the request and resembles no other."""
    rng = random.Random(json.dumps(body, sort_keys=True))
    return "".join(chr(0xAC00 + rng.randrange(11172)) for _ in range(20)) + "?"


def asked(body):
    """(mutation, instruction) that a request is about, read from its message as a stranger would."""
    text = body["messages"][-1]["content"]
    (mutation,) = [name for name in MUTATIONS if name in text]
    return mutation, re.search(r"^(=+)\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)[2]


def run(folder, server, *more, given=GIVEN, out="out.jsonl"):
    """main(): (exit code, records, report). given: texts or rows."""
    texts = [(g, {"prompt": g, "category": "everyday", "source": f"nikl/{i}"}) for i, g in enumerate(given)]
    rows = [row if isinstance(g, str) else g for g, row in texts]
    flags = f"--generator openai:test-model --base_url {server.url}"
    ran = run_program(program, folder, rows, flags, *more, out=out)
    return ran.code, ran.out, ran.report


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("text", [PARENT, "====== 이런 줄이 든 말\n=====\n셋째 줄 {name} %s 'x'?", "가나다라 ======="])
def test_a_request_holds_the_instruction_to_the_letter(mutation, text):
    system, user = WORDING.messages(mutation, text, "수면")
    assert asked({"messages": [{"content": system}, {"content": user}]}) == (mutation, text)
    assert user.count(text) == 1 and "받은 말의 화제: 수면" in user and WORDING.mutations[mutation]["task"] in user
    assert "화제: " not in WORDING.messages("DEEPEN", text, None)[1]


def test_every_part_of_our_own_request_counts_as_copied():
    for name in MUTATIONS:
        for line in WORDING.messages(name, PARENT, "수면")[1].splitlines():
            if any(mark in line for mark in (name, "구분선", "화제: ", "===")):
                reason = failed_evolution(f"{line}\n{GIVEN[1]}", PARENT, WORDING.leaks, 600)
                assert reason == "words of the request copied", line


@pytest.mark.parametrize(
    "text, reason",
    [
        ("?!...", "nothing but punctuation or stop words"),
        ("네, 알겠습니다.", "nothing but punctuation or stop words"),
        ("그리고 또 뭐?", "nothing but punctuation or stop words"),
        ("123 456", "nothing but punctuation or stop words"),
        ("죄송하지만 그런 말은 쓰지 않겠습니다.", "refusal or apology"),
        ("죄송합니다. 저는 도움을 드리지 못합니다.", "refusal or apology"),
        ("해당 요청에는 답변을 드리기 어렵습니다.", "refusal or apology"),
        ("이 질문에는 응할 수 없습니다. 다른 것을 물어봐 주시겠어요?", "refusal or apology"),
        ("그런 글은 써 드릴 수 없습니다.", "refusal or apology"),
        ("저는 AI 언어 모델로서 잠을 자지 않습니다.", "refusal or apology"),
        ("죄송하지만 그 날짜는 확인할 수 없습니다. 다른 날짜를 알려 주세요.", "refusal or apology"),
        ("I'm sorry, but I can't help with that.", "refusal or apology"),
        ("#새로운 질문# 잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("주어진 프롬프트를 더 어렵게 바꾸면 무엇이 되나요?", "words of the request copied"),
        ("새로운 질문: 잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("새 말: 잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("**바뀐 말:** 잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("DEEPEN 잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("=====\n잠이 안 올 때 뭘 마시면 좋아?", "words of the request copied"),
        ("네, 자기 전에 따뜻한 우유를 드셔 보시겠어요?", "an answer instead of an instruction"),
        ("물론입니다! 잠이 안 오신다니 힘드시겠어요.", "an answer instead of an instruction"),
        ("다음은 잠이 잘 오는 방법입니다.\n1. 우유\n2. 산책", "an answer instead of an instruction"),
        ("자기 전에 가볍게 산책을 하는 것이 좋습니다.", "an answer instead of an instruction"),
        ("잠이 안 올 때는 족욕을 추천합니다.", "an answer instead of an instruction"),
        ("언제든지 말씀해 주세요.", "an answer instead of an instruction"),
        ("1. 우유 마시기\n2. 산책하기\n3. 족욕하기", "an answer instead of an instruction"),
        ("잠이 잘 오는 방법을 알려 드리겠습니다.", "an answer instead of an instruction"),
        ("푹 주무시는 데 도움이 되길 바라요.", "an answer instead of an instruction"),
        ("What should I do when I cannot sleep at night?", "not Korean"),
        ("眠れない時はどうすればいいですか?", "not Korean"),
        ("가" * 601, "too long"),
    ],
)
def test_what_is_eliminated(text, reason):
    assert failed_evolution(text, PARENT * 10, WORDING.leaks, 600) == reason


@pytest.mark.parametrize(
    "text",
    GIVEN
    + [
        "죄송하지만 회식에 못 간다고 전할 문자를 써 주세요.",
        "미안하다는 말을 먼저 꺼내려면 어떻게 해야 할까?",
        "상사한테 받은 말이 자꾸 생각나.",
        "그 부탁은 들어줄 수 없다고 어떻게 말하지?",
        "부모님께 용돈을 드릴 수 없어서 속상해요.",
        "친구 글에 뭐라고 답해야 할지 어려워요.",
        "네가 여행을 간다면 산이 좋아, 바다가 좋아?",
        "예전에 살던 동네가 그리워.",
        "물론 내 잘못도 있지만 너무한 거 아니야?",
        "저는 비 오는 날이 좋아요.",
        "우리 조카 이름을 해시태그로 만들면 #하준 #사랑해 괜찮아?",
        "다음은 어디로 여행을 가면 좋을까요?",
        "어머니가 말씀하신 김치찌개 비법이 뭘까?",
        "이런 조건으로 식단을 짜 주세요.\n- 점심은 도시락\n- 저녁은 면",
        "새 말을 배우는 데 얼마나 걸려?",
        "할머니 생신 때 '오래오래 건강하세요'를 넣은 축하 글을 써 줘.",
        "인공지능이 사람 일을 다 대신하면 어쩌지?",
        "동생 말투가 웃겨서 자꾸 놀리게 돼요.",
        "혼자 있는 게 좋아요.",
        "비가 오면 기분이 좋아요.",
        "가족과 얽힌 추억이 있으면 하나 꺼내 주시기 바랍니다.",
    ],
)
def test_instructions_pass(text):
    assert failed_evolution(text, "오늘은 정말 피곤해.", WORDING.leaks, 600) is None


@pytest.mark.parametrize(
    "text, asks",
    [
        ("뭐 먹지", True),
        ("어떻게 하면 잠이 잘 올까.", True),
        ("노래 하나만 골라 봐", True),
        ("알려 주십시오.", True),
        ("이름 좀 지어 주시기 바랍니다.", True),
        ("화분을 소개하되, 키가 작아야 해요.", True),
        ("선물을 알려 주되, 값이 싸야 해요.", True),
        ("그냥 오늘 있었던 일 얘기야.", False),
        ("안녕하세요, 첫 출근이라 떨려요.", False),
        ("따뜻한 우유를 마시면 잠이 잘 옵니다.", False),
        ("고양이가 자꾸 울어.", False),
    ],
)
def test_to_a_parent_that_asks_a_text_that_does_not_is_an_answer(text, asks):
    assert failed_evolution(text, PARENT, WORDING.leaks, 600) == (
        None if asks else "an answer instead of an instruction"
    )
    assert failed_evolution(text, "오늘은 정말 피곤해.", WORDING.leaks, 600) is None


def test_what_the_parent_does_too_is_no_answer():
    text = "네. 요즘 즐겨 보는 프로그램은 뭐예요?"
    assert failed_evolution(text, PARENT, WORDING.leaks, 600) == "an answer instead of an instruction"
    assert failed_evolution(text, "네. 취미가 뭐예요?", WORDING.leaks, 600) is None


def test_ten_times_its_parent_and_a_hundred():
    assert failed_evolution("가" * 120, "심심", WORDING.leaks, 600) is None
    assert failed_evolution("가" * 121, "심심", WORDING.leaks, 600) == "too long"
    assert failed_evolution("가" * 121, "심심해", WORDING.leaks, 120) == "too long"


@pytest.mark.parametrize(
    "text, expected",
    [
        (' "잠이 안 와."\n', "잠이 안 와."),
        ("“잠이 안 와.”", "잠이 안 와."),
        ("잠이 '푹' 안 와.", "잠이 '푹' 안 와."),
        ("'푹'과 '깊이'", "'푹'과 '깊이'"),
        ('"잠이 "푹" 안 와."', '"잠이 "푹" 안 와."'),
    ],
)
def test_quotation_marks_around_all_of_it_go(text, expected):
    assert bare_reply(text) == expected


def test_planted_replies(tmp_path):
    """Every kind of failure once, by the instruction that it answers."""
    near = "여자 친구 생일 선물로 뭐가 좋을지 좀 골라 주세요!"
    cut = {"message": {"role": "assistant", "content": "고양이가 밤에 울지 않게 하려면"}, "finish_reason": "length"}
    planted = dict(
        zip(
            GIVEN,
            [
                PARENT,
                near,
                "“첫 출근 날에는 뭘 입고 가야 할까?”",
                "죄송하지만 쓸 수 없습니다.",
                "새로운 질문: 뭐 하지?",
                GIVEN[8],
                cut,
            ],
        )
    )
    planted[GIVEN[9]] = "새벽마다 윗집에서 청소기를 돌리는데 관리실에 말해도 그때뿐이야. 어떻게 하지?"
    faults = {GIVEN[7]: error(400, "too long"), GIVEN[8]: refusal()}
    with Server(lambda body: planted[asked(body)[1]], faults=lambda number, body: faults.get(asked(body)[1])) as server:
        code, found, report = run(tmp_path, server)
    assert code == 0
    assert [r["prompt"] for r in found] == ["첫 출근 날에는 뭘 입고 가야 할까?", planted[GIVEN[9]]]
    assert {k: v["count"] for k, v in report["dropped"].items()} == {
        "the same as its parent, or nearly": 2,
        "refusal or apology": 2,
        "words of the request copied": 1,
        "too similar to another instruction": 1,
        "cut off": 1,
    }
    assert report["failed"] == {"too long": 1} and report["counts"]["instructions given"] == 10
    first = found[0]
    parent = records.record_id([{"role": "user", "content": GIVEN[2]}])
    history = {"stage": "evol_instruct", "model": "test-model", "mutation": first["mutation"], "round": 1}
    assert first == {
        "id": records.record_id([{"role": "user", "content": first["prompt"]}]),
        "category": "evol",
        "source": "evol/nikl/2",
        "history": [history],
        "prompt": first["prompt"],
        "parent": parent,
        "mutation": first["mutation"],
        "round": 1,
    }
    sent = {asked(b)[1]: asked(b)[0] for b in server.requests}
    assert sent[GIVEN[2]] == first["mutation"]
    by_mutation = Counter(sent.values())
    assert {name: m["asked"] for name, m in report["mutations"].items()} == {
        name: by_mutation[name] for name in MUTATIONS
    }
    assert sum(m.get("evolved", 0) for m in report["mutations"].values()) == 2
    assert sum(m.get("refusal or apology", 0) for m in report["mutations"].values()) == 2
    assert sum(m.get("failed: too long", 0) for m in report["mutations"].values()) == 1
    others = [
        max(similar.rouge_l(r["prompt"], t) for i, t in enumerate(GIVEN) if i != own) for r, own in zip(found, (2, 9))
    ]
    assert report["similarity"]["accepted, to the nearest other"]["mean"] == pytest.approx(sum(others) / 2, abs=1e-4)
    assert report["similarity"]["all that were compared, to the nearest other"]["n"] == 3


def test_a_success_is_evolved_further_and_a_failure_tries_another_mutation(tmp_path):
    def answer(body):
        text = asked(body)[1]
        return text if text == PARENT else invented(body)

    with Server(answer) as server:
        more = ["--rounds 4", "--concurrency 1", "--mutations DEEPEN", "COMPLICATE"]
        code, found, report = run(tmp_path, server, *more, given=GIVEN[:2])
        sent = [asked(b) for b in server.requests]
    assert code == 0 and [r["round"] for r in found] == [1, 2, 3, 4]
    assert Counter(m for m, text in sent if text == PARENT) == {
        "DEEPEN": 1,
        "COMPLICATE": 1,
    }  # both failed, so it is left alone
    assert [text for m, text in sent if text != PARENT] == [GIVEN[1]] + [r["prompt"] for r in found[:3]]
    parents = [records.record_id([{"role": "user", "content": GIVEN[1]}])] + [r["id"] for r in found[:3]]
    assert [r["parent"] for r in found] == parents and {r["source"] for r in found} == {"evol/nikl/1"}
    assert [h["round"] for h in found[3]["history"]] == [1, 2, 3, 4]
    assert report["counts"]["lines of which every mutation failed"] == 1


def test_after_a_success_every_mutation_is_open_again(tmp_path):
    with Server(lambda body: PARENT if len(server.requests) == 1 else invented(body)) as server:
        run(tmp_path, server, "--rounds 8", "--mutations DEEPEN", "COMPLICATE", given=[PARENT])
        sent = [asked(b)[0] for b in server.requests]
    assert sent[0] != sent[1] and set(sent[2:]) == {"DEEPEN", "COMPLICATE"}


def test_an_ancestor_counts_as_parent_and_others_do_not(tmp_path):
    """The grandchild is .8 like its grandparent, which is no other instruction; .8 like another line it would be."""
    chain = {
        "가나다라마바사아자차": "가나다라마바사아하호",
        "가나다라마바사아하호": "가나다라마바사아후흐",
        "가나다라마바사아후흐": "가나다라마바사아자히",
    }  # .9 like the first, .8 like the last
    with Server(lambda body: chain.get(asked(body)[1]) or invented(body)) as server:
        _, found, report = run(tmp_path, server, "--rounds 3", given=["가나다라마바사아자차"])
        assert [r["prompt"] for r in found] == ["가나다라마바사아하호", "가나다라마바사아후흐"]
        assert report["dropped"]["the same as its parent, or nearly"]["examples"][0]["rouge_l"] == 0.9
        _, found, report = run(tmp_path, server, given=["가나다라마바사아자차", "가나다라마바사아히헤"], out="b.jsonl")
    assert [r["source"] for r in found] == ["evol/nikl/1"]  # the other line's evolution is an invented one
    assert report["dropped"]["too similar to another instruction"]["examples"][0]["rouge_l"] == 0.8


def test_evolved_ones_must_differ_from_each_other_in_text_and_id(tmp_path):
    replies = dict(
        zip(
            GIVEN,
            [
                "가나다라마바사?",
                "가나다라마바호?",
                "우리 밥 먹을까?",
                "우리 밥 먹을까?????????????",
                GIVEN[4] + "!!!!!!!!!!!!!!",
            ],
        )
    )
    with Server(lambda body: replies[asked(body)[1]]) as server:
        _, found, report = run(tmp_path, server, given=GIVEN[:5])
    assert [r["prompt"] for r in found] == ["가나다라마바사?", "우리 밥 먹을까?"]
    shown = report["dropped"]["too similar to another instruction"]["examples"]
    assert [(e["nearest"], e["rouge_l"]) for e in shown] == [
        ("가나다라마바사?", 0.875),
        ("우리 밥 먹을까?", 0.5385),
    ]  # 14/16; 14/26, but one id
    assert report["dropped"]["the same as its parent, or nearly"]["count"] == 1


def test_the_mutation_belongs_to_the_record_not_to_its_place(tmp_path):
    with Server(invented) as server:
        _, first, _ = run(tmp_path, server, out="a.jsonl")
        _, second, _ = run(tmp_path, server, out="b.jsonl", given=GIVEN[::-1])
        _, third, _ = run(tmp_path, server, "--seed 1", out="c.jsonl")
    assert [r["source"] for r in first] == [f"evol/nikl/{i}" for i in range(10)]  # in the order given
    assert len({b["seed"] for b in server.requests[:10]}) == 10
    chosen = [{r["parent"]: (r["mutation"], r["prompt"]) for r in found} for found in (first, second, third)]
    assert chosen[0] == chosen[1] != chosen[2] and len(chosen[0]) == 10
    assert len({mutation for mutation, _ in chosen[0].values()}) >= 3


def test_num_evolved_is_spread_over_the_rounds_and_asks_no_more_than_needed(tmp_path, capsys):
    def answer(body):
        return "죄송합니다. 쓰지 않겠습니다." if asked(body)[1] in GIVEN[:5] else invented(body)

    with Server(answer) as server:
        code, found, report = run(tmp_path, server, "--rounds 2", "--num_evolved 7")
        assert code == 0 and Counter(r["round"] for r in found) == {1: 4, 2: 3}
        assert len(server.requests) == 7 + report["dropped"]["refusal or apology"]["count"]
        assert {r["parent"] for r in found if r["round"] == 2} <= {r["id"] for r in found if r["round"] == 1}
        capsys.readouterr()
        code, found, _ = run(tmp_path, server, "--num_evolved 6")
        assert code == 3 and len(found) == 5
        assert "error: --num_evolved 6: 5 are written" in capsys.readouterr().err
        code, found, _ = run(tmp_path, server, given=GIVEN[:2])
        assert code == 3 and not found


def test_topic_input_and_conversations(tmp_path):
    talk = [
        {"role": "user", "content": "안녕?"},
        {"role": "assistant", "content": "네."},
        {"role": "user", "content": "그래서?"},
    ]
    given = [
        {
            "prompt": "이 말을 공손하게 고쳐 줘.",
            "input": "내일은 못 가",
            "topic": "말투",
            "output": "내일은 어렵겠습니다.",
        },
        {"messages": talk},
        {"prompt": "이 말을 공손하게 고쳐 줘.", "input": "내일은 못 가!"},
    ]
    with Server(invented) as server:
        _, (kept,), report = run(tmp_path, server, "--mutations FRESH_START", given=given)
        assert asked(server.requests[0])[1] == "이 말을 공손하게 고쳐 줘.\n내일은 못 가"
        assert "받은 말의 화제: 말투" in server.requests[0]["messages"][-1]["content"]
        _, (moved,), _ = run(tmp_path, server, "--mutations SWITCH_TOPIC", given=given[:1])
    dropped = {k: v["count"] for k, v in report["dropped"].items()}
    assert dropped == {"input: a conversation of several turns": 1, "input: the same as an earlier one": 1}
    assert kept["topic"] == "말투" and "topic" not in moved and not {"output", "input"} & set(kept)
    assert (kept["source"], kept["mutation"], moved["mutation"]) == (
        f"evol/{tmp_path / 'in.jsonl'}",
        "FRESH_START",
        "SWITCH_TOPIC",
    )


def test_the_same_bytes_with_failures_interruptions_and_in_any_order(tmp_path):
    given = ["".join(random.Random(i).choices([chr(0xAC00 + 31 * k) for k in range(300)], k=15)) for i in range(50)]
    more = ["--rounds 3", "--num_evolved 60"]
    with Server(lambda body: "죄송합니다." if ord(asked(body)[1][0]) % 4 == 0 else invented(body)) as calm:
        code, found, _ = run(
            tmp_path, calm, *more, "--concurrency 1", "--cache", tmp_path / "a.sqlite", given=given, out="calm.jsonl"
        )
    assert code == 0 and Counter(r["round"] for r in found) == {1: 20, 2: 20, 3: 20}
    with Server(calm.answer, faults=at_random(0.3, seed=3)) as stormy:
        more += ["--concurrency 16", "--max_retries 12", "--cache", tmp_path / "b.sqlite"]
        for limit in (20, 60):
            with pytest.raises(InputError, match=f"--max_requests {limit}"):
                run(tmp_path, stormy, *more, "--max_requests", limit, given=given, out="stormy.jsonl")
            assert not (tmp_path / "stormy.jsonl").exists()
        _, _, report = run(tmp_path, stormy, *more, given=given, out="stormy.jsonl")
    assert len(stormy.requests) > len(stormy.answered) == len(calm.answered) >= 60  # nothing answered is asked twice
    assert report["usage"]["cached"] >= 40 and not report["failed"]
    assert (tmp_path / "calm.jsonl").read_bytes() == (tmp_path / "stormy.jsonl").read_bytes()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("topic"), "topic.*it needs system, request, topic, mutations, leaks"),
        (lambda w: w["mutations"].pop("DEEPEN"), "'DEEPEN' is missing"),
        (lambda w: w["mutations"]["DEEPEN"].pop("task"), "'task' is missing"),
        (lambda w: w.update(request="{instruction} {fance}"), "'fance' is missing, or is no placeholder"),
        (lambda w: w["leaks"].append("(가"), r"leaks: '\(가' is no regular expression"),
        (lambda w: w.update(leaks=None), "it needs system"),
    ],
)
def test_a_broken_wording_file_is_named(tmp_path, change, message):
    wording = yaml.safe_load(program.WORDING.read_text(encoding="utf-8"))
    change(wording)
    path = tmp_path / "mutations.yaml"
    path.write_text(yaml.safe_dump(wording, allow_unicode=True), encoding="utf-8")
    with pytest.raises(InputError, match=f"mutations.yaml: .*{message}") as raised:
        evol.load_wording(path)
    assert "\n" not in str(raised.value)
    path.write_text("system: [", encoding="utf-8")
    with pytest.raises(InputError, match="mutations.yaml: broken YAML: .*line 1"):
        evol.load_wording(path)


def test_user_errors(tmp_path, capsys):
    with Server() as server:
        with pytest.raises(InputError, match="--generator gpt: write openai:MODEL"):
            run(tmp_path, server, "--generator gpt")
        with pytest.raises(InputError, match="no instruction of a single turn"):
            run(
                tmp_path,
                server,
                given=[
                    {
                        "messages": [
                            {"role": "user", "content": "a"},
                            {"role": "assistant", "content": "b"},
                            {"role": "user", "content": "c"},
                        ]
                    }
                ],
            )
        for more in (["--mutations WIDEN"], ["--rounds 0"], ["--num_evolved", -1]):
            with pytest.raises(SystemExit) as ended:
                run(tmp_path, server, *more)
            assert ended.value.code == 2 and str(more[0]).split()[0] in capsys.readouterr().err
        assert not server.requests
