"""Dialogues whose user turns are written beforehand: each responder answers them one after the other, with its own
earlier answers before it."""

from collections.abc import Sequence
from contextlib import ExitStack

from korlhf.data.example import Message
from korlhf.llm import responders
from korlhf.llm.protocol import Reply
from korlhf.llm.responders import Answers, Responder, Setup


def dialogue(turns: Sequence[str], said: Sequence[str]) -> list[Message]:
    """Messages that end with the user's: each turn with what was said to it, then the turn after the last answer."""
    messages = []
    for turn, text in zip(turns, said):
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": text}]
    return [*messages, {"role": "user", "content": turns[len(said)]}]


def answers(
    who: Sequence[Responder], scripts: Sequence[Sequence[str]], setup: Setup, system: str = ""
) -> tuple[dict[str, Answers], dict[str, dict]]:
    """As responders.answers of checkpoints and servers, but of each script a Reply or Failure per user turn.

    After a Failure the later turns of its script cannot be asked, and are the same Failure.
    """
    opened = {r.name: responders.open_checkpoints([r], setup.sampler) for r in who}  # before anything is paid for
    out: dict[str, Answers] = {}
    how: dict[str, dict] = {}
    turns = max(map(len, scripts))
    for responder in who:
        with ExitStack() as stack:  # one server for all turns, each of which is longer than the one before
            for checkpoint in opened[responder.name].values():
                stack.enter_context(checkpoint.served(setup.cache, min(2, turns)))
            out[responder.name], of_one = _of_one(responder, scripts, setup, system, opened[responder.name])
        how |= of_one
    return out, how


def _of_one(responder, scripts, setup, system, opened):
    said: Answers = [[] for _ in scripts]
    how: dict[str, dict] = {}
    for turn in range(max(map(len, scripts))):
        open_ones = [i for i, one in enumerate(said) if turn < len(scripts[i]) and _whole(one)]
        asked = [{"messages": dialogue(scripts[i], [reply.text for reply in said[i]])} for i in open_ones]
        found, of_turn = responders.answers([responder], asked, setup, system, opened)
        how |= of_turn
        for i, (reply,) in zip(open_ones, found[responder.name]):
            said[i].append(reply)
    for script, one in zip(scripts, said):
        one += one[-1:] * (len(script) - len(one))
    return said, how


def _whole(said):
    return all(isinstance(reply, Reply) for reply in said)
