"""What one person says of the answers to a prompt, and what that says of every two of them.

A ballot is an order (also one with equal ranks, or only the best), all bad, skipped or flagged. An edited answer
counts as better than all the answers there were. Answers are named by their place, from 0."""

from dataclasses import dataclass, replace
from itertools import combinations

from korlhf.applications.web import Refused, whole_number
from korlhf.data import ranking
from korlhf.data.example import RowError, bare
from korlhf.data.ranking import Undecided

KINDS = ("order", "all_bad", "skip", "flag")
VOTES = ("order", "all_bad")  # kinds that count towards the annotators an item needs
REASONS = ("unclear", "broken", "personal", "unsafe", "other")
LONGEST_EDIT, LONGEST_COMMENT = 20_000, 2_000  # characters


@dataclass(frozen=True)
class Ballot:
    """groups: places, best first; those in one group are equal, and better than places in no group.

    edit: the text written in the place of answer edit_of, "" for none. reason: of a flag.
    """

    kind: str
    groups: tuple[tuple[int, ...], ...] = ()
    edit_of: int | None = None
    edit: str = ""
    reason: str = ""
    comment: str = ""

    def renamed(self, places):
        """The same with places[i] in the place of i."""
        return replace(
            self,
            groups=tuple(tuple(sorted(places[i] for i in g)) for g in self.groups),
            edit_of=None if self.edit_of is None else places[self.edit_of],
        )

    def as_dict(self):
        """Without what is empty; `read` takes it back."""
        values = {**vars(self), "groups": [list(g) for g in self.groups]}
        return {name: value for name, value in values.items() if value not in (None, "", [])}


def read(data, n):
    """A dict from the page, or of as_dict, about n answers -> Ballot. Raises Refused."""
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        raise Refused("malformed")
    kind, reason = data["kind"], data.get("reason", "")
    comment = _text(data.get("comment", ""), LONGEST_COMMENT, "comment_too_long")
    edit = _text(data.get("edit", ""), LONGEST_EDIT, "edit_too_long")
    groups, edit_of = _groups(data.get("groups", []), n), data.get("edit_of")
    if bool(edit) != (edit_of is not None) or (edit and not _is_place(edit_of, n)):
        raise Refused("malformed")
    if kind not in VOTES and (groups or edit) or kind == "all_bad" and groups or kind != "flag" and reason:
        raise Refused("malformed")
    if kind == "order" and not groups and not edit:
        raise Refused("nothing_chosen")
    if kind == "flag" and reason not in REASONS:
        raise Refused("no_reason")
    if kind == "flag" and reason == "other" and not comment:
        raise Refused("no_comment")
    return Ballot(kind, groups, edit_of, edit, reason, comment)


def _is_place(value, n):
    return whole_number(value) and 0 <= value < n


def _text(value, longest, code):
    if not isinstance(value, str):
        raise Refused("malformed")
    if len(value) > longest:
        raise Refused(code)
    try:
        return bare(value, "the text") if value.strip() else ""
    except RowError as error:  # nothing but invisible characters, or half a character
        raise Refused("malformed") from error


def _groups(groups, n):
    if not isinstance(groups, list) or not all(isinstance(g, list) and g for g in groups):
        raise Refused("malformed")
    places = [place for group in groups for place in group]
    if not all(_is_place(p, n) for p in places) or len(set(places)) < len(places):
        raise Refused("malformed")
    return tuple(tuple(sorted(g)) for g in groups)


def check_edit(ballot, texts):
    """Refuse an edited answer that is one of the answers (texts). Raises Refused."""
    if ballot.edit and ranking.key(ballot.edit) in {ranking.key(t) for t in texts}:
        raise Refused("edit_is_an_answer")


def compare(ballot, n):
    """{(i, j): the better place, or Undecided.TIE or BOTH_BAD} for the places i < j of n answers that the ballot says
    something about."""
    if ballot.kind == "all_bad":
        return dict.fromkeys(combinations(range(n), 2), Undecided.BOTH_BAD)
    rank = {place: r for r, group in enumerate(ballot.groups) for place in group}
    unnamed, better = len(ballot.groups), {}
    for i, j in combinations(range(n), 2):
        a, b = rank.get(i, unnamed), rank.get(j, unnamed)
        if a != b:
            better[i, j] = i if a < b else j
        elif a < unnamed:
            better[i, j] = Undecided.TIE
    return better
