"""The written form of a conversation, to the letter."""

import pytest

from korlhf.data import chat_template as templates
from korlhf.models.tokenizer import load_tokenizer


@pytest.fixture
def render(folders):
    def make(name):
        tokenizer = load_tokenizer(folders["llama"], name)
        return lambda messages, cue=True: tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=cue
        )

    return make


def test_kullm_with_input(render):
    assert render("kullm")([{"role": "user", "content": "요약하세요", "input": "긴 글"}]) == (
        "아래는 작업을 설명하는 명령어와 추가 컨텍스트를 제공하는 입력이 짝을 이루는 예제입니다. "
        "요청을 적절히 완료하는 응답을 작성하세요.\n\n"
        "### 명령어:\n요약하세요\n\n### 입력:\n긴 글\n\n### 응답:\n"
    )


def test_kullm_with_system_and_turns(render):
    talk = [
        {"role": "system", "content": "친절한 비서"},
        {"role": "user", "content": "안녕"},
        {"role": "assistant", "content": "반가워요"},
        {"role": "user", "content": "또"},
    ]
    assert (
        render("kullm")(talk)
        == "친절한 비서\n\n### 명령어:\n안녕\n\n### 응답:\n반가워요<|endoftext|>\n\n### 명령어:\n또\n\n### 응답:\n"
    )


def test_human_assistant(render):
    talk = [
        {"role": "user", "content": "안녕"},
        {"role": "assistant", "content": "반가워요"},
        {"role": "user", "content": "번역", "input": "cat"},
    ]
    assert (
        render("human_assistant")(talk)
        == "Human: 안녕\n\nAssistant:\n반가워요<|endoftext|>\n\nHuman: 번역\ncat\n\nAssistant:\n"
    )


@pytest.mark.parametrize("name, blank", [("kullm", ""), ("human_assistant", " ")])
def test_pieces_join_to_the_rendering(render, name, blank):
    """What a user says comes with the blank before it, which tokenizers join to the word behind it."""
    talk = [
        {"role": "system", "content": "시스템"},
        {"role": "user", "content": "하나", "input": "둘"},
        {"role": "assistant", "content": "셋"},
        {"role": "user", "content": "넷"},
    ]
    parts = templates.pieces(render(name), talk)
    assert "".join(p.text for p in parts) == render(name)(talk)
    assert [(p.kind, p.text) for p in parts if p.kind != "markup"] == [
        ("user", "시스템"),
        ("user", blank + "하나"),
        ("user", "둘"),
        ("answer", "셋"),
        ("user", blank + "넷"),
    ]


def test_pieces_refuses_a_template_that_drops_a_message():
    def last_only(messages, cue):
        return messages[-1]["content"] + ":"

    with pytest.raises(ValueError, match="leaves out or changes the system message '규칙'"):
        templates.pieces(last_only, [{"role": "system", "content": "규칙"}, {"role": "user", "content": "가"}])
