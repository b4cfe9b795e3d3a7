"""Talk to a model in the terminal: a model folder, a LoRA folder, or a server of the OpenAI protocol.

In a terminal with line editing and a history; through a pipe every line is a message. The history is cut to the
model's context by whole exchanges. What is typed cannot open a turn or become a special token
(korlhf/applications/chat/markers.py). Left out: loading an earlier conversation, pictures, tools."""

import logging
from dataclasses import dataclass

from korlhf.applications.chat.bots import open_bot, open_scorer
from korlhf.applications.chat.screen import Pipe, Terminal
from korlhf.applications.chat.terminal import Chat
from korlhf.applications.guard import GuardFlags, open_guard
from korlhf.applications.ratings import RatingFile
from korlhf.core import ai_mark, flags, program
from korlhf.llm import responders
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.flags import CheckpointFlags, StreamFlags

MODEL = "--model_name_or_path"
COMMANDS = "/help shows what there is, /quit ends."
STOPPED = "stopped; what /save did not write is gone"


@dataclass(frozen=True, kw_only=True)
class ChatFlags:
    """chat"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "who answers: a model folder, LoRA folder or hub name, or openai:MODEL[@URL]"
    )
    reward_model: str = flags.flag("", "a reward model whose score of each answer is shown")
    system: str = flags.flag("", "system message, a text or a UTF-8 file")
    temperature: float = flags.flag(0.7, "sampling temperature; 0 = greedy", low=0)
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    max_new_tokens: int = flags.flag(256, "longest answer in tokens", above=0)
    context_tokens: int = flags.flag(
        0,
        "most tokens of history and answer (of a server: characters); older exchanges are left out; 0 = all that fit",
        low=0,
    )
    seed: int = flags.seed_flag("seed of the answers: the same messages get the same answers again")
    ratings: str = flags.flag("", "JSONL file that /good and /bad add the last answer to", output="file")
    history_file: str = flags.flag(
        "~/.korlhf_chat_history", 'file of the messages typed in a terminal, for the arrow keys; "" = none'
    )


def main(argv=None):
    """Exit code: 1 if a message through a pipe got no answer."""
    groups = ChatFlags, ai_mark.NoticeFlags, GuardFlags, StreamFlags, CheckpointFlags
    args, notice, guarded, server, checkpoint = flags.parse(argv, "Talk to a model in the terminal", *groups)
    told = notice.told(ai_mark.BEFORE)
    logging.disable(logging.WARNING)  # the libraries' warnings would stand in the middle of the conversation
    system = responders.read_system(args.system, "--system") if args.system else ""
    ratings = RatingFile(args.ratings) if args.ratings else None
    screen = Terminal(args.history_file) if Terminal.possible() else Pipe()
    sampling = Sampling(args.temperature, args.top_p, args.max_new_tokens, args.seed)
    helpers = open_scorer(args.reward_model, checkpoint), open_guard(guarded, checkpoint)
    limits = args.context_tokens, args.max_new_tokens
    with open_bot(args.model_name_or_path, (checkpoint, server), *limits, what=MODEL) as bot:
        if helpers[1]:
            helpers[1].warm()
        for line in (*dict.fromkeys(told.values() if told else ()), f"{bot.name} answers. {COMMANDS}"):
            screen.welcome(line)
        Chat(bot, helpers, sampling, system, screen, ratings).run()
    return int(screen.problems > 0 and not screen.interactive)


if __name__ == "__main__":
    program.run(main, STOPPED)
