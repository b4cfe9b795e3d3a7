"""Who answers prompts: servers of the OpenAI protocol, local checkpoints, and files of answers that exist already.

Servers are asked through korlhf/llm/client.py, local checkpoints sample through korlhf/llm/checkpoint.py; both keep
every answer in the cache. A file's answers are found by the conversation (records.record_id), not by their place.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.readers import SUFFIXES, check_characters
from korlhf.llm import checkpoint
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint, Sampling
from korlhf.llm.client import Client, Request, new_usage
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.protocol import OPENAI, Failure, Reply

NAMED = re.compile(r"(?P<name>[^=/\\:@]+)=(?P<model>.+)")
SERVER = re.compile(r"openai:(?P<model>[^@].*?)(?:@(?P<url>https?://.+))?")

Messages = list[dict]
Answers = list[list[Reply | Failure]]  # for each conversation those of its samples


@dataclass(frozen=True)
class Responder:
    """name: as recorded; kind: server, checkpoint or file; model: a server's model, a folder or hub name, or a file;
    url: of a server, else ""."""

    name: str
    model: str
    kind: str
    url: str = ""


@dataclass(frozen=True)
class Setup:
    """How a run's prompts are answered. usage: the run's account (client.new_usage), None = one for these answers."""

    sampling: Sampling
    num_answers: int
    sampler: SamplerFlags
    llm: LlmFlags
    cache: Cache
    usage: dict[str, Any] | None = None


def read_responders(texts: Iterable[str], base_url: str) -> list[Responder]:
    """--responder -> Responders; base_url: of servers without one. Raises InputError for two of the same name."""
    named = [_responder(text, base_url) for text in texts]
    for name, n in Counter(r.name for r in named).items():
        if n > 1:
            raise InputError(f"--responder: {n} are called {name!r}; name each, e.g. --responder first=... second=...")
    return named


def _responder(text: str, base_url: str) -> Responder:
    named = NAMED.fullmatch(text)
    name, model = (named["name"], named["model"]) if named else ("", text)
    server = SERVER.fullmatch(model)
    if server:
        return Responder(name or server["model"], server["model"], "server", server["url"] or base_url or OPENAI)
    if model.startswith("openai:"):
        raise InputError(f"--responder {text}: no model name; write openai:MODEL or openai:MODEL@http://HOST:PORT/v1")
    model = os.path.expanduser(model)  # the shell does not expand NAME=~/...
    path = Path(model)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return Responder(name or path.stem, model, "file")
    return Responder(name or path.resolve().name, model, "checkpoint")


def read_system(text: str, flag: str) -> str:
    """A system message from its text or file. Raises InputError if what looks like a file's name is none."""
    looks_like_file = flag == "--system_by_category" or (len(text.splitlines()) == 1 and text.endswith((".txt", ".md")))
    path = Path(text).expanduser()
    if looks_like_file or (len(text) < 256 and path.is_file()):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{flag} {path}: cannot be read as UTF-8 text: {error}; give the name of a text file"
            ) from error
        if not text.strip():
            raise InputError(f"{flag} {path}: the file is empty; write the system message into it")
    return text.strip()


def with_system(messages: Messages, system: str) -> Messages:
    """The conversation with a system message, unless it has one of its own or `system` is ""."""
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def open_clients(
    llm_flags: LlmFlags, urls: Iterable[str], cache: Cache, usage: dict[str, Any] | None = None
) -> dict[str, Client]:
    """{address: Client}; they share one account of usage, so that --max_requests and --max_cost hold for all."""
    usage = new_usage() if usage is None else usage
    return {url: Client(replace(llm_flags, base_url=url), cache, usage) for url in urls}


def open_checkpoints(responders: Iterable[Responder], sampler: SamplerFlags) -> dict[str, Checkpoint]:
    """{name: Checkpoint} of those that are checkpoints. Raises InputError if one cannot be read."""
    how = (sampler.prompt_template, sampler.dtype, sampler.trust_remote_code)
    mine = [r for r in responders if r.kind == "checkpoint"]
    return {r.name: Checkpoint(r.model, "--responder", *how, rollout=sampler) for r in mine}


def ask_servers(
    clients: dict[str, Client],
    responders: Sequence[Responder],
    conversations: Sequence[Messages],
    sampling: Sampling,
    num_answers: int,
) -> dict[str, Answers]:
    """{responder's name: Answers}; the responders of one address are asked together."""
    by_name: dict[str, Answers] = {}
    for url, client in clients.items():
        here = [r for r in responders if r.url == url]
        requests = [
            Request(_body(r.model, messages, sampling, k), k)
            for r in here
            for messages in conversations
            for k in range(num_answers)
        ]
        replies = iter(client.ask(requests, desc=", ".join(r.name for r in here)))
        for r in here:
            by_name[r.name] = [[next(replies)[0] for _ in range(num_answers)] for _ in conversations]
    return by_name


