"""What one person says of the answers to a prompt, and what that says of every two of them.

A verdict is an order (also one with equal ranks, or only the best), all bad, skipped or flagged. An edited answer counts as better than all
the answers there were. Answers are named by their place, from 0.
"""

from dataclasses import dataclass, replace
from itertools import combinations

from korlhf.data import ranking
from korlhf.data.example import RowError, bare

KINDS = ("order", "all_bad", "skip", "flag")
VOTES = ("order", "all_bad")  # kinds that count towards the annotators an item needs
REASONS = ("unclear", "broken", "personal", "unsafe", "other")
LONGEST_EDIT, LONGEST_COMMENT = 20_000, 2_000  # characters
FIRST, SECOND, TIE, BOTH_BAD = "first", "second", "tie", "both_bad"


class VerdictError(ValueError):
    """A verdict that cannot be taken; the text is a short code that the page has words for."""


@dataclass(frozen=True)
class Verdict:
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
        found = {
            "kind": self.kind,
            "groups": [list(g) for g in self.groups],
            "edit_of": self.edit_of,
            "edit": self.edit,
            "reason": self.reason,
            "comment": self.comment,
        }
        return {name: value for name, value in found.items() if value not in (None, "", [])}


def read(data, n):
    """A dict from the page, or of as_dict, about n answers -> Verdict. Raises VerdictError."""
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        raise VerdictError("malformed")
    kind, reason = data["kind"], data.get("reason", "")
    comment = _text(data.get("comment", ""), LONGEST_COMMENT, "comment_too_long")
    edit = _text(data.get("edit", ""), LONGEST_EDIT, "edit_too_long")
    groups, edit_of = _groups(data.get("groups", []), n), data.get("edit_of")
    if bool(edit) != (edit_of is not None) or (edit and not _is_place(edit_of, n)):
        raise VerdictError("malformed")
    if kind not in VOTES and (groups or edit) or kind == "all_bad" and groups or kind != "flag" and reason:
        raise VerdictError("malformed")
    if kind == "order" and not groups and not edit:
        raise VerdictError("nothing_chosen")
    if kind == "flag" and reason not in REASONS:
        raise VerdictError("no_reason")
    if kind == "flag" and reason == "other" and not comment:
        raise VerdictError("no_comment")
    return Verdict(kind, groups, edit_of, edit, reason, comment)


def _is_place(value, n):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < n


def _text(value, longest, code):
    if not isinstance(value, str):
        raise VerdictError("malformed")
    if len(value) > longest:
        raise VerdictError(code)
    try:
        return bare(value, "the text") if value.strip() else ""
    except RowError as error:  # nothing but invisible characters, or half a character
        raise VerdictError("malformed") from error


def _groups(groups, n):
    if not isinstance(groups, list) or not all(isinstance(g, list) and g for g in groups):
        raise VerdictError("malformed")
    places = [place for group in groups for place in group]
    if not all(_is_place(p, n) for p in places) or len(set(places)) < len(places):
        raise VerdictError("malformed")
    return tuple(tuple(sorted(g)) for g in groups)


def check_edit(verdict, texts):
    """Refuse an edited answer that is one of the answers (texts). Raises VerdictError."""
    if verdict.edit and ranking.key(verdict.edit) in {ranking.key(t) for t in texts}:
        raise VerdictError("edit_is_an_answer")


def compare(verdict, n):
    """{(i, j): FIRST, SECOND, TIE or BOTH_BAD} for the places i < j of n answers that the verdict says something about."""
    if verdict.kind == "all_bad":
        return {pair: BOTH_BAD for pair in combinations(range(n), 2)}
    rank = {place: r for r, group in enumerate(verdict.groups) for place in group}
    unnamed, said = len(verdict.groups), {}
    for i, j in combinations(range(n), 2):
        a, b = rank.get(i, unnamed), rank.get(j, unnamed)
        if a != b:
            said[i, j] = FIRST if a < b else SECOND
        elif a < unnamed:
            said[i, j] = TIE
    return said
