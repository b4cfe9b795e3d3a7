"""Records and the replies of responders -> records with answers. The program is data_prep/respond.py."""

import hashlib
from dataclasses import asdict

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.llm.client import Failure
from korlhf.llm.responders import read_system, with_system


def read_records(paths):
    """All records. Raises InputError for candidates of another form than respond.py writes."""
    found = list(records.read(paths))
    for place, record in found:
        records.candidates(place, record)
    return [record for _, record in found]


def read_systems(system, by_category, categories):
    """{category: system message} for every category of the input.

    system: --system; by_category: --system_by_category. Raises InputError for a category that the input does not have.
    """
    systems = dict.fromkeys(categories, read_system(system, "--system") if system else "")
    for pair in by_category:
        category, equals, file = pair.partition("=")
        if not equals or not file:
            raise InputError(f"--system_by_category {pair}: write CATEGORY=FILE")
        if category not in systems:
            raise InputError(
                f"--system_by_category {pair}: no record has the category {category!r}; "
                f"the input has {', '.join(sorted(systems))}"
            )
        systems[category] = read_system(file, "--system_by_category")
    return systems


class Answers:
    """How answers become columns of the records they answer.

    responders: names in order; as_output: the one answer of the one responder becomes `output`; sampling: a Sampling.
    """

    def __init__(self, responders, as_output, sampling, systems):
        self.responders, self.as_output, self.sampling, self.systems = responders, as_output, sampling, systems

    def left_alone(self, record):
        """Whether the record has its answer: --as_output does not overwrite an output."""
        return self.as_output and bool(record.get("output"))

    def messages(self, record):
        """The conversation that a responder is given."""
        return with_system(records.messages(record), self.systems[record["category"]])

    def write(self, found, replies, out):
        """Write every record with its answers.

        found: all records; replies: {responder's name: [[Reply or Failure], ...]} of those that are not left alone.
        """
        rows = iter(zip(*(replies[r.name] for r in self.responders)))
        for record in found:
            if self.left_alone(record):
                out.count("records that had an output already, left as they are")
                out.write(record)
            elif (done := self._answered(record, next(rows), out)) is None:
                out.count("records without an answer, left out")
            else:
                out.write(done)

    def _answered(self, record, replies, out):
        """The record with its answers, or None if it has none. replies: a list per responder."""
        candidates = list(record.get("candidates", []))
        seen = {c["text"] for c in candidates}
        system = system_sha(self.messages(record))
        for responder, of_one in zip(self.responders, replies):
            name = responder.name
            settings = {"model": responder.model, **asdict(self.sampling), "system": system}
            for sample, reply in enumerate(of_one):
                text, kind, reason = read_reply(reply, self.as_output)
                if not text:
                    out.fail(record, reason, kind, responder=name, sample=sample)
                    continue
                out.count(f"answers of {name}")
                if self.as_output:
                    return {**records.step(record, "respond", model=name, settings=settings), "output": text}
                if reply.finish_reason == "length":
                    out.count(f"answers of {name} cut off at --max_new_tokens")
                if text in seen:
                    out.count("answers that the prompt had already, kept once")
                    continue
                seen.add(text)
                more = {"settings": settings, "finish_reason": reply.finish_reason}
                candidates.append({"text": text, "model": name, **more})
        if self.as_output or not candidates:
            return None
        models = [r.name for r in self.responders]
        return {**records.step(record, "respond", models=models), "candidates": candidates}


def system_sha(messages):
    """16 hex digits of the system message, "" without one."""
    if messages[0]["role"] != "system":
        return ""
    return hashlib.sha256(messages[0]["content"].encode("utf-8")).hexdigest()[:16]


def read_reply(reply, as_output):
    """(text, "", "") of a usable reply, else ("", kind, reason)."""
    if isinstance(reply, Failure):
        return "", reply.kind, reply.reason
    if not (text := reply.text.strip()):
        return "", "empty", "the answer is empty"
    if as_output and reply.finish_reason == "length":
        return "", "cut off", "the answer was cut off; raise --max_new_tokens"
    return text, "", ""
