"""Instructions, rewritten round by round by mutations. The program is data_prep/evol_instruct.py."""

import hashlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path

import yaml

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import rouge
from korlhf.data.example import RowError
from korlhf.data_prep.generate.common import Novelty, read_instructions, request
from korlhf.data_prep.generate.elimination import LEAST_FENCE, MUTATIONS, bare_reply, failed_evolution
from korlhf.llm.client import Failure

NEW_TOPIC = ("SWITCH_TOPIC",)  # the parent's topic is not the child's


@dataclass(frozen=True)
class Wording:
    """What mutations.yaml holds; mutations: name -> {"korean", "task"}; leaks: compiled."""

    system: str
    request: str
    topic: str
    mutations: dict
    leaks: list

    def messages(self, mutation, text, topic):
        """(system, user) messages that ask for `mutation` of an instruction; topic: text or None."""
        fence = "=" * LEAST_FENCE
        while fence in text:
            fence += "="
        line = self.topic.format(topic=topic) if topic else ""
        parts = {"name": mutation, **self.mutations[mutation], "topic": line, "fence": fence, "instruction": text}
        return self.system.strip(), self.request.format(**parts).strip()


def load_wording(path):
    """mutations.yaml -> Wording. Raises InputError that names the file and the key or line."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        found["leaks"] = [re.compile(p, re.MULTILINE) for p in found["leaks"]]
        wording = Wording(**found)
        for name in MUTATIONS:
            wording.messages(name, "말", "화제")
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML: {' '.join(str(error).split())}; correct it") from error
    except re.error as error:
        raise InputError(f"{path}: leaks: {error.pattern!r} is no regular expression: {error}; correct it") from error
    except KeyError as error:
        raise InputError(
            f"{path}: {error} is missing, or is no placeholder that the request may have; correct it"
        ) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: {error}; it needs {', '.join(f.name for f in fields(Wording))}") from error
    return wording


@dataclass
class Line:
    """One input record on its way through the rounds.

    texts: of the record and its ancestors, oldest first; failed: mutations of it.
    """

    record: dict
    texts: list
    failed: set = field(default_factory=set)


def read_lines(paths, out):
    """One Line per record; conversations and repetitions are dropped and counted. Raises InputError if none is left."""
    found = read_instructions(paths, "input", out).values()
    if not found:
        raise InputError(
            f"--input {' '.join(paths)}: no instruction of a single turn in it; give records with a prompt"
        )
    out.count("instructions given", len(found))
    return [Line(r, [f"{r['prompt']}\n{r['input']}" if r.get("input") else r["prompt"]]) for r in found]


def draw(*parts):
    """A whole number of 60 bits that `parts` alone decide."""
    return int(hashlib.sha256(" ".join(map(str, parts)).encode("utf-8")).hexdigest()[:15], 16)


class Evolution:
    """The lines, the pool that an evolved instruction must differ from, and what became of every request.

    args: flags of the program; out: the Stage.
    """

    def __init__(self, args, wording, model, lines, out):
        self.args, self.wording, self.model, self.out = args, wording, model, out
        self.lines = sorted(lines, key=lambda line: draw(args.seed, line.record["id"])) if args.num_evolved else lines
        self.mutations = sorted(set(args.mutations), key=MUTATIONS.index)
        texts, ids = (line.texts[0] for line in lines), (line.record["id"] for line in lines)
        names = ("accepted, to the nearest other", "all that were compared, to the nearest other")
        self.novelty = Novelty(texts, ids, args.max_similarity, *names)
        self.outcomes = {name: Counter() for name in self.mutations}
        self.to_parent = []

    def run(self, client):
        """All rounds. Each asks every line once, or, of --num_evolved, as many as its share needs."""
        for round_number in range(1, self.args.rounds + 1):
            rounds_left = self.args.rounds - round_number + 1
            wanted = math.ceil((self.args.num_evolved - self.out.rows) / rounds_left)
            goal = self.out.rows + (wanted if self.args.num_evolved else len(self.lines))
            waiting = (line for line in self.lines if len(line.failed) < len(self.mutations))
            while batch := list(islice(waiting, goal - self.out.rows)):
                asked = [self.request(line, round_number) for line in batch]
                answers = client.ask([request for _, request in asked], desc=f"round {round_number}")
                for line, (mutation, _), (reply, _) in zip(batch, asked, answers):
                    self.take(line, mutation, round_number, reply)
        all_failed = sum(len(line.failed) == len(self.mutations) for line in self.lines)
        self.out.count("lines of which every mutation failed", all_failed)

    def request(self, line, round_number):
        """(mutation, Request) of a line in a round."""
        left = [name for name in self.mutations if name not in line.failed]
        number = draw(self.args.seed, round_number, line.record["id"])
        mutation = left[number % len(left)]
        topic = line.record.get("topic")
        messages = self.wording.messages(mutation, line.texts[-1], topic if isinstance(topic, str) else None)
        return mutation, request(self.args, self.model, *messages, number & 0x7FFFFFFF)

    def take(self, line, mutation, round_number, reply):
        """Write what became of a line, which goes on with it; or note why it failed, and the line keeps its parent."""
        step = {"mutation": mutation, "round": round_number}
        if isinstance(reply, Failure) and reply.kind != "refusal":
            self.outcomes[mutation][f"failed: {reply.kind}"] += 1
            self.out.fail(line.record, reply.reason, kind=reply.kind, **step)
            return
        child, reason, more = self.judge(line, step, reply)
        if child is None:
            line.failed.add(mutation)
            self.out.drop(reason, {"parent": line.record["id"], **step, **more})
        else:
            line.record, line.failed = child, set()
            line.texts.append(child["prompt"])
            self.out.write(child)
        self.outcomes[mutation][reason or "evolved"] += 1

    def judge(self, line, step, reply):
        """(record, None, {}) of an evolution that succeeded, or (None, reason, what to show next to it)."""
        if isinstance(reply, Failure):
            return None, "refusal or apology", {"reply": reply.reason}
        text, parent = bare_reply(reply.text), line.record
        reason = failed_evolution(text, line.texts[-1], self.wording.leaks, self.args.max_chars)
        if reply.finish_reason == "length" or reason:
            return None, "cut off" if reply.finish_reason == "length" else reason, {"reply": text}
        topic = None if step["mutation"] in NEW_TOPIC else parent.get("topic")
        source = parent["source"] if parent["source"].startswith("evol/") else f"evol/{parent['source']}"
        try:
            child = records.make(text, "evol", source, parent=parent["id"], **step, topic=topic)
        except RowError as error:
            return None, "not text", {"reason": str(error)}
        child["history"] = parent["history"]
        to_family = max(rouge.rouge_l(child["prompt"], own) for own in line.texts)
        if child["id"] == parent["id"] or to_family >= self.args.max_parent_similarity:
            return None, "the same as its parent, or nearly", {"reply": text, "rouge_l": round(to_family, 4)}
        if shown := self.novelty.repeats(child, but=line.texts):
            return None, "too similar to another instruction", {"reply": text, **shown}
        self.to_parent.append(rouge.rouge_l(child["prompt"], line.texts[-1]))
        return records.step(child, "evol_instruct", model=self.model, **step), None, {}

    def report(self):
        """What the report says besides the counts of the stage."""
        outcomes = {name: {"asked": n.total(), **dict(sorted(n.items()))} for name, n in self.outcomes.items()}
        to_parent = {"accepted, to the parent": rouge.spread(self.to_parent)}
        return {"mutations": outcomes, "similarity": {**self.novelty.report(), **to_parent}}
