"""What one person says of the answers to a prompt, and what that says of every two of them.

A ballot is an order (also one with equal ranks, or only the best), all bad, skipped or flagged. An edited answer
counts as better than all the answers there were. Answers are named by their place, from 0."""

from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from korlhf.applications.web import Refused
from korlhf.data.example import RowError, bare
from korlhf.data.ranking import Undecided

VOTES = ("order", "all_bad")  # kinds that count towards the annotators an item needs
KINDS = (*VOTES, "skip", "flag")
REASONS = ("unclear", "broken", "personal", "unsafe", "other")
LONGEST_EDIT, LONGEST_COMMENT = 20_000, 2_000  # characters; those of the page's boxes


def _bare(text):
    try:
        return bare(text, "the text") if text.strip() else ""
    except RowError as error:  # nothing but invisible characters, or half a character
        raise ValueError from error


Place = Annotated[int, Field(strict=True, ge=0)]
Edit = Annotated[str, Field(max_length=LONGEST_EDIT), AfterValidator(_bare)]
Comment = Annotated[str, Field(max_length=LONGEST_COMMENT), AfterValidator(_bare)]


class Ballot(BaseModel):
    """groups: places, best first; those in one group are equal, and better than places in no group.

    edit: the text written in the place of answer edit_of, "" for none. reason: of a flag.
    """

    model_config = ConfigDict(frozen=True)
    kind: Literal[KINDS]
    groups: tuple[Annotated[tuple[Place, ...], Field(min_length=1)], ...] = ()
    edit_of: Place | None = None
    edit: Edit = ""
    reason: Literal["", *REASONS] = ""
    comment: Comment = ""

    @model_validator(mode="after")
    def _consistent(self):
        places, flag = sum(self.groups, ()), self.kind == "flag"
        if (
            len(set(places)) < len(places)
            or bool(self.edit) != (self.edit_of is not None)
            or (self.edit and self.kind not in VOTES)
            or (places and self.kind != "order")
            or (self.kind == "order" and not places and not self.edit)
            or flag != bool(self.reason)
            or (self.reason == "other" and not self.comment)
        ):
            raise ValueError
        return self

    def renamed(self, places):
        """The same with places[i] in the place of i."""
        groups = tuple(tuple(sorted(places[i] for i in group)) for group in self.groups)
        edit_of = None if self.edit_of is None else places[self.edit_of]
        return self.model_copy(update={"groups": groups, "edit_of": edit_of})

    def as_dict(self, exclude=None):
        """Without what is empty; `read` takes it back. exclude: names that are left out as well."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=exclude)


def read(data, n):
    """A dict from the page about n answers -> Ballot. Raises Refused."""
    try:
        ballot = Ballot.model_validate(data)
    except ValidationError as error:
        raise Refused("malformed") from error
    if max((*sum(ballot.groups, ()), ballot.edit_of or 0)) >= n:
        raise Refused("malformed")
    return ballot


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
