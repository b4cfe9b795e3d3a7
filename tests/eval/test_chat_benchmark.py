"""eval/chat_benchmark.py as a user runs it: invented rows in the published formats, real model and judge servers;
scores, the rules for answers that are not in Korean and the five verdicts by hand."""

import json
import re
import shutil
import threading
from types import SimpleNamespace

import eval_harness
import pytest
import rigged_reward
from eval_harness import lasting, table, write
from openai_server import DROP, Server, refusal
from rigged_judge import answers as judged
from rigged_judge import choice_of, fill, is_choice

from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.eval import chat_benchmark, chat_questions
from korlhf.llm import client as llm
from korlhf.llm.responders import Responder

LOGICKOR = [
    {
        "id": 1,
        "category": "추론(Reasoning)",
        "questions": ["첫째 질문?", "첫째에 이어서?"],
        "references": ["정답은 넷", None],
    },
    {"id": 2, "category": "수학(Math)", "questions": ["둘째 질문?", "둘째에 이어서?", "둘째에 이어서??"]},
]
LOGICKOR_ANSWERS = {
    "good": [["첫째 답이에요 9", "이어서 답이에요 7"], ["둘째 답이에요 5", "또 이어서 답이에요 3"]],
    "bad": [["첫째 답이에요 4", "이어서 답이에요 4"], ["The second answer is in English 8", "또 이어서 답이에요 2"]],
}
ARENA = [
    {
        "question_id": f"q{i}",
        "category": "arena-hard-v0.1",
        "cluster": f"c{i}",
        "turns": [{"content": f"{i}번 질문이에요"}],
    }
    for i in range(4)
]


def points(low=1, high=10):
    """A judge that gives the last digit of the answer; the highest score of the scale is A."""
    return choice_of(lambda *texts: "ABCDEFGHIJ"[high - int(texts[-1][-1])])


def five(a, b):
    """An honest judge of two answers by their last digits: far apart is a clear verdict."""
    gap = int(a[-1]) - int(b[-1])
    return "A" if gap > 3 else "B" if gap > 0 else "C" if gap == 0 else "D" if gap > -4 else "E"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


@pytest.fixture
def run(tmp_path):
    """Function: (benchmark, its rows, {name: answers}, the judge's server, flags) -> exit code, result, rows."""

    def run(name, rows, texts, server, *flags, output="out"):
        data, key = write(tmp_path / "questions.jsonl", rows), "id" if "id" in rows[0] else "question_id"
        files = []
        for model, of_model in texts.items():
            lines = [{key: row[key], "outputs": of_one} for row, of_one in zip(rows, of_model)]
            files.append(f"{model}={write(tmp_path / f'{model}.jsonl', lines)}")
        folder = tmp_path / output
        words = ["--benchmark", name, "--data_path", data, "--responder", *files, "--output_dir", folder, *flags]
        words += ["--judge", f"openai:test-model@{server.url}"] if server else []
        code = eval_harness.load("chat_benchmark").main([*map(str, words)])
        return code, *eval_harness.result(folder, name)

    return run


def means(found):
    return {(f["model"], f["category"]): f.get("mean") for f in found["figures"]["means"]}


