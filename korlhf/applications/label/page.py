"""The page of the labelling over HTTP (korlhf/applications/site.py): its files, and the answers of service.py."""

import json
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from korlhf.applications import site
from korlhf.applications.label import ballot
from korlhf.core.errors import told

SCRIPTS = ("elements.js", "dom.js", "choice.js", "item.js", "guide.js", "panels.js", "keys.js", "work.js")


def read_guidelines(path):
    """The text of --guidelines. Raises InputError."""
    remedy = 'give a UTF-8 text file, or ""'
    with told(f"--guidelines {path}: cannot be read", remedy, (OSError, UnicodeDecodeError)):
        return Path(path).expanduser().read_text(encoding="utf-8").strip()


class Page(site.Site):
    """folder: of the page's files; service: service.Service; settings: what the page is told at first: its language,
    whether people are asked for passwords, the guidelines (Markdown), a person's share of a day (0: none)."""

    def __init__(self, folder, service, settings):
        super().__init__(folder, ballot.LONGEST_EDIT + ballot.LONGEST_COMMENT)
        self.service = service
        script = b"\n".join(self.files[name][0] for name in SCRIPTS)  # one script with one state
        self.files["label.js"] = script, site.TYPES[".js"]
        settings = {**settings, "reasons": ballot.REASONS}
        self.files["settings.json"] = json.dumps(settings, ensure_ascii=False).encode("utf-8"), site.TYPES[".json"]

    async def answer(self, name, data, request):
        """In a thread: the database may be waited for, and agreement takes its time."""
        call = self.guess if name == "enter" else run_in_threadpool
        return await call(self.service.answer, name, data, request.client.host)
