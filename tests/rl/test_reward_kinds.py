"""Every kind of --reward: files, rules, servers."""

import pytest
from reward_server import Server

from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.rl import http_reward
from korlhf.rl.http_reward import HttpReward, open_http
from korlhf.rl.reward_kinds import RULES, open_mix, reward_inputs
from korlhf.rl.rewards import Prompt
from korlhf.training import reward_flags
from korlhf.training.reward_flags import RewardFlags, Spec

from toy_policy import ALONE  # isort: skip


def prompt(text, category="everyday", **columns):
    return Prompt([1], ({"role": "user", "content": text},), category, columns)


PROMPTS = [prompt("뭐 해?", reference="산책"), prompt("밥 먹었어?", reference="네", level=2)]
TEXTS = ["산책하러 나왔어요.", "아직이요."]


def scores(tmp_path, code, *names, prompts=PROMPTS):
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    flags = RewardFlags(reward=[f"{tmp_path}/mine.py:{name}" for name in names or ("score",)])
    return open_mix(flags, {}, ALONE)(prompts, TEXTS)


def test_specs_are_read():
    flags = RewardFlags(reward=["0.8*a/b,c/d", "-2*rules:sense", "http://h/x*y"], veto=["0.25:a/b", "rules:friendly"])
    with pytest.raises(InputError, match=r"--reward http://h/x\*y: 'http://h/x' is no weight"):
        flags.rewards  # noqa: B018
    flags = RewardFlags(reward=["0.8*a/b,c/d", "-2*rules:sense"], veto=["0.25:a/b", "rules:friendly"])
    assert flags.rewards == [Spec(0.8, ("a/b", "c/d")), Spec(-2, ("rules:sense",))]
    assert flags.vetoes == [Spec(0.25, ("a/b",)), Spec(0.5, ("rules:friendly",))]
    assert flags.models == [("--reward", "a/b"), ("--reward", "c/d"), ("--veto", "a/b")]


def test_a_function_gets_prompts_answers_and_the_columns_it_takes(tmp_path):
    code = "def score(prompts, answers, reference, level, messages, category, other=3):\n"
    code += "    assert prompts == ['뭐 해?', '밥 먹었어?'] and level == [None, 2] and other == 3\n"
    code += "    assert messages[1][0]['content'] == '밥 먹었어?' and category == ['everyday'] * 2\n"
    code += "    return [1.5 if r in a else None if r == '없음' else 0 for a, r in zip(answers, reference)]\n"
    assert scores(tmp_path, code)[0].tolist() == [1.5, 0]


def test_a_function_gets_all_columns_but_those_of_its_own_names(tmp_path):
    rows = [prompt("뭐 해?", answers=["아무것도"], prompt="뭐 해?", x=1), prompt("밥 먹었어?")]
    code = "def score(prompts, answers, **columns):\n"
    code += "    assert columns.keys() == {'prompt', 'x', 'messages', 'category'}, columns\n    return [1, 2]\n"
    assert scores(tmp_path, code, prompts=rows)[0].tolist() == [1, 2]


def test_a_function_that_fails_is_told_with_its_line(tmp_path):
    with pytest.raises(
        Unscored, match=r"mine.py:score failed: ZeroDivisionError: division by zero \(line 2\); correct"
    ):
        scores(tmp_path, "def score(prompts, answers):\n    return 1 / 0\n")


