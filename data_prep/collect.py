"""A raw corpus -> records with prompts, and its answers or pairs if it has any.

--corpus nikl     NIKL's everyday conversations: every turn and the reply to it, category everyday
--corpus aihub    AIHub 558: utterances, category harmful or harmless
--corpus NAME     a data set of korlhf/data/registry.py: English pairs (translated), evolve-instruct (evol), seed tasks (self_instruct),
                  others (instruct)
--corpus own      files of one's own, with any column names that --data_path knows

The same prompt twice is one record, the first; of pairs, the same prompt with the same answers. Left out: what audit.py mends.
"""

import hashlib
import heapq
import json
import re
import tempfile
from array import array
from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import registry as sources
from korlhf.data.corpora import aihub, nikl
from korlhf.data.example import RowError, RowSkipped, bare
from korlhf.data.readers import read_rows
from korlhf.data_prep import stage

TALK = ("nikl", "aihub")
ENGLISH = ("yitingxie/rlhf-reward-datasets", "Dahoas/rm-static", "Dahoas/full-hh-rlhf")
EVOLVED, SEEDS = "lcw99/evolve-instruct", "self-instruct/seed_tasks"
CATEGORIES = {**dict.fromkeys(ENGLISH, "translated"), EVOLVED: "evol", SEEDS: "self_instruct"}
JUNK = "#새로운 질문#"  # what evolve-instruct's generator forgot to take out
HANGUL = re.compile("[가-힣]")
BELONGS = {
    "exchanges": ("nikl",),
    "names": ("nikl",),
    "per_topic": ("nikl",),
    "history": TALK,
    "types": ("aihub",),
    "min_intensity": ("aihub",),
}


@dataclass(frozen=True, kw_only=True)
class CollectFlags:
    """corpus"""

    corpus: str = flags.flag(flags.REQUIRED, "nikl, aihub, own, or a name of korlhf/data/registry.py")
    input: list[str] = flags.flag(
        flags.REQUIRED, "nikl, aihub: folders or zips as downloaded; else JSONL, JSON, CSV or parquet files"
    )
    output: str = flags.flag(flags.REQUIRED, "JSONL file to write; its report is beside it as .report.json")
    category: str = flags.flag(
        "", "category of all records; of aihub, which of harmful and harmless to keep; not given = by corpus"
    )
    limit: int = flags.flag(0, "at most this many records, the same number of every topic as far as there are; 0 = all")
    per_topic: int = flags.flag(0, "nikl: at most this many records of each topic; 0 = all")
    seed: int = flags.flag(1234, "seed of --limit and --per_topic")
    min_prompt_chars: int = flags.flag(
        -1, "shortest prompt in characters without spaces; -1 = 16 for nikl and aihub, else 1"
    )
    min_answer_chars: int = flags.flag(-1, "shortest answer in characters without spaces; -1 = 10 for nikl, else 1")


@dataclass(frozen=True, kw_only=True)
class TalkFlags:
    """nikl and aihub"""

    exchanges: str = flags.flag(
        "all", "nikl: every turn and its reply, or only the first of a dialogue", choices=["all", "first"]
    )
    history: int = flags.flag(0, "earlier turns that are kept as messages, an even number; 0 = the prompt alone")
    names: str = flags.flag(
        "invent",
        "nikl: &name1& becomes an invented name that fits its particles, or stays as name1",
        choices=["invent", "mark"],
    )
    types: list[str] = flags.flag([], f"aihub: only utterances of these types: {', '.join(aihub.TYPES)}")
    min_intensity: float = flags.flag(0.0, "aihub: only utterances of this intensity (0 to 3) or more")


