"""Conversation templates: one Jinja string each, saved inside the model's tokenizer.

A template is what transformers calls a chat template, so a model trained here is written out the same way by training,
evaluation, the chat, `transformers serve` and vLLM: the string travels in the model folder. `pieces` cuts a rendered
conversation into markup, user text and answers, which lets the tokenizer read special tokens in the markup alone:
what a user types can never become a control token.

Source of the KULLM wording: the public prompt constants of nlpai-lab/kullm; a checkpoint trained with it needs it to
the letter.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

# In both templates an answer is followed by EOS at once: EOS is the trained end of an answer. Both cues end in a line
# break: a blank there would be joined to the answer's first word by a server that tokenises the whole conversation as
# one text.
_SYSTEM = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% else %}{% set system = '' %}{% endif %}{{ bos }}"
)
_TURNS = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{% if not loop.first and messages[loop.index0 - 1].role == 'assistant' %}{{ '\\n\\n' }}{% endif %}"
    "{{ 'USER' + m.content }}{% if m.input %}{{ 'INPUT' + m.input }}{% endif %}{{ 'CUE' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)


def _turns(user, context, cue):
    return _TURNS.replace("USER", user).replace("INPUT", context).replace("CUE", cue)


KULLM = (
    _SYSTEM
    + "{% if system %}{{ system }}\n\n{% elif messages[0].input %}{{ '"
    + "아래는 작업을 설명하는 명령어와 추가 컨텍스트를 제공하는 입력이 짝을 이루는 예제입니다. "
    + "요청을 적절히 완료하는 응답을 작성하세요.\\n\\n' }}{% else %}{{ '"
    + "아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.\\n\\n' }}{% endif %}"
    + _turns("### 명령어:\\n", "\\n\\n### 입력:\\n", "\\n\\n### 응답:\\n")
)
HUMAN_ASSISTANT = (
    _SYSTEM + "{% if system %}{{ system + '\\n\\n' }}{% endif %}" + _turns("Human: ", "\\n", "\\n\\nAssistant:\\n")
)
TEMPLATES = {"kullm": KULLM, "human_assistant": HUMAN_ASSISTANT}


def template_source(name: str, adds_bos: bool) -> str:
    """The Jinja string of template `name`; `adds_bos`: whether this tokenizer begins every text with BOS."""
    return TEMPLATES[name].replace("{{ bos }}", "{{ bos_token }}" if adds_bos else "")


def template_name(source: str) -> str:
    """Which of TEMPLATES a Jinja string is, or ""."""
    ours = {template_source(name, adds_bos).strip(): name for name in TEMPLATES for adds_bos in (True, False)}
    return ours.get(source.strip(), "")


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered conversation. `markup` is ours, `user` is untrusted (with the blanks before it), `answer`
    is what is
    trained."""

    kind: Literal["markup", "user", "answer"]
    text: str


def _sentinel(i):
    return f"\ue000{i}\ue001"  # private-use characters, which no template touches and no Korean text holds


def pieces(render: Callable[[list[dict], bool], str], messages: Iterable[dict[str, str]]) -> list[Piece]:
    """Cut the rendering of `messages`, up to and including the cue of the next answer, into Pieces.

    render: function(messages, add_generation_prompt) -> text, e.g. a tokenizer's apply_chat_template.
    messages: ends with a user message; the answer to it is not part of this.
    Raises ValueError if the template drops or changes a message.
    """
    texts, masked = [], []
    for m in messages:
        copy = dict(m)
        for key in ("content", "input"):
            if m.get(key):
                copy[key] = _sentinel(len(texts))
                texts.append((m["role"], m[key]))
        masked.append(copy)
    whole = render(masked, True)
    out = []
    for i, (role, text) in enumerate(texts):
        before, found, whole = whole.partition(_sentinel(i))
        if not found:
            raise ValueError(f"the chat template leaves out or changes the {role} message {text[:40]!r}")
        if role == "assistant":
            out += [Piece("markup", before), Piece("answer", text)]
        else:
            # Tokenizers join a blank to the word behind it: "Human: " and "안녕" are other tokens than the "Human:
            # 안녕" of a server.
            edge = len(before.rstrip(" "))
            out += [Piece("markup", before[:edge]), Piece("user", before[edge:] + text)]
    return [p for p in out + [Piece("markup", whole)] if p.text]
