"""What a speaker says in a conversation, and what was said before it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from korlhf.data.example import Message


@dataclass(frozen=True)
class Turn:
    """What one speaker says until another does. flaw: why it cannot be used, or ""; immoral: not for an assistant."""

    id: str
    speaker: str
    text: str
    flaw: str = ""
    immoral: bool = False


def joined(turns: Iterable[Turn]) -> list[Turn]:
    """The turns, with those of one speaker in a row made one."""
    found = []
    for turn in turns:
        if found and found[-1].speaker == turn.speaker:
            last = found.pop()
            flaw, immoral = last.flaw or turn.flaw, last.immoral or turn.immoral
            turn = Turn(last.id, last.speaker, f"{last.text} {turn.text}", flaw, immoral)
        found.append(turn)
    return found


def earlier(turns: Sequence[Turn], i: int, history: int) -> list[Message]:
    """At most `history` turns before the i-th as messages; none before one with a flaw or of a third speaker."""
    asks, answers, back = turns[i].speaker, turns[i - 1].speaker if i else "", []
    for turn in reversed(turns[max(0, i - history) : i]):
        role, speaker = ("user", asks) if len(back) % 2 else ("assistant", answers)
        if turn.flaw or turn.speaker != speaker or (turn.immoral and role == "assistant"):
            break
        back.append({"role": role, "content": turn.text})
    return back[: len(back) // 2 * 2][::-1]
