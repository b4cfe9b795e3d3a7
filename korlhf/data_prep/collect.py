"""Corpora on disk -> records: read, checked, each prompt once, and evenly sampled. The program is data_prep/collect.py.

Every function here yields records and tells the Stage `out` what it leaves out. args, talk: the flags of the program.
"""

import hashlib
import heapq
import json
import re
from collections import defaultdict
from pathlib import Path

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import registry
from korlhf.data.corpora import aihub, nikl
from korlhf.data.example import RowError, RowSkipped, bare
from korlhf.data.readers import read_rows

TALK = ("nikl", "aihub")
ENGLISH = ("yitingxie/rlhf-reward-datasets", "Dahoas/rm-static", "Dahoas/full-hh-rlhf")
EVOLVED, SEEDS = "lcw99/evolve-instruct", "self-instruct/seed_tasks"
CATEGORIES = {**dict.fromkeys(ENGLISH, "translated"), EVOLVED: "evol", SEEDS: "self_instruct"}
JUNK = "#새로운 질문#"  # what evolve-instruct's generator forgot to take out
HANGUL = re.compile("[가-힣]")
LEAST_PROMPT, LEAST_ANSWER = {"nikl": 16, "aihub": 16}, {"nikl": 10}  # characters without spaces; else 1
BELONGS = {
    **dict.fromkeys(("exchanges", "names", "per_topic"), ("nikl",)),
    **dict.fromkeys(("types", "min_intensity"), ("aihub",)),
    "history": TALK,
}


def check(args, talk, defaults):
    """Raise InputError for flags that cannot work together. defaults: `talk` as it is when nothing is given."""
    if args.corpus not in (*TALK, "own", *registry.SOURCES):
        raise InputError(
            f"--corpus {args.corpus}: not known{registry.close_names(args.corpus)}; give nikl, aihub, own for files of "
            "your own, or a name of korlhf/data/registry.py"
        )
    for name, of in BELONGS.items():
        if getattr(talk, name) != getattr(defaults, name) and args.corpus not in of:
            whose = " and ".join(of)
            raise InputError(f"--{name}: {args.corpus} has no such thing; it is for --corpus {whose}. Delete it")
    if talk.history % 2:
        raise InputError(f"--history {talk.history}: give an even number: a user's turn and its reply, so many times")
    if unknown := [t for t in talk.types if t not in aihub.TYPES]:
        raise InputError(f"--types {' '.join(unknown)}: not known; give some of {', '.join(aihub.TYPES)}")
    if args.corpus == "aihub" and args.category not in ("", "harmful", "harmless"):
        raise InputError(f"--category {args.category}: of aihub give harmful, harmless or nothing")


def collected(args, talk, out):
    """Yield the records of the corpus that the flags choose."""
    read = {"nikl": from_nikl, "aihub": from_aihub}.get(args.corpus, from_rows)
    found = progress.bar(distinct(read(args, talk, out), args, out), desc="collect")
    return sampled(found, talk.per_topic, args.limit, args.seed, out)


def from_nikl(args, talk, out):
    for path in args.input:
        for dialogue in nikl.dialogues(path):
            out.count("dialogues")
            for name in dialogue.unread:
                out.count(f"dialogues whose {name} is of an unknown kind, left out")
            turns = nikl.turns(dialogue, talk.names == "invent")
            for e in nikl.exchanges(turns, talk.exchanges == "all", talk.history):
                out.count("exchanges")
                source = f"nikl/{e.prompt.id}"
                if e.flaw:
                    out.drop(e.flaw, {"source": source, "prompt": e.prompt.text, "output": e.answer.text})
                    continue
                fields = {
                    "output": e.answer.text,
                    "topic": dialogue.topic or None,
                    "speaker": dialogue.speakers.get(e.prompt.speaker),
                    "answerer": dialogue.speakers.get(e.answer.speaker),
                    "relation": dialogue.relation or None,
                }
                yield from made(out, source, list(e.messages), args.category or "everyday", **fields)


def from_aihub(args, talk, out):
    for path in args.input:
        for conversation in aihub.conversations(path):
            out.count("conversations")
            for i, said in enumerate(conversation):
                out.count("utterances")
                category = "harmful" if said.immoral else "harmless"
                if args.category not in ("", category):
                    out.drop(f"{category}: not --category {args.category}")
                elif talk.types and not set(talk.types) & set(said.types):
                    out.drop("none of --types")
                elif (said.intensity or 0) < talk.min_intensity:
                    out.drop("under --min_intensity")
                else:
                    messages = aihub.messages(conversation, i, talk.history)
                    fields = {"intensity": said.intensity, "conversation": said.conversation}
                    yield from made(out, f"aihub/{said.id}", messages, category, types=list(said.types), **fields)


