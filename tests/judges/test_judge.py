"""korlhf/judges/judge.py: the three kinds of --judge behind one interface."""

import pytest
import torch
from openai_server import Server, error
from rigged_judge import choice_of, form_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Codec
from korlhf.judges import choice as choices
from korlhf.judges import judge as judges
from korlhf.judges import rubric as rubrics
from korlhf.judges.flags import JudgingFlags
from korlhf.judges.form import Item
from korlhf.llm import client as llm
from korlhf.llm.cache import Cache
from korlhf.llm.client import Failure
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer

EVERYDAY = rubrics.load_rubric(rubrics.FOLDER / "everyday.yaml")
USER = [{"role": "user", "content": "오늘 너무 더워요."}]
QUESTION = choices.Question("심판", "어느 쪽이 좋은가요?", ("앞", "뒤"))


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


@pytest.fixture
def open_judge(tmp_path):
    """Function: --judge, flags of JudgingFlags -> the judge, on this test's one cache."""

    def make(name, base_url="", **given):
        return judges.open_judge(
            name,
            JudgingFlags(**given),
            SamplerFlags(prompt_template="human_assistant", dtype="fp32"),
            LlmFlags(base_url=base_url),
            Cache(tmp_path / "cache.sqlite"),
        )

    return make


def test_names():
    url = "http://127.0.0.1:8000/v1"
    assert judges.read_name(f"openai:org/model:free@{url}") == ("openai", "org/model:free", url)
    assert judges.read_name("openai:gpt-4o")[2] == "" and judges.read_name("reward_model:a:b")[1] == "a:b"
    assert not judges.read_name("checkpoint:~/judge")[1].startswith("~")
    for text in ("gpt-4o", "openai:", "human:me", ""):
        with pytest.raises(InputError, match="--judge .*give openai:MODEL.*checkpoint:FOLDER.*reward_model:FOLDER"):
            judges.read_name(text)


def test_a_server_scores_and_scores_again_with_forms_of_their_own(open_judge):
    """The n-th form that the server fills in says n, from 0 on: the form that shows what it takes."""
    count = iter(range(6))
    with Server(
        form_of(lambda answer, place: next(count)), lambda n, body: error(400) if "logprobs" in body else None
    ) as server:
        judge = open_judge(
            f"openai:test-model@{server.url}", judge_samples=2, structured="off", base_url="http://127.0.0.1:9/v1"
        )
        items = [Item(EVERYDAY, USER, ("답",))]
        ((first,),) = judge.rate(items)
        asked = len(server.requests)
        assert judge.rate(items) == [[first]] and len(server.requests) == asked  # from the cache
        ((again,),) = judge.rate(items, again=True)
        assert (first.score, again.score) == (1.5, 3.5) and again.samples == 2 and len(server.requests) == asked + 2
        assert judge.rate(items, again=True) == [[again]] and len(server.requests) == asked + 2
    assert (judge.kind, judge.name, judge.repeats, judge.fingerprint, judge.warnings()) == (
        "openai",
        "test-model",
        False,
        "",
        [],
    )
    assert judge.protocol()["en"] == f"test-model at {server.url} (mean of 2 sampled forms; structured output off)"
    assert "채점표 2장의 평균" in judge.protocol()["ko"] and "one greedy choice" in judge.protocol(choosing=True)["en"]
    assert judge.client.usage["requests"] == len(server.requests) and judge.rate([]) == []


def test_a_server_of_base_url_chooses(open_judge):
    with Server(choice_of(lambda *answers: "B", share=0.75)) as server:
        judge = open_judge("openai:test-model", base_url=server.url)
        (choice,), other = judge.choose([QUESTION]), judge.choose([QUESTION])
    assert choice.probabilities == pytest.approx((0.0, 1.0)) and other == [
        choice
    ]  # the rest was C's, which is no option here
    assert (
        judge.protocol(choosing=True)["en"]
        == f"test-model at {server.url} (asked for token probabilities; structured output on)"
    )


def test_a_checkpoint_judges_in_the_template_of_its_own_folder(open_judge, folders):
    judge = open_judge(f"checkpoint:{folders['llama']}")
    assert (judge.kind, judge.name, judge.repeats, len(judge.fingerprint)) == ("checkpoint", "llama", True, 64)
    assert "### 명령어" in judge.checkpoint.codec.tokenizer.chat_template
    ((failed,),) = judge.rate([Item(EVERYDAY, USER, ("답",))])
    assert isinstance(failed, Failure) and "128 positions" in failed.reason  # the form is longer than this model takes
    assert (
        "each criterion asked for by itself" in judge.protocol()["en"]
        and "criterion" not in judge.protocol(choosing=True)["en"]
    )
    with pytest.raises(InputError, match="--judge .*no such folder"):
        open_judge("checkpoint:/없는 곳")


def test_a_reward_model_scores_without_a_rubric_and_answers_no_questions(open_judge, folders, tmp_path):
    folder, tokenizer = tmp_path / "보상 모델", load_tokenizer(folders["qwen2"])
    torch.manual_seed(5)
    model = reward_model.load_reward_model(folders["qwen2"], new_head=True)
    reward_model.set_padding(model, tokenizer, Codec(tokenizer).eos_token_id)
    save.save_model(model, model.state_dict(), tokenizer, folder, folders["qwen2"])
    judge = open_judge(f"reward_model:{folder}", judge_max_seq_len=256)
    ((short, long),) = judge.rate([Item(None, USER, ("네, 덥네요.", "물 드세요. " * 50))])

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    text = tokenizer.apply_chat_template(USER, tokenize=False, add_generation_prompt=True)
    ids = [
        i
        for piece in (*text.partition(USER[0]["content"]), "네, 덥네요.")
        for i in tokenizer(piece, add_special_tokens=False).input_ids
    ]
    with torch.no_grad():
        by_hand = float(model(torch.tensor([[*ids, tokenizer.eos_token_id]])).logits[0, 0])
    assert (short.score, short.scores, short.method) == (pytest.approx(by_hand, abs=1e-4), {}, "reward model")
    assert (
        isinstance(long, Failure) and long.kind == "too long" and long.reason.endswith("raise --judge_max_seq_len 256")
    )
    assert (judge.kind, judge.name, judge.path, judge.repeats) == ("reward_model", "보상 모델", str(folder), True)
    with pytest.raises(InputError, match="a reward model answers no questions; give openai:MODEL"):
        judge.choose([QUESTION])
    assert "no rubric is read" in judge.protocol()["en"]
    with pytest.raises(InputError, match="--judge .*not a reward model"):
        open_judge(f"reward_model:{folders['qwen2']}")
