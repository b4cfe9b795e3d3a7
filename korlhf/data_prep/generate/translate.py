"""English records -> Korean ones, whole or not at all. The program is data_prep/translate.py.

Texts of a record are named by their place, a tuple of keys, e.g. ("messages", 0, "content").
"""

import re

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.example import bare_answer
from korlhf.data.fields import replaced
from korlhf.data_prep.generate.common import PROMPTS, request
from korlhf.data_prep.generate.translation import fault, hangul_share, needs_translation, unframed
from korlhf.llm.client import Failure

ANSWERS = ("output", "chosen", "rejected")
# Splits a text: what was said at even places, markers at odd ones.
MARKER = re.compile(r"((?:\A|\n)\s*(?:Human|Assistant):\s*)")


def places(record):
    """Where a record has text."""
    talk = [("messages", i, "content") for i in range(len(record.get("messages", ())))] or [("prompt",)]
    answers = [("answers", i) for i in range(len(record.get("answers", ())))]
    candidates = [("candidates", i, "text") for i in range(len(record.get("candidates", ())))]
    return [*talk, *((k,) for k in ("input", *ANSWERS) if k in record), *answers, *candidates]


def text_at(record, place):
    for key in place:
        record = record[key]
    return record


def read_records(paths):
    """All records, answers without "Assistant:" before them. Raises InputError with file and line for others."""
    found = []
    for where, record in records.read(paths):
        try:
            answers = [place for place in places(record) if place[0] not in ("prompt", "messages", "input")]
            record = replaced(record, {place: bare_answer(text_at(record, place), place[0]) for place in answers})
        except (ValueError, TypeError, LookupError) as error:
            expected = 'answers must be a list of texts, candidates one of {"text": ...}'
            raise InputError(f"{where}: an answer is no text: {error}; {expected}") from error
        if "rejected" in record and "chosen" not in record:
            raise InputError(f"{where}: rejected without chosen; give both, or delete it")
        found.append(record)
    return found


def not_english(record):
    """Why a record is left out: its language, or that its prompt is Korean already; "" if it is to be translated."""
    if record.get("language", "en") != "en":
        return f"not English: language {record['language']}"
    return "not English: Korean already" if hangul_share(records.prompt(record)) > 0.5 else ""


def sources(record):
    """The texts of a record that have to be translated, each once."""
    found = (part.strip() for place in places(record) for part in MARKER.split(text_at(record, place))[::2])
    return list(dict.fromkeys(part for part in found if needs_translation(part)))


class Translator:
    """Translates texts, and finishes the records that they are of. args: flags of the program; out: the Stage."""

    def __init__(self, args, model, client, out):
        self.args, self.model, self.client, self.out = args, model, client, out
        self.found = {}  # text -> (translation, None) or (what came instead, Failure)

    def translate(self, texts):
        """Ask for all texts; those that fail a check are asked for again."""
        waiting = list(dict.fromkeys(texts))
        for attempt in range(self.args.attempts):
            if not waiting:
                break
            asked = [self.request(text, attempt) for text in waiting]
            replies = self.client.ask(asked, desc=f"translating, attempt {attempt + 1}")
            self.found.update((text, self.read(text, reply)) for text, (reply, _) in zip(waiting, replies))
            waiting = [t for t in waiting if self.found[t][1] and self.found[t][1].kind == "unusable"]
        self.out.count("texts", len(self.found))
        self.out.count("texts translated", sum(failure is None for _, failure in self.found.values()))

    def request(self, text, attempt):
        """The request for a text; the tag around it does not occur in it."""
        tag = "원문"
        while f"<{tag}>" in text or f"</{tag}>" in text:
            tag += "_"
        system, user = PROMPTS["translate"].format(tag=tag), f"<{tag}>\n{text}\n</{tag}>"
        return request(self.args, self.model, system, user, self.args.seed + attempt)

    def read(self, source, reply):
        """(translation, None) or (what came instead, the Failure)."""
        if isinstance(reply, Failure):
            return "", reply
        text = unframed(source, reply.text)
        reason = "cut off" if reply.finish_reason == "length" else fault(self.args, source, text)
        return text, Failure("unusable", reason) if reason else None

    def finish(self, record):
        """Write one record in Korean, or note why not."""
        bad = [(text, *self.found[text]) for text in sources(record) if self.found[text][1]]
        failed = [failure for _, _, failure in bad if failure.kind not in ("unusable", "refusal")]
        if failed:
            return self.out.fail(record, failed[0].reason, failed[0].kind)
        if bad:
            text, instead, failure = bad[0]
            reason = "refusal" if failure.kind == "refusal" else failure.reason.split(":")[0]
            shown = {"id": record["id"], "source": text, "translation": instead, "reason": failure.reason}
            return self.out.drop(reason, shown)
        done = without_doubles(self.korean(record), self.out)
        return self.out.drop("the answers became identical", record) if done is None else self.out.write(done)

    def korean(self, record):
        """The translated record, its English texts under `original`."""
        original = {k: record[k] for k in ("id", "prompt", "messages", "input", *ANSWERS, "answers") if k in record}
        if "candidates" in record:
            original["candidates"] = [c["text"] for c in record["candidates"]]
        texts = {}
        for place in places(record):
            parts = MARKER.split(text_at(record, place))
            parts[::2] = [self.found[p.strip()][0] if needs_translation(p) else p for p in parts[::2]]
            texts[place] = "".join(parts)
        new = replaced(record, texts)
        new = {**records.step(new, "translate", model=self.model), "language": "ko", "original": original}
        return {**new, "id": records.record_id(records.messages(new))}


def without_doubles(record, out):
    """The record without answers that became identical, or None if nothing is left to tell apart."""
    if "rejected" in record and record["chosen"].split() == record["rejected"].split():
        return None
    if "answers" in record:
        record = {**record, "answers": list(dict.fromkeys(record["answers"]))}
        if len(record["answers"]) < min(2, len(record["original"]["answers"])):
            return None
    if "candidates" in record:
        texts = [c["text"] for c in record["candidates"]]
        kept = [c for i, c in enumerate(record["candidates"]) if c["text"] not in texts[:i]]
        out.count("candidates that became identical, kept once", len(record["candidates"]) - len(kept))
        record = {**record, "candidates": kept}
    return record