def test_a_score_a_turn_and_zero_for_what_is_not_korean(run):
    with Server(points()) as server:
        code, found, rows = run("logickor", LOGICKOR, LOGICKOR_ANSWERS, server, "--rescore_share", 0)
    assert code == 0 and found["program"] == "chat_benchmark"
    # good: (9 + 7) / 2 = 8 and (5 + 3) / 2 = 4; bad: (4 + 4) / 2 = 4 and (0 + 2) / 2 = 1
    assert means(found)["good", None] == 6.0 and means(found)["bad", None] == 2.5
    assert means(found)["bad", "수학(Math)"] == 1.0 and means(found)["good", "추론(Reasoning)"] == 8.0
    assert [row[1:] for row in cells(found, "Mean score by turn")] == [[7.0, 2.0], [5.0, 3.0]]
    assert found["figures"]["not_korean"] == [
        {"model": "good", "answers": 4, "not_korean": 0, "as_judged": found["figures"]["not_korean"][0]["as_judged"]},
        {"model": "bad", "answers": 4, "not_korean": 1, "as_judged": found["figures"]["not_korean"][1]["as_judged"]},
    ]
    assert found["figures"]["not_korean"][1]["as_judged"]["mean"] == 4.5  # (4 + 5) / 2
    (difference, *_) = found["figures"]["differences"]
    assert (difference["model"], difference["mean"], difference["n"]) == ("bad", -3.5, 2)
    assert [row["id"] for row in rows] == ["logickor/1/1", "logickor/1/2", "logickor/2/1", "logickor/2/2"]
    assert rows[2]["answers"]["bad"] == [
        {
            "text": "The second answer is in English 8",
            "finish_reason": None,
            "tokens": None,
            "score": 0.0,
            "scores": {},
            "language": "not Korean",
        }
    ]
    assert [m["content"] for m in rows[3]["messages"]] == ["둘째 질문?", "둘째에 이어서?"]
    assert "0" in found["protocol"]["scale"]["en"] and found["protocol"]["rubric"].startswith("assistant.yaml (sha256")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["protocol"]["judged on"])
    asked = [body for body in server.requests if is_choice(body)]
    assert len(asked) == 8
    of_first = next(b for b in asked if judged(b) == ["첫째 답이에요 9"])["messages"][-1]["content"]
    assert "[모범 답안] 정답은 넷" in of_first and "A. 10점\nB. 9점" in of_first and of_first.count("점\n") >= 9
    of_second = next(b for b in asked if judged(b) == ["이어서 답이에요 7"])["messages"][-1]["content"]
    assert "첫째 답이에요 9" in of_second and "모범 답안" not in of_second  # its own earlier answer before it


def cells(found, title):
    """Rows of a table, of intervals their means."""
    return [
        [c["mean"] if isinstance(c, dict) and "mean" in c else c for c in row] for row in table(found, title)["rows"]
    ]