def parse(argv=None):
    """(CollectFlags, TalkFlags), checked."""
    parser = flags.Parser(description="Raw corpora -> records")
    for group in (CollectFlags, TalkFlags):
        flags.add(parser, group)
    space = parser.parse_args(argv)
    args, talk = flags.read(space, CollectFlags), flags.read(space, TalkFlags)
    if args.corpus not in (*TALK, "own", *sources.SOURCES):
        raise InputError(
            f"--corpus {args.corpus}: not known{sources.close_names(args.corpus)}; give nikl, aihub, own for files of your "
            "own, or a name of korlhf/data/registry.py"
        )
    for name, of in BELONGS.items():
        if getattr(space, name) != parser.get_default(name) and args.corpus not in of:
            raise InputError(
                f"--{name}: {args.corpus} has no such thing; it is for --corpus {' and '.join(of)}. Delete it"
            )
    for name in ("limit", "per_topic", "history", "min_intensity"):
        if getattr(space, name) < 0:
            raise InputError(f"--{name} {getattr(space, name)}: must be 0 or above")
    if talk.history % 2:
        raise InputError(f"--history {talk.history}: give an even number: a user's turn and its reply, so many times")
    if unknown := [t for t in talk.types if t not in aihub.TYPES]:
        raise InputError(f"--types {' '.join(unknown)}: not known; give some of {', '.join(aihub.TYPES)}")
    if args.corpus == "aihub" and args.category not in ("", "harmful", "harmless"):
        raise InputError(f"--category {args.category}: of aihub give harmful, harmless or nothing")
    return args, talk


def from_nikl(args, talk, out):
    """Yield records of everyday conversations; counts what cannot be used."""
    for path in args.input:
        for dialogue in nikl.dialogues(path):
            out.count("dialogues")
            for name in dialogue.unread:
                out.count(f"dialogues whose {name} is of an unknown kind, left out")
            found = nikl.turns(dialogue, talk.names == "invent")
            for e in nikl.exchanges(found, talk.exchanges == "all", talk.history):
                out.count("exchanges")
                source = f"nikl/{e.prompt.id}"
                if e.flaw:
                    out.drop(e.flaw, {"source": source, "prompt": e.prompt.text, "output": e.answer.text})
                    continue
                who = {
                    "speaker": dialogue.speakers.get(e.prompt.speaker),
                    "answerer": dialogue.speakers.get(e.answer.speaker),
                }
                yield from made(
                    out,
                    source,
                    list(e.messages),
                    args.category or "everyday",
                    output=e.answer.text,
                    topic=dialogue.topic or None,
                    **who,
                    relation=dialogue.relation or None,
                )


def from_aihub(args, talk, out):
    """Yield records of labelled utterances; counts those that the flags leave out."""
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
                    yield from made(
                        out,
                        f"aihub/{said.id}",
                        messages,
                        category,
                        types=list(said.types),
                        intensity=said.intensity,
                        conversation=said.conversation,
                    )


def made(out, source, messages, category, **fields):
    """Yield the record, unless one of its texts is none: empty, or not UTF-8."""
    try:
        if "output" in fields:
            fields["output"] = bare(fields["output"], "the answer")
        record = records.make(messages, category, source, **fields)
    except RowError as error:
        out.drop(str(error).split(" (")[0].split(";")[0], {"source": source})
        return
    yield record


def from_rows(args, talk, out):
    """Yield records of a registered data set, or of a user's own files (there the first faulty row is an error)."""
    source = sources.SOURCES.get(args.corpus)
    for path in args.input:
        if Path(path).is_dir():
            raise InputError(
                f"--input {path}: is a folder; --corpus {args.corpus} reads files: name them, e.g. {path.rstrip('/')}/*.jsonl"
            )
        for place, row in read_rows(path):
            out.count("rows")
            try:
                yield (
                    own_record(row, path, args.category)
                    if source is None or source.free
                    else known_record(row, place, source, args)
                )
            except (RowSkipped, RowError) as error:
                if isinstance(error, RowError) and (source is None or source.free):
                    raise InputError(f"{place}: {error}") from error
                out.drop(str(error).split(" (")[0].split(";")[0], {"source": place})


