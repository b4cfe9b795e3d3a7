"""What the generators share: instructions of a single turn, requests to a server, and whether a text is new enough."""

import sys
from contextlib import contextmanager
from dataclasses import asdict

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.texts import read_yaml
from korlhf.data import record as records
from korlhf.data import rouge, stage
from korlhf.llm.client import Client, Request, open_cache

PROMPTS = read_yaml(__package__, "prompts.yaml")


@contextmanager
def asking(name, files, args, llm, **settings):
    """(Stage, Client of the server that fills it) of a program. files: StageFlags; args: the program's own flags; llm:
    LlmFlags; settings: what the output depends on besides."""
    settings = {**asdict(args), "base_url": llm.base_url, **settings}
    with stage.Stage(name, files.output, settings, files.input) as out, open_cache(llm, out.path) as cache:
        client = Client(llm, cache)
        yield out, client
        out.extra["usage"] = client.usage


def openai_model(flag, text):
    """openai:MODEL -> MODEL. Raises InputError, which names `flag`."""
    kind, _, model = text.partition(":")
    if kind != "openai" or not model or "@http" in model:
        raise InputError(
            f"{flag} {text}: write openai:MODEL, e.g. openai:gpt-4o-mini; a server's address is --base_url"
        )
    return model


def request(args, model, system, user, seed):
    """A Request with a system and a user message; args: flags with temperature and max_new_tokens, perhaps top_p."""
    top_p = {"top_p": args.top_p} if hasattr(args, "top_p") else {}
    return Request(
        {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": args.temperature,
            **top_p,
            "max_tokens": args.max_new_tokens,
            "seed": seed,
        }
    )


def read_instructions(paths, what, out):
    """{id: record}: what is no conversation and was not there before; the others are counted as `what`."""
    found = {}
    for _, record in records.read(paths):
        if "messages" in record:
            out.drop(f"{what}: a conversation of several turns", record)
        elif record["id"] in found:
            out.drop(f"{what}: the same as an earlier one", record)
        else:
            found[record["id"]] = record
    return found


class Novelty:
    """The texts that a new one must differ from, and how near it came. limit: ROUGE-L from which it is not new."""

    def __init__(self, texts, ids, limit, accepted="accepted", compared="all that were compared"):
        """accepted, compared: what the report calls the similarities of both."""
        self.pool, self.ids, self.limit = rouge.Pool(texts), set(ids), limit
        self.accepted, self.compared = [], []
        self.names = {accepted: self.accepted, compared: self.compared}

    def repeats(self, record, but=()):
        """None if the record is new, which is noted; else what to show of the nearest text. but: texts to ignore."""
        score, nearest = self.pool.nearest(record["prompt"], but=but)
        self.compared.append(score)
        if record["id"] in self.ids or score >= self.limit:
            return {"nearest": nearest, "rouge_l": round(score, 4)}
        self.accepted.append(score)
        self.pool.add(record["prompt"])
        self.ids.add(record["id"])
        return None

    def report(self):
        """{name: n, mean and histogram of the similarities}"""
        return {name: rouge.spread(scores) for name, scores in self.names.items()}


def too_few(flag, wanted, written, why):
    """The exit code of a generator that brought fewer than were wanted, with a line on stderr."""
    print(f"error: {flag} {wanted}: {written} are written; {why}", file=sys.stderr, flush=True)
    return program.TOO_MANY_FAILED
