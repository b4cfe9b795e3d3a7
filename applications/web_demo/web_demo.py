"""Trained models in the browser: chat with one, compare two blind and vote, read the run's report. For several visitors at once.

Gradio runs the server (gradio.Server, its mode for a page of one's own) and opens the public link if --share asks for one; page/ is what
the browser gets, korlhf/demo/ answers it. Left out: pictures, tools, accounts beyond a log-in, talks that outlive the server.
"""

import os
import re
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from korlhf.applications import accounts
from korlhf.applications.chat.chat import open_bot
from korlhf.applications.web import check_port
from korlhf.applications.web_demo.limits import Limits
from korlhf.applications.web_demo.login import Login
from korlhf.applications.web_demo.routes import Only, Site
from korlhf.applications.web_demo.service import Service
from korlhf.applications.web_demo.sessions import Sessions
from korlhf.applications.web_demo.votes import VoteFile
from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.llm import responders
from korlhf.llm.flags import CheckpointFlags, LlmFlags, StreamFlags

PAGE = Path(__file__).resolve().parent / "page"
OPEN = (
    "/",
    "/page/",
    "/api/",
    "/report/",
    "/gradio_api/startup-events",
)  # the last is asked by Gradio itself when it starts
LOCAL = "127.0.0.1"
SERVER_NAME = re.compile(r"openai:(?P<name>[^@]*)")


@dataclass(frozen=True, kw_only=True)
class DemoFlags:
    """demo"""

    model: list[str] = flags.flag(
        flags.REQUIRED,
        "one model, or two to compare: [NAME=]FOLDER of a model or LoRA, [NAME=]HUB_NAME, or "
        "[NAME=]openai:MODEL[@URL] of a server; visitors see NAME",
    )
    reward_model: str = flags.flag(
        "", "a reward model whose score is shown beside answers (in the comparison after the vote)"
    )
    votes: str = flags.flag("", "JSONL file that votes are added to, for step 2; needed with two models")
    category: str = flags.flag("web_demo", "category of the votes, for step 2's figures by category")
    report: str = flags.flag(
        "", "HTML file of the run's report; not given = report.html beside the first model's folder, if it is there"
    )
    system: str = flags.flag("", "system message, a text or a UTF-8 file")
    language: str = flags.flag(
        "auto",
        "language of the page at first, auto = the browser's; each visitor can switch",
        choices=["auto", "ko", "en"],
    )


@dataclass(frozen=True, kw_only=True)
class AnswerFlags:
    """answers"""

    temperature: float = flags.flag(0.7, "sampling temperature at first; 0 = greedy")
    max_temperature: float = flags.flag(1.5, "highest temperature that a visitor may choose")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flags.flag(256, "longest answer in tokens; visitors may choose a shorter one")
    context_tokens: int = flags.flag(
        0, "most tokens of history and answer (of a server: characters); older exchanges are left out; 0 = all that fit"
    )


@dataclass(frozen=True, kw_only=True)
class LimitFlags:
    """limits"""

    max_characters: int = flags.flag(2000, "longest message of a visitor")
    max_messages: int = flags.flag(50, "most messages of a visitor in one talk")
    max_answers: int = flags.flag(
        64, "answers on their way at once, those that wait included; who asks for more is told to try again"
    )
    max_sessions: int = flags.flag(
        1000, "visitors whose talks are remembered; the one who was away longest is forgotten first"
    )


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """server"""

    host: str = flags.flag(LOCAL, "address to listen on; 0.0.0.0 = all of this machine's, so that others can come in")
    port: int = flags.flag(7860, "port to listen on")
    auth_file: str = flags.flag(
        "", "file of names and passwords (applications/label/add_annotator.py); not given: everybody may come in"
    )
    share: bool = flags.flag(False, "open a public link through Gradio's servers")


GROUPS = (DemoFlags, AnswerFlags, LimitFlags, ServerFlags, StreamFlags, CheckpointFlags)


def parse(argv=None):
    """The flags, one object for each of GROUPS."""
    parser = flags.Parser(description="Trained models in the browser")
    for group in GROUPS:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    found = [flags.read(space, group) for group in GROUPS]
    demo, answers, limits, server, openai, _ = found
    flags.check_positive(
        {
            "top_p": answers.top_p,
            "max_new_tokens": answers.max_new_tokens,
            "max_characters": limits.max_characters,
            "max_messages": limits.max_messages,
            "max_sessions": limits.max_sessions,
            "request_timeout": openai.request_timeout,
        },
        parser,
    )
    if len(demo.model) > 2:
        parser.error(f"--model: {len(demo.model)} are given; give one, or two to compare")
    if len(demo.model) == 2 and not demo.votes:
        parser.error(
            "--votes: give the file for the votes between the two models, e.g. --votes output/web_demo/votes.jsonl"
        )
    if limits.max_answers < len(demo.model):
        parser.error(
            f"--max_answers {limits.max_answers}: a comparison has two answers; give at least {len(demo.model)}"
        )
    if not 0 <= answers.temperature <= answers.max_temperature:
        parser.error(
            f"--temperature {answers.temperature}: must be 0 or above, and not above --max_temperature {answers.max_temperature}"
        )
    if answers.context_tokens < 0:
        parser.error("--context_tokens must be 0 or above")
    if not 0 < server.port < 65536:
        parser.error(f"--port {server.port}: give a port from 1 to 65535")
    return found