def _body(model: str, messages: Messages, sampling: Sampling, sample: int) -> dict:
    """Arguments of a chat completion. A server knows no separate `input`: it follows the text."""
    texts = ["\n\n".join(filter(None, (m["content"], m.get("input")))) for m in messages]
    return {
        "model": model,
        "messages": [{"role": m["role"], "content": text} for m, text in zip(messages, texts)],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": checkpoint.answer_seed(sampling.seed, messages, sample),
    }


def read_answers(responder: Responder, prompts: Sequence[dict]) -> Answers:
    """The answers of a file to records, found by the conversation: for each a list of Reply, in the file's order.

    A line has the prompt and `output` (or answer, response, completion), or `candidates`: of those of several models,
    the ones whose `model` is the responder's name. Raises InputError with file and line for a broken one, and if a
    prompt has no answer.
    """
    texts: dict[str, list[str]] = {}
    for place, record in records.read([responder.model]):
        check_characters(place, record)
        texts.setdefault(record["id"], []).extend(_texts(place, record, responder.name))
    missing = [r for r in prompts if not texts.get(r["id"])]
    if missing:
        raise InputError(
            f"{responder.model}: no answer to {len(missing)} of {len(prompts)} prompts, e.g. "
            f"{records.prompt(missing[0])[:40]!r}; add them, or evaluate only the file's own prompts: "
            f"--data_path {responder.model}"
        )
    return [[Reply(text, None, None, 0, None) for text in texts[r["id"]]] for r in prompts]


def _texts(place: str, record: dict, name: str) -> list[str]:
    candidates = record.get("candidates") or [{"text": record[column]} for column in ("output",) if column in record]
    if not candidates:
        raise InputError(f"{place}: no answer; expected output, answer, response, completion or candidates")
    if not isinstance(candidates, list) or not all(
        isinstance(c, dict) and isinstance(c.get("text"), str) for c in candidates
    ):
        raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
    models = {str(c.get("model")) for c in candidates}
    if len(models) > 1 and name not in models:
        raise InputError(
            f"{place}: answers of {', '.join(sorted(models))}; name the one you mean: --responder {min(models)}=FILE"
        )
    return [c["text"].strip() for c in candidates if len(models) == 1 or c.get("model") == name]


def answers(
    responders: Sequence[Responder],
    prompts: Sequence[dict],
    setup: Setup,
    system: str = "",
    checkpoints: dict[str, Checkpoint] | None = None,
) -> tuple[dict[str, Answers], dict[str, dict]]:
    """Answers of all responders to records: {name: Answers}, and {name: how they came}.

    How: {"kind", "model", and of a checkpoint "fingerprint", "dtype", "template"}. Answers are stripped; an empty one
    is an answer. Of a file all answers are taken, whatever `setup.num_answers` is. checkpoints: the responders'
    open_checkpoints, None = they are opened here.
    """
    checkpoints = open_checkpoints(responders, setup.sampler) if checkpoints is None else checkpoints
    out = {r.name: read_answers(r, prompts) for r in responders if r.kind == "file"}  # before anything is paid for
    conversations = [with_system(records.messages(r), system) for r in prompts]
    clients = open_clients(setup.llm, dict.fromkeys(r.url for r in responders if r.url), setup.cache, setup.usage)
    out |= ask_servers(clients, responders, conversations, setup.sampling, setup.num_answers)
    for name, opened in checkpoints.items():
        how_many = (setup.num_answers, setup.sampler.batch_size)
        out[name] = checkpoint.answers(opened, conversations, setup.cache, setup.sampling, *how_many, name)
    stripped = {r.name: [list(map(_stripped, replies)) for replies in out[r.name]] for r in responders}
    return stripped, {r.name: _how(r, checkpoints.get(r.name)) for r in responders}


def _stripped(reply: Reply | Failure) -> Reply | Failure:
    return reply if isinstance(reply, Failure) else replace(reply, text=reply.text.strip())


def _how(responder: Responder, opened: Checkpoint | None) -> dict:
    how = {"kind": responder.kind, "model": responder.model} | ({"url": responder.url} if responder.url else {})
    if opened is not None:
        how |= {"fingerprint": opened.fingerprint, "dtype": opened.dtype, "template": template_of(opened.codec)}
    return how


def template_of(codec: Any) -> str:
    """The chat template of a data.tokenize.Codec, as it writes out a prompt."""
    messages = [{"role": "user", "content": "{prompt}"}]
    return codec.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
