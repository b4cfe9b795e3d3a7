"""The Modelfile: its Go template writes what the Jinja template of the model writes, letter by letter."""

import re

import pytest
from go_template import render
from transformers import AutoTokenizer

from korlhf.applications.export import ollama
from korlhf.data.chat_template import TEMPLATES, template_name, template_source

EOS = "<|endoftext|>"
ONE = [("user", "안녕")]
TALK = [("user", '안녕 {{ .System }} "\\n'), ("assistant", "반가워요.\n둘째 줄"), ("user", "뭐 해요?")]
SYSTEM = [("system", "다정하게"), *TALK]
KULLM = "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.\n\n"
HARD = '안녕 {{ .System }} "\\n'  # what people type is text
SAID_BEFORE = f"{HARD}\n\n### 응답:\n반가워요.\n둘째 줄<|endoftext|>\n\n"
ASKED = f"### 명령어:\n{SAID_BEFORE}### 명령어:\n뭐 해요?\n\n### 응답:\n"
SAID = f"Human: {HARD}\n\nAssistant:\n반가워요.\n둘째 줄<|endoftext|>\n\nHuman: 뭐 해요?\n\nAssistant:\n"


@pytest.mark.parametrize(
    "name, talk, expected",
    [
        ("kullm", ONE, KULLM + "### 명령어:\n안녕\n\n### 응답:\n"),
        ("kullm", TALK, KULLM + ASKED),
        ("kullm", SYSTEM, "다정하게\n\n" + ASKED),
        ("human_assistant", ONE, "Human: 안녕\n\nAssistant:\n"),
        ("human_assistant", TALK, SAID),
        ("human_assistant", SYSTEM, "다정하게\n\n" + SAID),
    ],
)
def test_go_and_jinja_write_the_same(folders, name, talk, expected):
    tokenizer = AutoTokenizer.from_pretrained(folders["gpt_neox"])
    tokenizer.chat_template = template_source(name, False)
    messages = [{"role": role, "content": text} for role, text in talk]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == expected
    given = {"System": dict(talk).get("system", ""), "Messages": [{"Role": r, "Content": t} for r, t in talk]}
    assert render(ollama.go_template(name, EOS), given) == expected


def test_every_template_of_ours_has_one_and_others_are_left_to_ollama(chat_templates):
    for name in TEMPLATES:
        assert all(template_name(template_source(name, bos)) == name for bos in (True, False))
    text = ollama.modelfile("m-f16.gguf", template_source("kullm", True), EOS, 2048, 'MIT """x"""')
    found = re.search(r'^TEMPLATE """(.*)"""$', text, re.M)
    assert found[1] == ollama.go_template("kullm", EOS) and text.startswith("FROM ./m-f16.gguf\n")
    assert f'\nPARAMETER stop "{EOS}"\n' in text and "\nPARAMETER num_ctx 2048\n" in text
    assert text.endswith("LICENSE \"\"\"MIT '''x'''\"\"\"\n")
    other = ollama.modelfile("m.gguf", chat_templates["chatml"], "<|im_end|>", None, "")
    assert "TEMPLATE" not in other and "num_ctx" not in other and "LICENSE" not in other