def named(texts):
    """--model -> {name: model}. Raises InputError for two of the same name."""
    found = {}
    for text in texts:
        match = responders.NAMED.fullmatch(text)
        name, model = (match["name"].strip(), match["model"]) if match else ("", text)
        of_server = SERVER_NAME.match(model)
        name = name or (of_server["name"] if of_server else Path(model).expanduser().resolve().name)
        if name in found:
            raise InputError(
                f"--model: two are called {name!r}; name each, e.g. --model first={list(found.values())[0]} second={model}"
            )
        found[name] = model
    return found


def find_report(given, models):
    """The report's path, or None. models: {name: model}. Raises InputError if one is given that cannot be read."""
    first = Path(next(iter(models.values()))).expanduser()
    beside = first.resolve().parent / "report.html"
    if not given:
        return beside if first.is_dir() and beside.is_file() else None
    path = Path(given).expanduser()
    try:
        path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--report {path}: cannot be read: {error.strerror or error}; make it with eval/report.py, "
            "or leave the flag away"
        ) from error
    return path.resolve()


def open_bots(models, answers, openai, checkpoint, stack):
    """{name: bot}, closed with the ExitStack. Raises InputError."""
    server = LlmFlags(
        base_url=openai.base_url, api_key_env=openai.api_key_env, request_timeout=openai.request_timeout, max_retries=2
    )
    bots = {}
    for name, model in models.items():
        print(f"opening {name} ({model})", flush=True)
        bots[name] = bot = stack.enter_context(open_bot(model, checkpoint, server, answers.context_tokens, "--model"))
        if bot.context_tokens is not None and answers.max_new_tokens >= bot.context_tokens:
            raise InputError(
                f"--max_new_tokens {answers.max_new_tokens}: {name} has room for {bot.context_tokens} tokens of history "
                "and answer together; lower it"
            )
    return bots


def open_scorer(path, checkpoint):
    """The scorer.Scorer, or None. Raises InputError."""
    if not path:
        return None
    from korlhf.applications.chat.scorer import Scorer  # imports torch: a wrong flag is told at once

    return Scorer(path, checkpoint.dtype, checkpoint.trust_remote_code)


def settings_of(models, scorer, demo, answers, most):
    """What the page is told when it is opened."""
    return {
        "models": list(models),
        "scores": scorer is not None,
        "language": demo.language,
        "temperature": answers.temperature,
        "max_temperature": answers.max_temperature,
        "max_new_tokens": answers.max_new_tokens,
        "max_characters": most.max_characters,
        "max_messages": most.max_messages,
    }


def serve(routes, server):
    """Listen until Ctrl-C."""
    import gradio  # slow to import, like torch

    app = gradio.Server(routes=routes, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Only, paths=OPEN)
    try:
        _, local, public = app.launch(
            server_name=server.host,
            server_port=server.port,
            share=server.share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            show_error=False,
        )
    except OSError as error:
        check_port(server.host, server.port)  # taken since it was found free: Gradio would speak of its own settings
        raise InputError(
            f"--host {server.host} --port {server.port}: cannot be listened on: {error}; give another --port"
        ) from error
    print(f"web demo at {public or local}   (Ctrl-C stops)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)


def main(argv=None):
    demo, answers, most, server, openai, checkpoint = parse(argv)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    models = named(demo.model)
    report = find_report(demo.report, models)
    system = responders.read_system(demo.system, "--system") if demo.system else ""
    votes = VoteFile(demo.votes) if len(models) == 2 else None
    passwords = accounts.read_passwords(server.auth_file) if server.auth_file else None
    check_port(server.host, server.port)
    with ExitStack() as stack:
        bots = open_bots(models, answers, openai, checkpoint, stack)
        scorer = open_scorer(demo.reward_model, checkpoint)
        bounds = Limits(
            most.max_characters, most.max_messages, answers.max_new_tokens, answers.max_temperature, most.max_answers
        )
        service = Service(bots, scorer, votes, bounds, answers.top_p, system, demo.category)
        site = Site(
            service,
            Sessions(most.max_sessions),
            Login(passwords),
            PAGE,
            settings_of(models, scorer, demo, answers, most),
            report,
        )
        serve(site.routes(), server)


if __name__ == "__main__":
    program.run(main)
