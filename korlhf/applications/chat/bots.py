"""Who answers in the terminal and in the browser.

with open_bot("output/quickstart/ppo") as bot:                       # or
open_bot("openai:MODEL@http://127.0.0.1:8000/v1")
    conversation = Conversation()
    answer = bot.ask(conversation.with_user("안녕"), Sampling(temperature=0.7, top_p=1.0, max_new_tokens=256, seed=1))
    for piece in answer:
        print(piece, end="", flush=True)
    conversation.add("안녕", answer.text)
"""

import os

from korlhf.core.errors import InputError
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import CheckpointFlags, LlmFlags, StreamFlags
from korlhf.llm.responders import SERVER

NO_FLAGS = CheckpointFlags(), StreamFlags()


def open_bot(model, flags=NO_FLAGS, context_tokens=0, max_new_tokens=0, what="--model"):
    """A LocalBot or a ServerBot. model: a model folder, LoRA folder or hub name, or openai:MODEL, or openai:MODEL@URL.

    flags: (CheckpointFlags, StreamFlags); context_tokens: most tokens of a conversation and its answer, 0 = as many as
    the model has; max_new_tokens: the longest answer that will be asked for; what: the flag that names the model, for
    errors. Raises InputError if it cannot be opened, or has no room for such answers."""
    if model.startswith("openai:"):
        bot = _server_bot(model, flags[1], context_tokens, what)
    else:
        of = flags[0]
        path = os.path.expanduser(model)
        checkpoint = Checkpoint(path, what, of.prompt_template, of.dtype, of.trust_remote_code)
        from korlhf.applications.chat.local_bot import LocalBot  # imports torch

        bot = LocalBot(checkpoint, context_tokens)
    if bot.context_tokens is not None and max_new_tokens >= bot.context_tokens:
        bot.close()
        raise InputError(
            f"--max_new_tokens {max_new_tokens}: {bot.name} has room for {bot.context_tokens} tokens of history "
            "and answer together; lower it"
        )
    return bot


def _server_bot(model, server, context_tokens, what):
    match = SERVER.fullmatch(model)
    if match is None:
        raise InputError(f"{what} {model}: no model name; write openai:MODEL or openai:MODEL@http://HOST:PORT/v1")
    flags = LlmFlags(
        base_url=match["url"] or server.base_url,
        api_key_env=server.api_key_env,
        request_timeout=server.request_timeout,
        max_retries=2,
    )
    from korlhf.applications.chat.server_bot import ServerBot  # imports openai

    return ServerBot(match["model"], flags, context_tokens)


def open_scorer(path, checkpoint):
    """The Scorer of a reward model, or None for "". Raises InputError."""
    if not path:
        return None
    from korlhf.applications.chat.scorer import Scorer  # imports torch

    return Scorer(path, checkpoint.dtype, checkpoint.trust_remote_code)
