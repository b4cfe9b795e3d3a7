"""A raw corpus -> records with prompts, and its answers or pairs if it has any.

--corpus nikl     NIKL's everyday conversations: every turn and the reply to it, category everyday
--corpus aihub    AIHub 558: utterances, category harmful or harmless
--corpus NAME     a data set of korlhf/data/registry.py: English pairs (translated), evolve-instruct (evol),
                  seed tasks (self_instruct), others (instruct)
--corpus own      files of one's own, with any column names that --data_path knows

The same prompt twice is one record, the first; of pairs, the same prompt with the same answers.
Left out: what audit.py mends.
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data.corpora import aihub
from korlhf.data_prep import collect


@dataclass(frozen=True, kw_only=True)
class CollectFlags:
    """corpus"""

    corpus: str = flag(REQUIRED, "nikl, aihub, own, or a name of korlhf/data/registry.py")
    input: list[str] = flag(
        REQUIRED, "nikl, aihub: folders or zips as downloaded; else JSONL, JSON, CSV or parquet files"
    )
    output: str = flag(REQUIRED, "JSONL file; its report is next to it as .report.json", output="file")
    category: str = flag("", "category of all records; of aihub: keep only harmful or harmless; empty = by corpus")
    limit: int = flag(0, "at most this many records, as evenly over the topics as they allow; 0 = all", low=0)
    seed: int = seed_flag("seed of --limit and --per_topic")
    min_prompt_chars: int = flag(
        -1, "shortest prompt in non-space characters; -1 = 16 for nikl and aihub, else 1", low=-1
    )
    min_answer_chars: int = flag(-1, "shortest answer in non-space characters; -1 = 10 for nikl, else 1", low=-1)


@dataclass(frozen=True, kw_only=True)
class TalkFlags:
    """nikl and aihub"""

    exchanges: str = flag("all", "nikl: every turn and its reply, or a dialogue's first only", choices=["all", "first"])
    history: int = flag(0, "earlier turns kept as messages, an even number; 0 = the prompt alone", low=0)
    per_topic: int = flag(0, "nikl: at most this many records per topic; 0 = all", low=0)
    names: str = flag(
        "invent", "nikl: &name1& becomes an invented name that fits its particles, or name1", choices=["invent", "mark"]
    )
    types: list[str] = flag([], f"aihub: only utterances of these types: {', '.join(aihub.TYPES)}")
    min_intensity: float = flag(0.0, "aihub: only utterances of this intensity (0 to 3) or more", low=0, high=3)


def main(argv=None):
    args, talk = parse(argv, "Raw corpora -> records", CollectFlags, TalkFlags)
    collect.check(args, talk, TalkFlags())
    with stage.Stage("collect", args.output, {**vars(args), **vars(talk)}, args.input) as out:
        out.extra["license"] = collect.license_of(args.corpus)
        for record in collect.collected(args, talk, out):
            out.write(record)
            out.count(f"{record['category']}, {record['topic']}" if "topic" in record else record["category"])
        if not out.rows:
            reasons = ", ".join(f"{n} {reason}" for reason, n in out.dropped.most_common(4)) or "it is empty"
            raise InputError(f"--input {' '.join(args.input)}: nothing is left of it ({reasons}); loosen the flags")
    print(f"license: {out.extra['license']}")


if __name__ == "__main__":
    program.run(main, stage.STARTS_OVER)
