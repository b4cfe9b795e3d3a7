"""What the chat in the terminal and the one in the browser share: who answers, and the conversation so far.

with open_bot("output/quickstart/ppo") as bot:                       # or open_bot("openai:MODEL@http://127.0.0.1:8000/v1")
    talk = Conversation()
    answer = bot.ask(talk.with_user("안녕"), Sampling(temperature=0.7, top_p=1.0, max_new_tokens=256, seed=1))
    for piece in answer:
        print(piece, end="", flush=True)
    talk.add("안녕", answer.text)
"""

import os
from dataclasses import replace

from korlhf.applications.chat.server_bot import ServerBot
from korlhf.core.errors import InputError
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import CheckpointFlags, LlmFlags
from korlhf.llm.responders import SERVER


def open_bot(model, checkpoint=CheckpointFlags(), server=LlmFlags(), context_tokens=0, what="--model_name_or_path"):
    """A LocalBot or a ServerBot. model: a model folder, LoRA folder or hub name, or openai:MODEL, or openai:MODEL@URL.

    context_tokens: most tokens of a conversation and its answer, 0 = as many as the model has; what: the flag that names it, for errors.
    Raises InputError if it cannot be opened.
    """
    if not model.startswith("openai:"):
        from korlhf.applications.chat.local_bot import (
            LocalBot,  # imports torch, which a server's user need not wait for
        )

        path = os.path.expanduser(model)
        return LocalBot(
            Checkpoint(path, what, checkpoint.prompt_template, checkpoint.dtype, checkpoint.trust_remote_code),
            context_tokens,
        )
    found = SERVER.fullmatch(model)
    if found is None:
        raise InputError(f"{what} {model}: no model name; write openai:MODEL or openai:MODEL@http://HOST:PORT/v1")
    return ServerBot(found["model"], replace(server, base_url=found["url"] or server.base_url), context_tokens)


class Conversation:
    """Whole exchanges of one user and one bot, as typed and as shown. system: a system message, "" = none."""

    def __init__(self, system=""):
        self.system, self.exchanges = system, []  # [(user's text, answer)]

    def with_user(self, text):
        """The messages to be answered if the user now says `text`."""
        return [*self._said(), {"role": "user", "content": text}]

    def add(self, text, answer):
        """Note an exchange. One without an answer's text is left out: there is nothing to refer to."""
        if answer.strip():
            self.exchanges.append((text, answer))

    def record(self, **more):
        """A line for a JSONL file that step 1 reads by --data_path: {"messages", ...}; it trains the answers."""
        return {"messages": self._said(), **more}

    def _said(self):
        said = [{"role": "system", "content": self.system}] if self.system else []
        for text, answer in self.exchanges:
            said += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        return said