def test_the_report_shows_it_by_itself(run, tmp_path):
    with Server(points()) as server:
        run("logickor", LOGICKOR, LOGICKOR_ANSWERS, server, "--rescore_share", 0)
    words = ["--run_dir", tmp_path, "--eval_dir", tmp_path / "out", "--output", tmp_path / "report.html"]
    eval_harness.load("report").main([*map(str, words)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "chat benchmark (logickor.json)" in page and "대화 벤치마크 (logickor.json)" in page
    assert "한국어가 아닌 답변" in page and "차례별 평균 점수" in page and "채점한 날" in page


def test_the_square_root_of_what_is_not_korean(run):
    komt = [
        {"question_id": 81, "category": "writing", "turns": ["글을 써 주세요", "이어서 써 주세요"]},
        {
            "question_id": 138,
            "category": "extraction",
            "turns": ["JSON으로 써 주세요", "다시 써 주세요"],
            "reference": ["{}", ""],
        },
    ]
    texts = [
        ["Surely this is English 9", "한국어로 쓴 글이에요 4"],
        ["Surely this is JSON then 9", "JSON again and again 9"],
    ]
    with Server(points()) as server:
        _, found, _ = run("komt_bench", komt, {"m": texts}, server, "--rescore_share", 0)
    assert means(found)["m", "writing"] == 3.5  # (sqrt(9) + 4) / 2
    assert means(found)["m", "extraction"] == 9.0  # its owners except question 138


def test_a_score_is_the_expected_value_of_the_letters(run):
    """Half of the probability on B, 9 points, and half on C."""
    texts = {"m": [["답이에요 9", "답이에요 9"], ["답이에요 9", "답이에요 9"]]}
    with Server(choice_of(lambda text: "B", 0.5)) as server:
        _, found, _ = run("logickor", LOGICKOR, texts, server)
    assert means(found)["m", None] == pytest.approx(8.5)
    assert found["protocol"]["scores by"]["en"] == "token probabilities: 4 answers"
    assert "not how sure the judge is" in table(found, "The judge's noise")["notes"][1]["en"]


def test_models_answer_turn_after_turn_and_the_same_command_resumes(tmp_path):
    """The model's own earlier answer is before the second question; what arrived is not asked again."""

    def answer(body):
        if body["messages"][0]["role"] == "user":
            return f"{body['messages'][-1]['content']} 답변 {len(body['messages'])}"
        return points()(body)

    data = write(tmp_path / "questions.jsonl", LOGICKOR)
    with Server(answer) as server:
        model = f"openai:test-model@{server.url}"
        words = ["--benchmark", "logickor", "--data_path", data, "--responder", f"m={model}", "--judge", model]
        words = [*words, "--rescore_share", 0, "--max_retries", 0]

        def main(folder):
            code = eval_harness.load("chat_benchmark").main([*map(str, words), "--output_dir", str(tmp_path / folder)])
            return code, lasting(tmp_path / folder, "logickor")

        server.faults = lambda number, body: DROP if is_choice(body) else None
        assert main("out")[0] == 3
        server.faults = lambda number, body: None
        code, resumed = main("out")
        asked = [[m["content"] for m in b["messages"]] for b in server.answered if b["messages"][0]["role"] == "user"]
        assert code == 0 and len(asked) == 4  # the answers came from the cache
        assert resumed == main("whole")[1]
    assert ["첫째 질문?", "첫째 질문? 답변 1", "첫째에 이어서?"] in asked
    assert not [a for a in asked if a[-1] == "둘째에 이어서??"]  # the third question of the published row is not asked
    # every answer ends with its place: 1 and 3
    assert resumed[0]["figures"]["means"][0]["mean"] == 2.0


def test_a_judge_that_fails_is_a_failure_and_no_zero(run):
    fails = lambda number, body: refusal("안 돼요.") if judged(body) == ["첫째 답이에요 9"] else None  # noqa: E731
    with Server(points(), fails) as server:
        code, found, rows = run("logickor", LOGICKOR, {"good": LOGICKOR_ANSWERS["good"]}, server, "--rescore_share", 0)
    assert code == 3  # 1 of 8: four answers, four scores
    assert means(found)["good", "추론(Reasoning)"] == 7.0 and "score" not in rows[0]["answers"]["good"][0]
    assert any(
        w["en"].startswith("judge on good: 1 failed and are excluded from every figure, e.g. refusal")
        for w in found["warnings"]
    )


def test_after_a_turn_that_fails_the_later_ones_are_not_asked(tmp_path):
    def answer(body):
        return f"답이에요 {len(body['messages'])}" if body["messages"][0]["role"] == "user" else points()(body)

    def fails(number, body):
        return refusal("안 돼요.") if body["messages"][-1]["content"] == "첫째 질문?" else None

    data = write(tmp_path / "questions.jsonl", LOGICKOR)
    with Server(answer, fails) as server:
        model = f"openai:test-model@{server.url}"
        words = ["--benchmark", "logickor", "--data_path", data, "--responder", f"m={model}", "--judge", model]
        code = eval_harness.load("chat_benchmark").main([*words, "--output_dir", str(tmp_path), "--rescore_share", "0"])
        found, rows = eval_harness.result(tmp_path, "logickor")
        assert code == 3 and "첫째에 이어서?" not in server.prompts()
    assert [row["answers"]["m"][0].get("failed") for row in rows] == ["refusal: 안 돼요."] * 2 + [None] * 2
    assert means(found)["m", None] == 2.0 and found["figures"]["means"][0]["n"] == 1


@pytest.mark.parametrize("name, ends", [("logickor", (0, 10)), ("komt_bench", (1, 10))])
def test_the_ends_of_the_scale(name, ends):
    judge = SimpleNamespace(kind="openai")
    assert chat_benchmark.scale(chat_questions.BENCHMARKS[name], judge, []) == ends


def test_the_judges_noise_is_measured(run):
    """The second time the judge reads an answer it gives 1 less."""
    seen, lock = set(), threading.Lock()

    def pick(text):
        with lock:
            again = text in seen
            seen.add(text)
        return "ABCDEFGHIJ"[10 - int(text[-1]) + again]

    with Server(choice_of(pick)) as server:
        _, found, _ = run("logickor", LOGICKOR, LOGICKOR_ANSWERS, server, "--rescore_share", 1)
    noise = found["figures"]["noise"]["score"]
    assert (noise["mean"], noise["shift"], noise["sd"], noise["same"], noise["n"]) == (1.0, -1.0, 0.0, 0.0, 8)


def test_pairs_in_both_orders_with_five_verdicts(run):
    """m against the baseline: 9:1 clearly better, 5:4 better, 3:3 equal but not alike, 2:4 worse."""
    base = [["기준 답 1"], ["기준 답 4"], ["기준 답 3"], ["기준 답 4"]]
    model = [["모델 답 9"], ["모델 답 5"], ["모델 답 3"], ["모델 답 2"]]
    with Server(choice_of(five)) as server:
        _, found, rows = run("ko_arena_hard", ARENA, {"base": base, "m": model}, server)
        assert sum(map(is_choice, server.requests)) == 16  # 4 pairs in both orders, and once more for the noise
    figures = found["figures"]
    assert figures["verdicts"] == {"m": {"much_better": 2, "better": 2, "tie": 2, "worse": 2, "much_worse": 0}}
    (arena,) = figures["arena"]
    # of both orders: (3 + 3) of 6 clear ones, 2 of 2, 1 of 2, 0 of 2
    assert (arena["model"], arena["n"], arena["mean"]) == ("m", 4, pytest.approx(9 / 12))
    assert figures["win_rates"][0]["mean"] == 2.5 / 4
    assert figures["place"]["disagree"] == 0.0 and figures["noise"]["same"] == 1.0 and figures["noise"]["sd"] == 0.0
    assert rows[0]["answers"]["m"][0]["against"] == {"base": "won"}
    assert rows[0]["answers"]["m"][0]["orders"] == ["much_better", "much_better"]
    assert "against" not in rows[0]["answers"]["base"][0]


def test_a_judge_that_goes_by_place_makes_no_winner(run):
    texts = {"base": [[f"기준 답 {i}"] for i in range(4)], "m": [[f"모델 답 {i}"] for i in range(4)]}
    with Server(choice_of(lambda a, b: "A")) as server:
        _, found, _ = run("ko_arena_hard", ARENA, texts, server, "--rescore_share", 0)
    assert found["figures"]["win_rates"][0]["tied"] == 4 and found["figures"]["arena"][0]["mean"] == 0.5
    assert (found["figures"]["place"]["first"]["mean"], found["figures"]["place"]["disagree"]) == (1.0, 1.0)


def test_an_order_that_fails_leaves_no_verdict(run):
    texts = {"base": [[f"기준 답 {i}"] for i in range(4)], "m": [[f"모델 답 {i + 1}"] for i in range(4)]}
    fails = lambda number, body: refusal("안 돼요.") if judged(body) == ["기준 답 0", "모델 답 1"] else None  # noqa: E731
    with Server(choice_of(five), fails) as server:
        _, found, rows = run("ko_arena_hard", ARENA, texts, server, "--rescore_share", 0)
    assert found["figures"]["arena"][0]["n"] == 3 and found["figures"]["win_rates"][0]["won"] == 3
    assert "against" not in rows[0]["answers"]["m"][0]


def test_a_reward_model_scores_every_turn_on_no_scale(run, tmp_path):
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    judge = ("--judge", f"reward_model:{reward}", "--judge_max_seq_len", 4096)
    _, found, _ = run("logickor", LOGICKOR, LOGICKOR_ANSWERS, None, *judge)
    assert "not_korean" not in found["figures"] and found["figures"]["turns"][0]["n"] == 2
    assert found["protocol"]["judge"]["en"].startswith("reward model")


def test_a_local_model_answers_and_judges(folders, tmp_path):
    folder = tmp_path / "roomy"
    shutil.copytree(folders["gpt_neox"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}), encoding="utf-8")
    words = ["--benchmark", "logickor", "--data_path", write(tmp_path / "questions.jsonl", LOGICKOR)]
    words += ["--responder", f"m={folder}", "--judge", f"checkpoint:{folder}", "--max_new_tokens", "8"]
    assert not eval_harness.load("chat_benchmark").main([*words, "--output_dir", str(tmp_path / "out")])
    found, rows = eval_harness.result(tmp_path / "out", "logickor")
    scores = [row["answers"]["m"][0]["score"] for row in rows]
    judged = [s for row, s in zip(rows, scores) if "language" not in row["answers"]["m"][0]]
    assert len(scores) == 4 and all(1 < s < 10 for s in judged)  # a random model's opinion, but an opinion
    assert found["protocol"]["scores by"]["en"] == "token probabilities: 4 answers"
    assert "not measured" in found["protocol"]["judge's noise"]["en"]
    assert any("is the same model as the responder" in w["en"] for w in found["warnings"])


@pytest.mark.parametrize(
    "text, korean",
    [
        ("정답은 12입니다.", True),
        ("답은 $x^2 + 4x$이고 `multiprocessing`을 씁니다.", True),
        ("x = 4/3 (y - 2)", True),  # a formula is no language
        ("```python\nprint('hello world, this is code')\n```\n이렇게 하면 돼요.", True),
        ("Python의 threading은 GIL 때문에 CPU 작업을 나누지 못하지만 multiprocessing은 됩니다.", True),
        ("The answer is twelve, of course.", False),
        ("答えは十二です。よろしくお願いします。", False),
        ("Sure! 네. Here is the long answer in English that you wanted.", False),
    ],
)
def test_what_is_korean(text, korean):
    assert chat_benchmark.in_korean(text) is korean


@pytest.mark.parametrize(
    "name, row, message",
    [
        (
            "logickor",
            {"id": 3, "category": "글쓰기"},
            "questions.jsonl:2: no turns; LogicKor has it in the column questions",
        ),
        (
            "logickor",
            {"id": 3, "category": "글쓰기", "questions": ["하나뿐"]},
            ":2: questions has 1 turns; LogicKor has 2",
        ),
        (
            "logickor",
            {"id": 3, "category": "글", "questions": ["가", " "]},
            ":2: questions is .*expected texts, none of them",
        ),
        (
            "logickor",
            {"id": 3, "category": "글", "questions": ["가", "나"], "references": [1]},
            ":2: references is .*text or",
        ),
        ("logickor", {"id": 1, "category": "글", "questions": ["가", "나"]}, ":2: the id '1' is there twice"),
        ("ko_arena_hard", {"question_id": "a", "turns": ["가", "나"]}, ":2: turns has 2 turns; Ko-Arena-Hard has one"),
        ("m_arena_hard", {"question_id": "a", "prompt": ["가", 2]}, ":2: prompt is "),
    ],
)
def test_rows_that_are_not_of_the_published_form(run, name, row, message):
    first = {
        "logickor": LOGICKOR[0],
        "ko_arena_hard": ARENA[0],
        "m_arena_hard": {"question_id": "0", "category": "c", "cluster": "k", "prompt": "질문이에요"},
    }[name]
    with pytest.raises(InputError, match=message):
        run(name, [first, row], {"a": [["답"]], "b": [["답"]]}, None, "--judge", "openai:m")


def test_questions_from_the_hub(monkeypatch):
    """Of the configuration ko, whose only split is test."""
    asked = []

    def hub(name, *parts):
        asked.append(parts)
        return {"test": [{"question_id": "a1", "category": "c", "cluster": "k", "prompt": "질문이에요 "}]}

    monkeypatch.setattr(load, "hub_splits", hub)
    (question,) = chat_questions.read_questions(chat_questions.BENCHMARKS["m_arena_hard"])
    assert asked == [("CohereLabs/m-ArenaHard", "ko", None)]
    assert (question["id"], question["category"], question["turns"]) == ("a1", "all", ["질문이에요"])


def test_other_questions_have_another_sha256(run, tmp_path):
    """A reference that changed is another question; the order of the columns and the file's name are not."""

    def sha256(rows):
        file = write(tmp_path / "q.jsonl", rows)
        return chat_questions.sha256(chat_questions.read_questions(chat_questions.BENCHMARKS["logickor"], file))

    told = sha256(LOGICKOR)
    turned = [dict(reversed(row.items())) for row in LOGICKOR]
    assert sha256(turned) == told and re.fullmatch("[0-9a-f]{64}", told)
    changed = [{**LOGICKOR[0], "references": ["정답은 다섯", None]}, LOGICKOR[1]]
    assert len({told, sha256(changed), sha256(LOGICKOR[:1])}) == 3
    with Server(points()) as server:
        _, found, _ = run("logickor", LOGICKOR, LOGICKOR_ANSWERS, server, "--rescore_share", 0)
    assert found["protocol"]["questions"] == f"sha256 {told[:12]}"


@pytest.mark.parametrize(
    "lines, message",
    [
        ([{"id": 1, "outputs": ["가", "나"]}], "a.jsonl: 0 of 2 answers to the question 2"),
        (
            [{"id": 1, "outputs": ["가"]}, {"id": 2, "outputs": ["가", "나"]}],
            "a.jsonl: 1 of 2 answers to the question 1",
        ),
        (
            [{"id": 1, "text": "가"}],
            "a.jsonl:1: expected id and one of choices, outputs, answers, output; found id, text",
        ),
        (
            [{"id": 1, "outputs": ["가", "나"]}, {"id": "1", "outputs": ["다", "라"]}],
            "a.jsonl:2: the question 1 is answered there twice; keep one",
        ),
        ([{"id": 1, "choices": [{"index": 0}]}], "a.jsonl:1: choices.0.turns is 'None'; expected a list"),
        ([{"id": 1, "outputs": [1, 2]}], r"a.jsonl:1: outputs is '\[1, 2\]'; expected a text for each turn"),
    ],
)
def test_files_of_answers_that_cannot_be_used(tmp_path, lines, message):
    data, file = write(tmp_path / "questions.jsonl", LOGICKOR), write(tmp_path / "a.jsonl", lines)
    words = ["--benchmark", "logickor", "--data_path", data, "--responder", file, "--judge", "openai:m"]
    with pytest.raises(InputError, match=message):
        eval_harness.load("chat_benchmark").main(
            [*words, "--base_url", "http://127.0.0.1:9/v1", "--output_dir", str(tmp_path)]
        )


def test_answers_as_mt_bench_and_arena_hard_write_them(tmp_path):
    rows = [
        {"question_id": "q0", "choices": [{"index": 0, "turns": [{"content": "답이에요", "token_len": 3}]}]},
        {"question_id": "q1", "choices": [{"index": 0, "turns": ["둘째 답이에요 "]}]},
    ]
    file = Responder("a", write(tmp_path / "a.jsonl", rows), "file")
    questions = [{"id": "q1", "turns": ["가"]}, {"id": "q0", "turns": ["나"]}]
    found = chat_questions.read_answers(file, questions, "question_id")
    assert [[reply.text for reply in one] for one in found] == [["둘째 답이에요"], ["답이에요"]]


def test_a_conversation_by_the_criteria_that_hold_for_it(run, monkeypatch):
    """An entry of the kind conversation: the judge reads all turns at once, and what is shown to it alone."""
    whole = chat_questions.Benchmark(
        name="whole",
        title="Whole",
        data="nowhere/whole",
        columns={"id": "id", "category": "topic", "turns": "turns"},
        shown={"notice": "알아차릴 점"},
        criteria="criteria",
        kind="conversation",
        rubric="assistant",
        license="Apache-2.0",
    )
    read_rubric = chat_questions.Benchmark.read_rubric
    monkeypatch.setattr(
        chat_questions.Benchmark, "read_rubric", lambda self: chat_questions.replace(read_rubric(self), whole=True)
    )
    monkeypatch.setitem(chat_questions.BENCHMARKS, "whole", whole)
    rows = [
        {
            "id": "a",
            "topic": "가족",
            "turns": ["하나", "둘", "셋"],
            "notice": "지쳤다",
            "criteria": ["follows", "korean"],
        },
        {"id": "b", "topic": "날씨", "turns": ["하나", "둘", "셋"], "notice": "신났다", "criteria": ["follows"]},
    ]

    def judge(body):
        return fill(body, [[3, 5, 5, 5, 5, 5]])  # in the order of the criteria that are asked for

    texts = {"m": [["답 하나", "답 둘", "답 셋"], ["답 하나", "답 둘", "답 셋"]]}
    with Server(judge) as server:
        _, found, shown = run("whole", rows, texts, server, "--rescore_share", 0, "--judge_samples", 1)
    assert means(found)["m", "가족"] == 4.0 and means(found)["m", "날씨"] == 3.0
    assert {(f["criterion"], f["mean"], f["n"]) for f in found["figures"]["criteria"] if f["n"]} == {
        ("follows", 3.0, 2),
        ("korean", 5.0, 1),
    }
    texts = [request["messages"][-1]["content"] for request in server.requests]  # in any order
    asked = next(text for text in texts if "[알아차릴 점] 신났다" in text)
    assert "처음부터 끝까지 모두 아울러" in asked and "채점할 답변" not in asked
    assert asked.count("[챗봇 ") == 3
    assert "score" not in shown[0]["answers"]["m"][0] and shown[2]["answers"]["m"][0]["score"] == 4.0
