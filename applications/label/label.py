"""People choose among answers: a page for several annotators at once, every label in an SQLite file before the page says so.

The page is one gr.HTML component with the files of page/; its script calls the functions of korlhf/applications/label/service.py, which Gradio
serves without its queue: about 5 ms, against 70 ms for an ordinary Gradio event with three outputs. Its keyboard handling is its own too,
so that no component takes the focus. Left out: making the training file out of the labels (export.py).
"""

import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from korlhf.applications import accounts
from korlhf.applications.label import items, verdicts
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.service import Service
from korlhf.applications.label.store import Store
from korlhf.applications.web import check_port
from korlhf.core import flags, program
from korlhf.core.errors import InputError

HERE = Path(__file__).resolve().parent / "page"
SCRIPTS = ("choice.js", "dom.js", "item.js", "panels.js", "keys.js", "work.js")
LOCAL = "127.0.0.1"
# What the page needs of Gradio's addresses. Others would take files from anybody who reaches the server, before any log-in.
OPEN = (
    "/",
    "/config",
    "/favicon.ico",
    "/theme.css",
    "/assets/",
    "/static/",
    "/gradio_api/component_server/",
    "/gradio_api/startup-events",
)
OUTSIDE = """.gradio-container .main, .gradio-container .html-container { padding: 0 !important }
.gradio-container, #label, #label .html-container { overflow: visible !important }"""  # Gradio's frame: no margin, and the bar below sticks


@dataclass(frozen=True, kw_only=True)
class LabelFlags:
    """labelling"""

    input: list[str] = flags.flag(
        [],
        "files of prompts with 2 to 6 answers: of respond, score or rank, or with answers, or with chosen "
        "and rejected; items that are in the database already stay as they are; none: go on with the database",
    )
    database: str = flags.flag(flags.REQUIRED, "SQLite file of items and labels; made if it is not there")
    annotators_per_item: int = flags.flag(2, "people who label each item")
    lease_minutes: float = flags.flag(
        30.0, "how long an item waits for the person who has it before them, until it is given to another"
    )
    seed: int = flags.flag(1234, "seed of the order in which answers are shown, which differs for each person and item")
    language: str = flags.flag("ko", "language of the page at first; each person can switch", choices=["ko", "en"])


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """server"""

    host: str = flags.flag(LOCAL, "address to listen on; 0.0.0.0 = all of this machine's, so that others can come in")
    port: int = flags.flag(7870, "port to listen on")
    auth_file: str = flags.flag("", "file of names and passwords (add_annotator.py); not given: a name is enough")
    share: bool = flags.flag(False, "open a public link through Gradio's servers; needs --auth_file")


def parse(argv=None):
    """(LabelFlags, ServerFlags)"""
    parser = flags.Parser(description="Human preference labels, in the browser")
    for group in (LabelFlags, ServerFlags):
        flags.add(parser, group)
    space = parser.parse_args(argv)
    args, server = flags.read(space, LabelFlags), flags.read(space, ServerFlags)
    flags.check_positive({"annotators_per_item": args.annotators_per_item, "lease_minutes": args.lease_minutes}, parser)
    if not 0 < server.port < 65536:
        parser.error(f"--port {server.port}: give a port from 1 to 65535")
    if server.share and not server.auth_file:
        parser.error("--share lets in everybody who has the link; give --auth_file as well")
    return args, server


def read_page(name):
    """The text of a file of page/."""
    return (HERE / name).read_text(encoding="utf-8")


def build(service, language, passwords):
    """The Gradio page. service: of korlhf.applications.label; passwords: whether people are asked for one."""
    import gradio  # slow to import: a wrong flag is told at once

    script = "\n".join(['"use strict";', "const texts = props.texts;", *map(read_page, SCRIPTS)])
    with gradio.Blocks(title="KoRLHF 라벨링", analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(
            html_template="<p>…</p>",
            css_template=read_page("style.css"),
            js_on_load=script,
            apply_default_css=False,
            elem_id="label",
            server_functions=[named(name, function) for name, function in service.functions().items()],
            texts=json.loads(read_page("texts.json")),
            language=language,
            passwords=passwords,
            reasons=list(verdicts.REASONS),
        )
    return page


def named(name, function):
    """The function under the name that the script calls it by."""
    function.__name__ = name
    return function


def add_items(store, paths):
    """Read the files and put what is new into the database."""
    if not paths:
        return
    found, left_out = items.read(paths, lambda rows: program.bar(rows, desc="reading", unit="rows"))
    added = store.add_items(found)
    print(f"items: {added:,} new, {len(found) - added:,} were there already", flush=True)
    for reason, n in left_out.most_common():
        print(f"  {n:>9,}  left out: {reason}", flush=True)


def serve(page, server):
    """Listen until Ctrl-C."""
    from starlette.middleware import Middleware  # slow to import, as below: a wrong flag is told at once

    from korlhf.applications.web_demo.routes import Only

    try:
        _, local, public = page.launch(
            server_name=server.host,
            server_port=server.port,
            share=server.share,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            ssr_mode=False,
            css=OUTSIDE,
            show_error=False,
            app_kwargs={"middleware": [Middleware(Only, paths=OPEN)]},
        )
    except OSError as error:
        check_port(server.host, server.port)  # taken since it was found free: Gradio would speak of its own settings
        raise InputError(
            f"--host {server.host} --port {server.port}: cannot be listened on: {error}; give another --port"
        ) from error
    print(f"labelling at {public or local}   (Ctrl-C stops; every label is saved as it is given)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on", file=sys.stderr, flush=True)
    page.close(verbose=False)


def main(argv=None):
    args, server = parse(argv)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    passwords = accounts.read_passwords(server.auth_file) if server.auth_file else None
    check_port(server.host, server.port)
    with Store(args.database) as store:
        add_items(store, args.input)
        if not store.rows("SELECT 1 FROM items LIMIT 1"):
            raise InputError(
                f"--database {args.database}: has no items; give files of prompts and answers with --input"
            )
        desk = Desk(store, args.annotators_per_item, 60 * args.lease_minutes, args.seed)
        serve(build(Service(desk, accounts.Accounts(store, passwords)), args.language, passwords is not None), server)


if __name__ == "__main__":
    program.run(main)
