"""Records with prompts -> the same records with answers of one or more models, side by side as `candidates`, or one as `output`.

Servers are asked through korlhf/llm/client.py, local checkpoints sample through korlhf/llm/checkpoint.py; both keep every answer in the cache. The text of
an answer is stripped and otherwise left as it is. Left out: judging the answers (score.py) and choosing among them (rank.py).
"""

import hashlib
from dataclasses import asdict, dataclass, replace

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data import stage
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.llm import responders as answering
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class RespondFlags:
    """answers"""

    responder: list[str] = flags.flag(
        flags.REQUIRED,
        "who answers: [NAME=]openai:MODEL[@BASE_URL], or [NAME=]FOLDER or hub name of a "
        "checkpoint; NAME is written beside the answers (not given: MODEL, or the folder's name)",
    )
    num_answers: int = flags.flag(0, "answers a prompt of each responder; 0 = 2, or 1 with --as_output")
    as_output: bool = flags.flag(
        False, "the one answer of the one responder becomes `output`, for SFT; records that have one keep it"
    )
    temperature: float = flags.flag(0.7, "sampling temperature; 0 = greedy")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flags.flag(
        256, "longest answer in tokens; answers that are cut there say so (finish_reason length)"
    )
    seed: int = flags.flag(1234, "seed of the answers; servers are given one of their own for each answer")
    system: str = flags.flag(
        "", "system message, a text or a UTF-8 file; prompts with a system message of their own keep that"
    )
    system_by_category: list[str] = flags.flag(
        [], "system messages of single categories in place of --system: CATEGORY=FILE"
    )
    max_failed: float = flags.flag(
        0.05, "a larger share of failed answers ends with exit code 3, after everything is written"
    )