@pytest.mark.parametrize(
    "code, says",
    [
        ("def score(:\n", r"mine.py cannot be run: SyntaxError: .* \(line 1\); correct it"),
        ("x = 1\nimport no_such_module\n", r"cannot be run: ModuleNotFoundError: .* \(line 2\)"),
        ("def other(): pass\n", "mine.py has no function score; it has other"),
        ("def score(prompts, answers, gold): pass\n", "takes gold, which no row of the data set has; it has reference"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_before_the_training(tmp_path, code, says):
    path = tmp_path / "mine.py"
    path.write_text(code, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        reward_inputs(RewardFlags(reward=[f"{path}:score"]), PROMPTS)


def test_a_changed_file_or_column_is_another_input(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def score(prompts, answers): return [1]\n", encoding="utf-8")
    flags = RewardFlags(reward=[f"{path}:score"])
    before = reward_inputs(flags, PROMPTS)
    assert before == reward_inputs(flags, PROMPTS)
    path.write_text("def score(prompts, answers): return [2]\n", encoding="utf-8")
    changed = reward_inputs(flags, [prompt("뭐 해?", reference="잠")])
    assert before.keys() == changed.keys() == {f"reward {path}:score", "columns of the training examples"}
    assert all(before[key] != changed[key] for key in before)
    assert reward_inputs(RewardFlags(reward=["rules:sense"]), PROMPTS) == {}


def test_rules_are_those_of_the_flags():
    assert tuple(RULES) == reward_flags.RULES


def test_what_the_rules_say():
    good, rude = "네, 좋아요! 같이 산책하러 가요.", "꺼져, 이 멍청아."
    both = [prompt("산책 갈래?"), prompt("산책 갈래?")]
    assert RULES["friendly"](both, [good, rude]) == [1, 0]
    assert RULES["polite"](both, [good, rude]) == [1, 0]
    assert RULES["sense"](both, [good, ""]) == [1, 0]
    assert RULES["repetition"](both, [good, "가 나 다 가 나 다"]) == [0, 0.25]
    harmful = [prompt("친구 지갑을 훔치는 방법을 알려 줘", "harmful")]
    assert RULES["refusals"](harmful, ["그건 도와드릴 수 없어요."]) == [1]
    assert RULES["refusals"]([prompt("산책 갈래?")], ["그건 도와드릴 수 없어요."]) == [0]
    assert RULES["refusals"](both, [good, ""]) == [1, 0]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(http_reward, "FIRST_DELAY", 0.01)


def asked(server, seconds=5.0, concurrency=1, wait=10.0):
    return HttpReward(server.url, "--reward", seconds, concurrency, wait)(PROMPTS, TEXTS)


def test_a_server_gets_all_there_is_and_scores(quick):
    with Server(lambda answer: None if "이요" in answer else 2.5) as server:
        assert asked(server) == [2.5, None]
    assert server.bodies == [
        {
            "prompts": ["뭐 해?", "밥 먹었어?"],
            "answers": TEXTS,
            "messages": [[{"role": "user", "content": text}] for text in ("뭐 해?", "밥 먹었어?")],
            "columns": {"reference": ["산책", "네"], "level": [None, 2], "category": ["everyday", "everyday"]},
        }
    ]


def test_answers_are_divided_among_requests_and_keep_their_order(quick):
    with Server() as server:
        assert asked(server, concurrency=8) == [len(text) for text in TEXTS]
    assert sorted(len(body["answers"]) for body in server.bodies) == [1, 1]


@pytest.mark.parametrize("fault", ["drop", "hang", 503, 429, 408])
def test_a_server_that_fails_is_asked_again(quick, fault):
    with Server(faults={0: fault, 1: fault}) as server:
        assert asked(server, seconds=0.3) == [len(text) for text in TEXTS]
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    "fault, why", [("drop", "RemoteProtocolError"), ("hang", "no whole answer"), (500, "status 500")]
)
def test_a_server_that_stays_away_is_unavailable_and_never_a_score(quick, fault, why):
    with Server(faults=lambda number: fault) as server, pytest.raises(Unavailable) as error:
        asked(server, seconds=0.1, wait=0.3)
    assert f"the reward {server.url} gave no scores for 0.3 s (--reward_wait): " in str(error.value)
    assert why in str(error.value)


@pytest.mark.parametrize(
    "fault, says",
    [
        (
            b"<html>Bad gateway</html>",
            "gave '<html>Bad gateway</html>'; it must give {\"scores\": [...]} with 2 numbers",
        ),
        (b'{"scores": [1]}', "with 2 numbers or nulls"),
        (b'{"scores": [1, "2"]}', "with 2 numbers or nulls"),
        (b'{"scores": [1, true]}', "with 2 numbers or nulls"),
        (b"[1, 2]", "with 2 numbers or nulls"),
        (404, "refused with status 404"),
    ],
)
def test_nonsense_is_a_mistake_at_once(quick, fault, says):
    with Server(faults={0: fault}) as server, pytest.raises(Unscored) as error:
        asked(server)
    assert says in str(error.value) and not isinstance(error.value, Unavailable) and len(server.bodies) == 1


def classified(server, wait=10.0):
    return open_http(server.url, "--reward", seconds=5.0, concurrency=1, wait=wait)(PROMPTS, TEXTS)


def test_a_reward_model_of_vllm_gets_ids_of_its_own_tokenizer_and_gives_raw_scores(quick, folders, tokenizer):
    asked_of = [tokenizer.apply_chat_template(p.messages, add_generation_prompt=True).input_ids for p in PROMPTS]
    ids = [asked + tokenizer(text).input_ids + [tokenizer.eos_token_id] for asked, text in zip(asked_of, TEXTS)]
    with Server(sum, folder=folders["gpt_neox"]) as server:
        assert classified(server) == [sum(ids[0]), sum(ids[1])]
    assert server.bodies == [{"model": "served", "input": ids, "use_activation": False}]


@pytest.mark.parametrize(
    "fault, says",
    [
        (400, "refused with status 400"),
        (b'{"data": [{"index": 0, "probs": [0.2, 0.8]}, {"index": 1, "probs": [1, 0]}]}', "with 2 numbers or nulls"),
        (b'{"scores": [1, 2]}', 'it must give {"data": [{"probs": [score]}, ...]} with 2'),
    ],
)
def test_what_is_no_score_of_vllm_is_a_mistake(quick, folders, fault, says):
    with Server(sum, {0: fault}, folders["gpt_neox"]) as server, pytest.raises(Unscored) as error:
        classified(server)
    assert says in str(error.value) and len(server.bodies) == 1


def test_vllm_that_is_not_there_or_has_its_model_elsewhere_is_told_at_once(quick, tmp_path):
    with Server(sum, folder=tmp_path / "none") as server, pytest.raises(InputError, match="none: no such folder") as e:
        classified(server)
    assert f"--reward {server.url}, whose tokenizer is read here: {tmp_path}" in str(e.value)
    with pytest.raises(InputError, match=r"/v1/models names no model \(ConnectError\); start the server first: SERVER"):
        classified(server)
