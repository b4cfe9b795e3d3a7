"""Who answers prompts: servers of the OpenAI protocol, local checkpoints, and files of answers that exist already.

Servers are asked through korlhf/llm/client.py, local checkpoints sample through korlhf/llm/checkpoint.py; both keep every answer in the cache. A file's
answers are found by the conversation (records.record_id), not by their place.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.readers import SUFFIXES, check_characters
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm

NAMED = re.compile(r"(?P<name>[^=/\\:@]+)=(?P<model>.+)")
SERVER = re.compile(r"openai:(?P<model>[^@].*?)(?:@(?P<url>https?://.+))?")


@dataclass(frozen=True)
class Responder:
    """name: as recorded; model: a server's model, a folder or hub name, or a file of answers; kind: server, checkpoint or file;
    url: of a server, else ""."""

    name: str
    model: str
    kind: str
    url: str = ""


def read_responders(texts, base_url):
    """--responder -> Responders; base_url: of servers without one of their own. Raises InputError for two of the same name."""
    found = [_responder(text, base_url) for text in texts]
    for name, n in Counter(r.name for r in found).items():
        if n > 1:
            raise InputError(f"--responder: {n} are called {name!r}; name each, e.g. --responder first=... second=...")
    return found


def _responder(text, base_url):
    named = NAMED.fullmatch(text)
    name, model = (named["name"], named["model"]) if named else ("", text)
    server = SERVER.fullmatch(model)
    if server:
        return Responder(name or server["model"], server["model"], "server", server["url"] or base_url or llm.OPENAI)
    if model.startswith("openai:"):
        raise InputError(f"--responder {text}: no model name; write openai:MODEL or openai:MODEL@http://HOST:PORT/v1")
    model = os.path.expanduser(model)  # the shell does not expand NAME=~/...
    path = Path(model)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return Responder(name or path.stem, model, "file")
    return Responder(name or path.resolve().name, model, "checkpoint")


def read_system(text, flag):
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


def server_messages(talk):
    """Messages for a server, which knows no separate `input`: it follows the text."""
    return [{"role": m["role"], "content": "\n\n".join(filter(None, (m["content"], m.get("input"))))} for m in talk]


def ask_servers(clients, responders, talks, sampling, num_answers):
    """{responder's name: for each conversation a list of llm.Reply or llm.Failure}; the responders of one address are asked together."""
    found = {}
    for url, client in clients.items():
        here = [r for r in responders if r.url == url]
        requests = [
            llm.Request(body(r.model, talk, sampling, k), k) for r in here for talk in talks for k in range(num_answers)
        ]
        replies = iter(client.ask(requests, desc=", ".join(r.name for r in here)))
        for r in here:
            found[r.name] = [[next(replies)[0] for _ in range(num_answers)] for _ in talks]
    return found


def body(model, talk, sampling, sample):
    """Arguments of a chat completion."""
    return {
        "model": model,
        "messages": server_messages(talk),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": local.answer_seed(sampling.seed, talk, sample),
    }


def open_clients(llm_flags, urls, cache, usage=None):
    """{address: llm.Client}; they share one account of usage, so that --max_requests and --max_cost hold for the run as a whole.

    usage: llm.new_usage of the run, None = one for these.
    """
    usage = llm.new_usage() if usage is None else usage
    return {url: llm.Client(replace(llm_flags, base_url=url), cache, usage) for url in urls}


def with_system(talk, system):
    """The conversation with a system message, unless it has one of its own or `system` is ""."""
    return [{"role": "system", "content": system}, *talk] if system and talk[0]["role"] != "system" else talk


def open_checkpoints(responders, sampler):
    """{name: local.Checkpoint} of those that are checkpoints; sampler: flags.SamplerFlags. Raises InputError if one cannot be read."""
    return {
        r.name: local.Checkpoint(
            r.model, "--responder", sampler.prompt_template, sampler.dtype, sampler.trust_remote_code
        )
        for r in responders
        if r.kind == "checkpoint"
    }


def read_answers(responder, found):
    """The answers of a file to the records `found`, by the conversation: for each a list of llm.Reply, in the file's order.

    A line has the prompt and `output` (or answer, response, completion), or `candidates`: of those of several models, the ones whose
    `model` is the responder's name. Raises InputError with file and line for a broken one, and if a prompt has no answer.
    """
    of_prompt = {}
    for place, record in records.read([responder.model]):
        check_characters(place, record)
        of_prompt.setdefault(record["id"], []).extend(_texts(place, record, responder.name))
    missing = [r for r in found if not of_prompt.get(r["id"])]
    if missing:
        raise InputError(
            f"{responder.model}: no answer to {len(missing)} of {len(found)} prompts, e.g. {records.prompt(missing[0])[:40]!r}; "
            "add them, or evaluate only the file's own prompts: --data_path " + responder.model
        )
    return [[llm.Reply(text, None, None, 0, None, True) for text in of_prompt[r["id"]]] for r in found]


def _texts(place, record, name):
    candidates = record.get("candidates")
    if candidates is None:
        candidates = [{"text": record["output"]}] if "output" in record else []
    if not isinstance(candidates, list) or not all(
        isinstance(c, dict) and isinstance(c.get("text"), str) for c in candidates
    ):
        raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
    if not candidates:
        raise InputError(f"{place}: no answer; expected output, answer, response, completion or candidates")
    models = {str(c.get("model")) for c in candidates}
    if len(models) > 1 and name not in models:
        raise InputError(
            f"{place}: answers of {', '.join(sorted(models))}; name the one you mean: --responder {min(models)}=FILE"
        )
    return [c["text"].strip() for c in candidates if len(models) == 1 or c.get("model") == name]


def answers(responders, found, sampling, num_answers, sampler, llm_flags, cache, system="", usage=None):
    """Answers of all responders to the records: {name: for each record a list of llm.Reply or llm.Failure}, and {name: how they came}.

    sampling: local.Sampling; sampler: flags.SamplerFlags. How: {"kind", "model", and of a checkpoint "fingerprint", "dtype", "template"}.
    usage: as of `open_clients`. Answers are stripped; an empty one is an answer. Of a file all answers are taken, whatever `num_answers` is.
    """
    checkpoints = open_checkpoints(responders, sampler)
    from_files = {r.name: read_answers(r, found) for r in responders if r.kind == "file"}  # before anything is paid for
    talks = [with_system(records.messages(r), system) for r in found]
    servers = [r for r in responders if r.kind == "server"]
    out = ask_servers(
        open_clients(llm_flags, list(dict.fromkeys(r.url for r in servers)), cache, usage),
        servers,
        talks,
        sampling,
        num_answers,
    )
    for name, checkpoint in checkpoints.items():
        out[name] = local.answers(checkpoint, talks, cache, sampling, num_answers, sampler.batch_size, name)
    out.update(from_files)
    stripped = {r.name: [[_stripped(reply) for reply in replies] for replies in out[r.name]] for r in responders}
    return stripped, {r.name: _how(r, checkpoints.get(r.name)) for r in responders}


def _stripped(reply):
    return reply if isinstance(reply, llm.Failure) else replace(reply, text=reply.text.strip())


def _how(responder, checkpoint):
    how = {"kind": responder.kind, "model": responder.model, **({"url": responder.url} if responder.url else {})}
    if checkpoint is not None:
        template = checkpoint.codec.tokenizer.apply_chat_template(
            [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
        )
        how.update(fingerprint=checkpoint.fingerprint, dtype=checkpoint.dtype, template=template)
    return how