def own_record(row, path, category):
    """A row with columns of the user's choice -> record; other columns stay."""
    record = records.from_row(row, path)
    return {**record, "category": category} if category else record


def known_record(row, place, source, args):
    """A row of a registered data set -> record. Raises RowError or RowSkipped."""
    example = source.read_row(row)
    if any(JUNK in text for text in (example.prompt, *example.answers)):
        raise RowSkipped(f"{JUNK} left in it")
    category = (
        args.category or CATEGORIES.get(args.corpus) or (example.category if example.category != "all" else "instruct")
    )
    answers = dict(zip(("chosen", "rejected") if len(example.answers) > 1 else ("output",), example.answers))
    # Self-Instruct's own seed tasks are English, too
    english = args.corpus in ENGLISH or (args.corpus == SEEDS and not HANGUL.search(example.prompt))
    return records.make(
        list(example.messages),
        category,
        f"{args.corpus}#{row.get('id') or place.rpartition(':')[2]}",
        **answers,
        language="en" if english else None,
    )


def characters(text):
    """Characters of a text that are no spaces."""
    return len("".join(text.split()))


def distinct(found, args, out):
    """Yield the records that are long enough and not there yet, with their history begun."""
    least_prompt = args.min_prompt_chars if args.min_prompt_chars >= 0 else 16 if args.corpus in TALK else 1
    least_answer = args.min_answer_chars if args.min_answer_chars >= 0 else 10 if args.corpus == "nikl" else 1
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
    """{topic: number of records} -> {topic: how many to take}: at most `per_topic` each and `limit` in all, equally; 0 = no bound."""
    counts = {topic: min(n, per_topic or n) for topic, n in counts.items()}
    if not limit:
        return counts
    taken = {}
    for i, topic in enumerate(sorted(counts, key=lambda t: (counts[t], t))):
        taken[topic] = min(counts[topic], (limit - sum(taken.values())) // (len(counts) - i))
    return taken


def sampled(found, args, out):
    """Yield the records that --per_topic and --limit choose, in the order of the corpus.

    The least hashes of a topic are taken, so a larger sample holds the smaller one. Until all is read the records wait in a file.
    """
    if not args.per_topic and not args.limit:
        yield from found
        return
    numbers = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=out.path.parent) as waiting:
        for record in found:
            numbers.setdefault(record.get("topic", ""), array("Q")).append(key(record, args.seed))
            waiting.write(json.dumps(record, ensure_ascii=False) + "\n")
        take = quotas({topic: len(n) for topic, n in numbers.items()}, args.per_topic, args.limit)
        highest = {topic: max(heapq.nsmallest(take[topic], n), default=-1) for topic, n in numbers.items()}
        waiting.seek(0)
        for line in waiting:
            record = json.loads(line)
            if key(record, args.seed) <= highest[record.get("topic", "")]:
                yield record
            else:
                out.drop("not sampled")


def license_of(corpus):
    licenses = {"nikl": nikl.LICENSE, "aihub": aihub.LICENSE}
    return licenses.get(corpus) or ("your own" if corpus == "own" else sources.SOURCES[corpus].license)


def main(argv=None):
    args, talk = parse(argv)
    with stage.Stage("collect", args.output, {**vars(args), **vars(talk)}, args.input) as out:
        out.extra["license"] = license_of(args.corpus)
        found = {"nikl": from_nikl, "aihub": from_aihub}.get(args.corpus, from_rows)(args, talk, out)
        for record in sampled(program.bar(distinct(found, args, out), desc="collect"), args, out):
            out.write(record)
            out.count(f"{record['category']}, {record['topic']}" if "topic" in record else record["category"])
        if not out.rows:
            reasons = ", ".join(f"{n} {reason}" for reason, n in out.dropped.most_common(4))
            raise InputError(
                f"--input {' '.join(args.input)}: nothing is left of it ({reasons or 'it is empty'}); loosen the flags"
            )
    print(f"license: {out.extra['license']}")


if __name__ == "__main__":
    program.run(main)
