"""Talk to a model in the terminal: a model folder, a LoRA folder, or a server of the OpenAI protocol.

In a terminal with line editing and a history; through a pipe every line is a message. The history is cut to the model's context by whole
exchanges. What is typed cannot open a turn or become a special token (korlhf/applications/chat/guard.py).
Left out: loading an earlier conversation, pictures, tools.
"""

import json
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from korlhf.applications.chat.chat import Conversation, open_bot
from korlhf.applications.chat.screen import Pipe, Terminal
from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.llm import responders
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.flags import CheckpointFlags, LlmFlags, StreamFlags

HELP = """/reset             begin a new conversation
/regen             another answer to the last message
/system TEXT       a system message from now on; without TEXT there is none
/temperature X     sampling temperature; 0 = greedy, always the likeliest token
/save FILE.jsonl   add the conversation to a file that step 1 reads by --data_path
/quit              end (or Ctrl-D, or Ctrl-C twice)
Ctrl-C stops an answer, which is then forgotten; Alt-Enter begins a new line;
the arrow keys bring back earlier messages."""


@dataclass(frozen=True, kw_only=True)
class ChatFlags:
    """chat"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "who answers: a model folder, LoRA folder or hub name, or openai:MODEL[@URL]"
    )
    reward_model: str = flags.flag("", "a reward model whose score of each answer is shown")
    system: str = flags.flag("", "system message, a text or a UTF-8 file")
    temperature: float = flags.flag(0.7, "sampling temperature; 0 = greedy")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flags.flag(256, "longest answer in tokens")
    context_tokens: int = flags.flag(
        0, "most tokens of history and answer (of a server: characters); older exchanges are left out; 0 = all that fit"
    )
    seed: int = flags.flag(1234, "seed of the answers: the same messages get the same answers again")
    history_file: str = flags.flag(
        "~/.korlhf_chat_history", 'file of the messages typed in a terminal, for the arrow keys; "" = none'
    )


def parse(argv=None):
    """(ChatFlags, StreamFlags, CheckpointFlags)"""
    parser = flags.Parser(description="Talk to a model in the terminal")
    groups = (ChatFlags, StreamFlags, CheckpointFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    args, server, checkpoint = (flags.read(space, group) for group in groups)
    flags.check_positive(
        {"top_p": args.top_p, "max_new_tokens": args.max_new_tokens, "request_timeout": server.request_timeout}, parser
    )
    if args.temperature < 0 or args.context_tokens < 0:
        parser.error("--temperature and --context_tokens must be 0 or above")
    return args, server, checkpoint


class Chat:
    """A conversation, and what the user may ask for beside answers."""

    def __init__(self, bot, scorer, sampling, system, screen):
        self.bot, self.scorer, self.sampling, self.screen = bot, scorer, sampling, screen
        self.talk = Conversation(system)
        self.last, self.sample = (
            None,
            0,
        )  # the newest message, also if its answer was stopped; and how often it was answered before
        self.commands = {
            "reset": self.reset,
            "regen": self.regen,
            "system": self.system,
            "temperature": self.temperature,
            "save": self.save,
            "help": self.help,
        }

    def run(self):
        """Until the user has had enough."""
        warned = False
        while True:
            try:
                text = self.screen.read()
            except KeyboardInterrupt:
                if not self.screen.interactive:
                    raise
                if warned:
                    return
                warned = True
                self.screen.note("Ctrl-C again ends the chat (as /quit does)")
                continue
            warned = False
            words = [] if text is None else text.split(maxsplit=1)
            if text is None or words[:1] == ["/quit"]:
                return
            if words:
                self.take(text.strip())

    def take(self, text):
        """One line of the user's: a command, or a message."""
        first, *rest = text.split(maxsplit=1)
        name = first.removeprefix("/")
        try:
            if not text.startswith("/") or not name.isascii() or not name.isalpha():
                self.say(text)
            elif name in self.commands:
                self.commands[name](rest[0] if rest else "")
            else:
                self.screen.note(f"there is no /{name}; /help shows what there is")
        except InputError as error:
            self.screen.problem(str(error))

    def say(self, text, sample=0):
        self.last, self.sample = text, sample
        messages = self.talk.with_user(text)
        answer = None
        try:
            answer = self.bot.ask(messages, self.sampling, sample)
            for piece in answer:
                self.screen.show(piece)
        except KeyboardInterrupt:
            if answer is not None:
                answer.cancel()
            self.screen.end()
            if not self.screen.interactive:
                raise
            self.screen.note("stopped, and forgotten; /regen answers again")
            return
        except InputError:
            if answer is not None and answer.text:
                self.screen.end()
            raise
        self.screen.end()
        self.talk.add(text, answer.text)
        self.after(answer, messages)

    def after(self, answer, messages):
        """What there is to say about an answer."""
        if not answer.text:
            self.screen.note("(an empty answer; it is not kept)")
            return
        if answer.finish_reason == "length":
            self.screen.note(f"(cut at --max_new_tokens {self.sampling.max_new_tokens})")
        if answer.left_out:
            self.screen.note(f"(oldest exchanges that no longer fit and were left out: {answer.left_out})")
        if self.scorer is not None:
            try:
                self.screen.note(f"score {self.scorer.score(messages, answer.text):+.2f}")
            except KeyboardInterrupt:  # the answer is whole, and kept
                if not self.screen.interactive:
                    raise
                self.screen.note("(not scored)")

    def reset(self, _):
        self.talk.exchanges.clear()
        self.last = None
        self.screen.note("a new conversation")

    def regen(self, _):
        if self.last is None:
            self.screen.note("there is no message yet")
            return
        if self.talk.exchanges and self.talk.exchanges[-1][0] == self.last:
            self.talk.exchanges.pop()
        if self.sampling.temperature == 0:
            self.screen.note("(temperature 0: the answer is always the same)")
        self.say(self.last, self.sample + 1)

    def system(self, text):
        self.talk.system = text
        self.screen.note("system message set" if text else "no system message")

    def temperature(self, text):
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise InputError(
                f"{f'/temperature {text}'.rstrip()}: give a number of 0 or above (it is {self.sampling.temperature:g})"
            )
        self.sampling = replace(self.sampling, temperature=value)
        self.screen.note(f"temperature {value:g}")

    def save(self, name):
        path = Path(name).expanduser()
        if path.suffix != ".jsonl":
            raise InputError(f"{f'/save {name}'.rstrip()}: give the name of a file that ends in .jsonl")
        if not self.talk.exchanges:
            raise InputError("/save: there is no answer yet")
        line = json.dumps(self.talk.record(source="chat", model=self.bot.name), ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                print(line, file=file)
        except OSError as error:
            raise InputError(
                f"/save {path}: cannot be written: {error.strerror or error}; give another name"
            ) from error
        self.screen.note(f"saved: {path} has one more line")

    def help(self, _):
        self.screen.note(HELP)


def chat(args, server, checkpoint):
    """Exit code: 1 if a message through a pipe got no answer."""
    system = responders.read_system(args.system, "--system") if args.system else ""
    server = LlmFlags(
        base_url=server.base_url, api_key_env=server.api_key_env, request_timeout=server.request_timeout, max_retries=2
    )
    screen = Terminal(args.history_file) if Terminal.possible() else Pipe()
    scorer = None
    if args.reward_model:
        from korlhf.applications.chat.scorer import Scorer  # imports torch

        scorer = Scorer(args.reward_model, checkpoint.dtype, checkpoint.trust_remote_code)
    with open_bot(args.model_name_or_path, checkpoint, server, args.context_tokens) as bot:
        if bot.context_tokens is not None and args.max_new_tokens >= bot.context_tokens:
            raise InputError(
                f"--max_new_tokens {args.max_new_tokens}: there is room for {bot.context_tokens} tokens of history and answer "
                "together; lower it"
            )
        screen.welcome(f"{bot.name} answers. /help shows what there is, /quit ends.")
        Chat(bot, scorer, Sampling(args.temperature, args.top_p, args.max_new_tokens, args.seed), system, screen).run()
    return int(screen.problems > 0 and not screen.interactive)


def main():
    args = parse()
    logging.disable(logging.WARNING)  # the libraries' warnings would stand in the middle of the talk
    try:
        return chat(*args)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    program.run(main)