def made(out, source, messages, category, **fields):
    """Yield the record, unless one of its texts is empty or not UTF-8."""
    try:
        if "output" in fields:
            fields["output"] = bare(fields["output"], "the answer")
        yield records.make(messages, category, source, **fields)
    except RowError as error:
        out.drop(reason(error), {"source": source})


def reason(error):
    """What an error of a row says before its value and its remedy, fit to be counted."""
    return re.split(r" \(|;", str(error), maxsplit=1)[0]


def from_rows(args, talk, out):
    """Yield records of a registered data set, or of a user's own files, of which the first faulty row is an error."""
    source = registry.SOURCES.get(args.corpus)
    own = source is None or source.free
    for path in args.input:
        if Path(path).is_dir():
            raise InputError(
                f"--input {path}: is a folder; --corpus {args.corpus} reads files: name them, "
                f"e.g. {path.rstrip('/')}/*.jsonl"
            )
        for place, row in read_rows(path):
            out.count("rows")
            try:
                if own:
                    yield records.from_row(row, path) | ({"category": args.category} if args.category else {})
                else:
                    yield known_record(row, place, source, args)
            except (RowSkipped, RowError) as error:
                if own and isinstance(error, RowError):
                    raise InputError(f"{place}: {error}") from error
                out.drop(reason(error), {"source": place})


def known_record(row, place, source, args):
    """A row of a registered data set -> record. Raises RowError or RowSkipped."""
    example = source.read_row(row)
    if any(JUNK in text for text in (example.prompt, *example.answers)):
        raise RowSkipped(f"{JUNK} left in it")
    by_row = example.category if example.category != "all" else "instruct"
    columns = ("chosen", "rejected") if len(example.answers) > 1 else ("output",)
    # Self-Instruct's own seed tasks are English, too
    english = args.corpus in ENGLISH or (args.corpus == SEEDS and not HANGUL.search(example.prompt))
    return records.make(
        list(example.messages),
        args.category or CATEGORIES.get(args.corpus) or by_row,
        f"{args.corpus}#{row.get('id') or place.rpartition(':')[2]}",
        **dict(zip(columns, example.answers)),
        language="en" if english else None,
    )


def characters(text):
    """Characters of a text that are no spaces."""
    return len("".join(text.split()))


def distinct(found, args, out):
    """Yield the records that are long enough and not there yet, with their history begun."""
    least_prompt = args.min_prompt_chars if args.min_prompt_chars >= 0 else LEAST_PROMPT.get(args.corpus, 1)
    least_answer = args.min_answer_chars if args.min_answer_chars >= 0 else LEAST_ANSWER.get(args.corpus, 1)
    seen = set()
    for record in found:
        answers = [record[c] for c in ("output", "chosen", "rejected") if isinstance(record.get(c), str)]
        number = key(record, "")
        if characters(records.prompt(record)) < least_prompt:
            out.drop(f"prompt under {least_prompt} characters", record)
        elif any(characters(a) < least_answer for a in answers):
            out.drop(f"answer under {least_answer} characters", record)
        elif number in seen:
            out.drop("same prompt" if "chosen" not in record else "same prompt and answers", record)
        else:
            seen.add(number)
            yield records.step(record, "collect", corpus=args.corpus)


def key(record, seed):
    """A number of 64 bits from the prompt, of a pair from the answers too; a seed scrambles it."""
    text = json.dumps([seed, record["id"], record.get("chosen"), record.get("rejected")], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def quotas(counts, per_topic, limit):
    """{topic: records} -> {topic: how many to take}: at most `per_topic` each, `limit` in all, evenly; 0 = all."""
    counts = {topic: min(n, per_topic or n) for topic, n in counts.items()}
    if not limit:
        return counts
    taken = {}
    for i, topic in enumerate(sorted(counts, key=lambda t: (counts[t], t))):
        taken[topic] = min(counts[topic], (limit - sum(taken.values())) // (len(counts) - i))
    return taken


def sampled(found, per_topic, limit, seed, out):
    """Yield the records that --per_topic and --limit choose, in the order of the corpus.

    The least hashes of a topic are taken, so a larger sample holds the smaller one.
    """
    if not per_topic and not limit:
        yield from found
        return
    numbered = [(record.get("topic", ""), key(record, seed), record) for record in found]
    by_topic = defaultdict(list)
    for topic, number, _ in numbered:
        by_topic[topic].append(number)
    take = quotas({topic: len(numbers) for topic, numbers in by_topic.items()}, per_topic, limit)
    highest = {topic: max(heapq.nsmallest(take[topic], n), default=-1) for topic, n in by_topic.items()}
    for topic, number, record in numbered:
        if number <= highest[topic]:
            yield record
        else:
            out.drop("not sampled")


def license_of(corpus):
    """What the corpus obliges to, in words."""
    licenses = {"nikl": nikl.LICENSE, "aihub": aihub.LICENSE}
    return licenses.get(corpus) or ("your own" if corpus == "own" else registry.SOURCES[corpus].license)
