"""The page of the labelling: one gr.HTML component with the files of a folder.

Its script calls the functions of service.py, which Gradio serves without its queue: about 5 ms, against 70 ms for an
ordinary Gradio event with three outputs. Its keyboard handling is its own too, so that no component takes the focus.
"""

import json

from korlhf.applications.label import ballot
from korlhf.applications.web import Only

SCRIPTS = ("../../page/elements.js", "choice.js", "dom.js", "item.js", "panels.js", "keys.js", "work.js")
# What the page needs of Gradio's addresses. Others would take files from anybody who reaches the server, before any
# log-in.
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
# Gradio's frame: no margin, and the bar below sticks.
OUTSIDE = """.gradio-container .main, .gradio-container .html-container { padding: 0 !important }
.gradio-container, #label, #label .html-container { overflow: visible !important }"""


def build(folder, functions, language, passwords):
    """The gradio.Blocks. folder: Path of the page's files; functions: {name that the script calls: function};
    passwords: whether people are asked for one."""
    import gradio  # slow to import: a wrong flag is told at once

    def read(name):
        return (folder / name).read_text(encoding="utf-8")

    script = "\n".join(['"use strict";', "const texts = props.texts;", *map(read, SCRIPTS)])
    for name, function in functions.items():
        function.__name__ = name
    with gradio.Blocks(title="KoRLHF 라벨링", analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(
            html_template="<p>…</p>",
            css_template=read("style.css"),
            js_on_load=script.replace("\nexport ", "\n"),  # one script, not modules
            apply_default_css=False,
            elem_id="label",
            server_functions=list(functions.values()),
            texts=json.loads(read("texts.json")),
            language=language,
            passwords=passwords,
            reasons=list(ballot.REASONS),
        )
    return page


def launching():
    """What this page needs of `launch` beyond what every page does."""
    from starlette.middleware import Middleware

    return {"footer_links": [], "css": OUTSIDE, "app_kwargs": {"middleware": [Middleware(Only, paths=OPEN)]}}
