"""People choose among answers: a page for several annotators at once, every label in an SQLite file before the page
says so.

Left out: making the training file out of the labels (export.py).
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.applications import accounts, web
from korlhf.applications.label import items
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.page import Page, read_guidelines
from korlhf.applications.label.service import Service
from korlhf.applications.label.store import Store
from korlhf.core import flags, program
from korlhf.core.errors import InputError

PAGE = Path(__file__).resolve().parent / "page"
STOPPED = "stopped; every label is saved: the same command continues"


@dataclass(frozen=True, kw_only=True)
class LabelFlags:
    """labelling"""

    input: list[str] = flags.flag(
        [],
        "files of prompts with 2 to 6 answers: of respond, score or rank, or with answers, or with chosen "
        "and rejected; items that are in the database already stay as they are; none: continue with the database",
    )
    database: str = flags.flag(
        flags.REQUIRED, "SQLite file of items and labels; made if it is not there", output="file"
    )
    annotators_per_item: int = flags.flag(2, "people who label each item", low=1)
    lease_minutes: float = flags.flag(
        30.0, "how long an item waits for the person who has it before them, until it is given to another", above=0
    )
    seed: int = flags.seed_flag("seed of the order in which answers are shown, which differs for each person and item")
    guidelines: str = flags.flag(
        str(PAGE.with_name("guidelines.md")), "UTF-8 file of the guidelines beside the item: Markdown; empty = none"
    )
    daily_share: int = flags.flag(50, "labels of a person's share of a day, for their progress; 0 = none", low=0)
    show_category: bool = flags.flag(
        False, "tell people the category of an item; not given = hidden, for it may tell them what is expected"
    )
    language: str = flags.flag("ko", "language of the page at first; each person can switch", choices=["ko", "en"])


def main(argv=None):
    groups = LabelFlags, web.ServerFlags
    args, server = flags.parse(argv, "Human preference labels, in the browser", *groups, port=7870)
    if server.share and not server.auth_file:
        flags.Parser().error("--share lets in everybody who has the link; give --auth_file as well")
    guidelines = read_guidelines(args.guidelines) if args.guidelines else ""
    web.be_quiet()
    passwords = accounts.read_passwords(server.auth_file) if server.auth_file else None
    web.check_port(server.host, server.port)
    with Store(args.database) as store:
        found, left_out = items.read(args.input)
        added = store.add_items(found)
        print(f"items: {added:,} new, {len(found) - added:,} were there already", flush=True)
        for reason, n in left_out.most_common():
            print(f"  {n:>9,}  left out: {reason}", flush=True)
        if not store.one("SELECT 1 FROM items"):
            raise InputError(
                f"--database {args.database}: has no items; give files of prompts and answers with --input"
            )
        desk = Desk(store, args.annotators_per_item, 60 * args.lease_minutes, args.seed, args.show_category)
        service = Service(desk, accounts.Accounts(store, passwords))
        settings = {"language": args.language, "passwords": passwords is not None, "share": args.daily_share}
        page = Page(PAGE, service, {**settings, "guidelines": guidelines})
        web.serve(page, server, "labelling", STOPPED)


if __name__ == "__main__":
    program.run(main, STOPPED)
