"""Trained models in the browser: chat with one, compare two blind and vote, read the run's report. For several
visitors at once.

Gradio runs the server (gradio.Server, its mode for a page of one's own) and opens the public link if --share asks for
one; page/ is what the browser gets, korlhf/applications/web_demo answers it. Left out: pictures, tools, accounts
beyond a log-in, conversations that outlive the server."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from korlhf.applications import accounts, web
from korlhf.applications.chat.bots import open_scorer
from korlhf.applications.database import Database
from korlhf.applications.guard import GuardFlags, open_guard
from korlhf.applications.ratings import RatingFile
from korlhf.applications.web_demo import models
from korlhf.applications.web_demo.limits import Limits
from korlhf.applications.web_demo.routes import Site
from korlhf.applications.web_demo.service import Service, System
from korlhf.applications.web_demo.sessions import Sessions
from korlhf.applications.web_demo.votes import VoteFile
from korlhf.core import ai_mark, flags, program
from korlhf.llm import responders
from korlhf.llm.flags import CheckpointFlags, StreamFlags

PAGE = Path(__file__).resolve().parent / "page"
STOPPED = "stopped; votes and ratings are kept, conversations are not"


@dataclass(frozen=True, kw_only=True)
class DemoFlags:
    """demo"""

    model: list[str] = flags.flag(
        flags.REQUIRED,
        "one model, or two to compare: [NAME=]FOLDER of a model or LoRA, [NAME=]HUB_NAME, or "
        "[NAME=]openai:MODEL[@URL] of a server; visitors see NAME",
    )
    reward_model: str = flags.flag(
        "", "reward model whose score is shown with answers (in the comparison after the vote)"
    )
    votes: str = flags.flag("", "JSONL file that votes are added to, for step 2; needed with two models", output="file")
    category: str = flags.flag("web_demo", "category of the votes, for step 2's figures by category")
    ratings: str = flags.flag(
        "", "JSONL file that thumbs up and down for answers are added to; not given = no thumbs", output="file"
    )
    report: str = flags.flag(
        "", "HTML file of the run's report; not given = report.html next to the first model's folder, if it is there"
    )
    system: str = flags.flag("", "system message at first, a text or a UTF-8 file")
    fixed_system: bool = flags.flag(False, "visitors neither see nor change the system message")
    language: str = flags.flag(
        "auto",
        "language of the page at first, auto = the browser's; each visitor can switch",
        choices=["auto", "ko", "en"],
    )

    def check(self, parser):
        if len(self.model) > 2:
            parser.error(f"--model: {len(self.model)} are given; give one, or two to compare")
        if len(self.model) == 2 and not self.votes:
            parser.error(
                "--votes: give the file for the votes between the two models, e.g. --votes output/web_demo/votes.jsonl"
            )


def main(argv=None):
    groups = DemoFlags, ai_mark.NoticeFlags, GuardFlags, Limits, web.ServerFlags, StreamFlags, CheckpointFlags
    found = flags.parse(argv, "Trained models in the browser", *groups)
    demo, notice, guarded, limits, server, openai, checkpoint = found
    if limits.max_answers < len(demo.model):
        flags.Parser().error(f"--max_answers {limits.max_answers}: a comparison has two answers; give at least 2")
    told = notice.told(ai_mark.BEFORE)
    web.be_quiet()
    named = models.named(demo.model)
    report = models.find_report(demo.report, named)
    system = System(responders.read_system(demo.system, "--system") if demo.system else "", demo.fixed_system)
    votes = VoteFile(demo.votes) if len(named) == 2 else None
    ratings = RatingFile(demo.ratings) if demo.ratings else None
    passwords = accounts.read_passwords(server.auth_file) if server.auth_file else None
    web.check_port(server.host, server.port)
    guard = open_guard(guarded, checkpoint)
    with ExitStack() as stack:
        bots = models.open_bots(named, limits, (checkpoint, openai), stack)
        if guard:
            guard.warm()
        helpers = open_scorer(demo.reward_model, checkpoint), guard
        service = Service(bots, helpers, votes, limits, system, demo.category, ratings)
        people = passwords and accounts.Accounts(Database(":memory:", accounts.SCHEMA), passwords)
        settings = models.settings(named, service, demo.language, told)
        site = Site(service, Sessions(limits.max_sessions), people, PAGE, settings, report)
        web.serve(site, server, "web demo", STOPPED)


if __name__ == "__main__":
    program.run(main, STOPPED)