def parse(argv=None):
    """(StageFlags, RespondFlags, SamplerFlags, LlmFlags)"""
    parser = flags.Parser(description="Answers of models to the prompts of records")
    groups = (stage.StageFlags, RespondFlags, SamplerFlags, LlmFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    files, args, checkpoint, llm_flags = (flags.read(space, group) for group in groups)
    flags.check_positive(
        {"top_p": args.top_p, "max_new_tokens": args.max_new_tokens, "batch_size": checkpoint.batch_size}, parser
    )
    if args.num_answers < 0 or args.temperature < 0 or not 0 <= args.max_failed <= 1:
        parser.error("--num_answers and --temperature must be 0 or above, --max_failed a share from 0 to 1")
    if args.as_output and (args.num_answers > 1 or len(args.responder) > 1):
        parser.error("--as_output takes one answer of one responder; give one --responder and no --num_answers")
    args = replace(args, num_answers=args.num_answers or (1 if args.as_output else 2))
    if args.num_answers > 1 and args.temperature == 0:
        parser.error(f"--num_answers {args.num_answers}: greedy answers are all the same; set --temperature, e.g. 0.7")
    return files, args, checkpoint, llm_flags


def read_systems(args, categories):
    """{category: system message} for every category of the input. Raises InputError for a category that the input does not have."""
    systems = dict.fromkeys(categories, answering.read_system(args.system, "--system") if args.system else "")
    for pair in args.system_by_category:
        category, equals, file = pair.partition("=")
        if not equals or not file:
            raise InputError(f"--system_by_category {pair}: write CATEGORY=FILE")
        if category not in systems:
            raise InputError(
                f"--system_by_category {pair}: no record has the category {category!r}; "
                f"the input has {', '.join(sorted(systems))}"
            )
        systems[category] = answering.read_system(file, "--system_by_category")
    return systems


def read_records(paths):
    """All records. Raises InputError for candidates or an output of another form than respond.py writes."""
    found = []
    for place, record in records.read(paths):
        candidates = record.get("candidates", [])
        if not isinstance(candidates, list) or not all(
            isinstance(c, dict) and isinstance(c.get("text"), str) for c in candidates
        ):
            raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
        found.append(record)
    return found


def has_answer(record, as_output):
    """Whether the record is left as it is: --as_output does not overwrite an output."""
    return as_output and bool(record.get("output"))


def conversation(record, systems):
    """The messages that a responder is given."""
    return answering.with_system(records.messages(record), systems[record["category"]])


def system_sha(talk):
    """16 hex digits of the system message, "" without one."""
    return hashlib.sha256(talk[0]["content"].encode("utf-8")).hexdigest()[:16] if talk[0]["role"] == "system" else ""


def judge_reply(reply, as_output):
    """(text, "", "") of a usable reply, else ("", kind, reason)."""
    if isinstance(reply, llm.Failure):
        return "", reply.kind, reply.reason
    text = reply.text.strip()
    if not text:
        return "", "empty", "the answer is empty"
    if as_output and reply.finish_reason == "length":
        return "", "cut off", "the answer was cut off; raise --max_new_tokens"
    return text, "", ""


def answered(record, replies, settings, as_output, out):
    """The record with its answers, or None if it has none. replies: {responder: [Reply or Failure]}; settings: {responder: dict}."""
    candidates = list(record.get("candidates", []))
    seen = {c["text"] for c in candidates}
    for name, of_one in replies.items():
        for sample, reply in enumerate(of_one):
            text, kind, reason = judge_reply(reply, as_output)
            if not text:
                out.fail(record, reason, kind, responder=name, sample=sample)
                continue
            out.count(f"answers of {name}")
            if as_output:
                return {**records.step(record, "respond", model=name, settings=settings[name]), "output": text}
            if reply.finish_reason == "length":
                out.count(f"answers of {name} cut off at --max_new_tokens")
            if text in seen:
                out.count("answers that the prompt had already, kept once")
                continue
            seen.add(text)
            candidates.append(
                {"text": text, "model": name, "settings": settings[name], "finish_reason": reply.finish_reason}
            )
    if as_output or not candidates:
        return None
    return {**records.step(record, "respond", models=list(replies)), "candidates": candidates}


def write(found, as_output, talks, responders, replies, sampling, out):
    """Write every record with its answers. talks: the conversations of those that were asked, in order."""
    places = iter(range(len(talks)))
    for record in found:
        if has_answer(record, as_output):
            out.count("records that had an output already, left as they are")
            out.write(record)
            continue
        i = next(places)
        settings = {r.name: {"model": r.model, **asdict(sampling), "system": system_sha(talks[i])} for r in responders}
        done = answered(record, {r.name: replies[r.name][i] for r in responders}, settings, as_output, out)
        if done is None:
            out.count("records without an answer, left out")
        else:
            out.write(done)


def main(argv=None):
    files, args, checkpoint_flags, llm_flags = parse(argv)
    responders = answering.read_responders(args.responder, llm_flags.base_url)
    for r in responders:
        if r.kind == "file":
            raise InputError(
                f"--responder {r.model}: a file writes no answers; give openai:MODEL, or a checkpoint's folder or hub name"
            )
    found = read_records(files.input)
    systems = read_systems(args, list(dict.fromkeys(r["category"] for r in found)))
    talks = [conversation(r, systems) for r in found if not has_answer(r, args.as_output)]
    sampling = local.Sampling(args.temperature, args.top_p, args.max_new_tokens, args.seed)
    checkpoints = answering.open_checkpoints(responders, checkpoint_flags)
    settings = {**asdict(args), **asdict(checkpoint_flags), "base_url": llm_flags.base_url}
    with (
        stage.Stage("respond", files.output, settings, files.input) as out,
        llm.Cache(llm_flags.cache or out.path.parent / "llm_cache.sqlite") as cache,
    ):
        clients = answering.open_clients(llm_flags, list(dict.fromkeys(r.url for r in responders if r.url)), cache)
        replies = answering.ask_servers(clients, responders, talks, sampling, args.num_answers)
        for name, checkpoint in checkpoints.items():
            replies[name] = local.answers(
                checkpoint, talks, cache, sampling, args.num_answers, checkpoint_flags.batch_size, name
            )
        write(found, args.as_output, talks, responders, replies, sampling, out)
        out.extra["usage"] = next((client.usage for client in clients.values()), {})
        out.extra["responders"] = {r.name: {"model": r.model, "url": r.url} for r in responders if r.url} | {
            name: {"model": c.path, "fingerprint": c.fingerprint, "dtype": c.dtype} for name, c in checkpoints.items()
        }
        out.extra["systems"] = {system_sha(t): t[0]["content"] for t in talks if system_sha(t)}
    return program.exit_code(out.failures, len(talks) * len(responders) * args.num_answers, args.max_failed)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
