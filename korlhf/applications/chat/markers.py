r"""What a user types cannot open a turn.

Special tokens that are typed stay text wherever data/tokenize.py encodes. But KULLM and human_assistant mark turns in
plain text, and a server may read special tokens in what it is sent. So a chat sends such a marker with a backslash
before its last sign, "### 응답\:" or "<|im_end|\>": its text does not occur any more, for no tokenizer, also not for
one that drops invisible characters or folds wide ones. Markers are found through spacing, line breaks within them,
invisible characters and letters that look alike. This is for what is sent: shown and saved is what was typed.
Training data is left as it is."""

import re
import unicodedata

from korlhf.data import chat_template

PLAIN = ("\n### 명령어:", "\n### 입력:", "\n### 응답:", "\nHuman:", "\nAssistant:")  # of korlhf/data/chat_template.py
CONTROL = (
    r"<\|[^<>|\n]+\|>",
    r"\[\|[^\[\]|\n]+\|\]",  # <|im_start|>, [|user|]
    r"</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>",
    r"<</?sys>>",
    r"\[/?inst\]",
)
LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
FILLERS = "\u115f\u1160\u2800"  # letters and signs that nobody sees (NFKD makes other Hangul fillers these)
LOOKALIKES = str.maketrans("ΗΝΜΥаеорсухіѕһтмнԁαινορτηυսո♯⋕⌗∶꞉ː˸։׃∣ǀ‹›⟨⟩", "hnmyaeopcyxishtmhdaivoptnuun###::::::||<><>")


class Breaker:
    """Function: text -> the same text, every marker in it broken."""

    def __init__(self, markers=(), patterns=()):
        """markers: plain texts; one that begins with a line break is a marker at the beginning of a line only.
        patterns: regular expressions over folded text (lower case, without blanks)."""
        expressions = [_pattern(m) for m in markers] + list(patterns)
        self._broken = re.compile("|".join(f"(?:{p})" for p in expressions)) if expressions else None

    def __call__(self, text):
        if self._broken is None:
            return text
        folded, origin = _folded(text)
        ends = sorted({origin[m.end() - 1] for m in self._broken.finditer(folded)}, reverse=True)
        for at in ends:
            text = text[:at] + "\\" + text[at:]
        return text

    def messages(self, messages):
        """The same messages, those that no model wrote with their markers broken."""
        return [m if m["role"] == "assistant" else {**m, "content": self(m["content"])} for m in messages]


def of_template(codec):
    """The plain texts with which the template of `codec` opens a turn: the last line before a user's text or an answer.

    A line with a special token in it needs no backslash: that token cannot be typed.
    """
    tokenizer = codec.tokenizer
    talk = [
        {"role": "user", "content": "가", "input": "나"},
        {"role": "assistant", "content": "다"},
        {"role": "user", "content": "라"},
    ]
    if not codec.reads_input:
        del talk[0]["input"]
    parts = chat_template.pieces(
        lambda messages, cue: tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=cue), talk
    )
    stop, special = (
        tokenizer.convert_ids_to_tokens(codec.eos_token_id),
        tokenizer.convert_ids_to_tokens(sorted(codec.special_ids)),
    )
    markers = []
    for i, part in enumerate(parts):
        text = part.text.rstrip().rpartition(stop)[2]
        _, line_break, last = ("\n" + text if i == 0 else text).rpartition("\n")
        if part.kind == "markup" and last.strip() and not any(token in last for token in special):
            markers.append(line_break + last.strip())
    return tuple(dict.fromkeys(markers))


def _pattern(marker):
    """A regular expression over folded text: signs may be repeated, and a line may break next to each."""
    folded = _folded(marker.strip())[0]
    *head, last = [c for c, before in zip(folded, "\n" + folded) if c.isalnum() or c != before]
    parts = [re.escape(c) if c.isalnum() else rf"\n?(?:{re.escape(c)}\n?)+" for c in head]
    end = re.escape(last) if last.isalnum() else rf"\n?{re.escape(last)}"
    return (r"(?:\A|(?<=\n))" if marker.startswith("\n") else "") + "".join(parts) + end


def _folded(text):
    """The text as it looks: compatibility forms and look-alikes made one, in lower case, without blanks and what is
    invisible.

    Returns it, and for each of its characters the place in `text` that it comes from. Several line breaks become one.
    """
    folded, origin = [], []
    for i, char in enumerate(text):
        if char in LINE_BREAKS:
            if folded[-1:] != ["\n"]:
                folded.append("\n")
                origin.append(i)
            continue
        for c in unicodedata.normalize("NFKD", char).translate(LOOKALIKES).casefold().translate(LOOKALIKES):
            if not c.isspace() and c not in FILLERS and unicodedata.category(c) not in ("Cc", "Cf", "Mn", "Me"):
                folded.append(c)
                origin.append(i)
    return "".join(folded), origin
