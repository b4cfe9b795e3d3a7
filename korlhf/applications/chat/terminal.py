"""A chat on a screen (screen.py): messages, and what the user may ask for besides answers."""

import json
import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path

from korlhf.applications import ratings
from korlhf.applications.chat.conversation import Conversation
from korlhf.applications.guard import plain
from korlhf.core.ai_mark import mark_now
from korlhf.core.errors import InputError, told

HELP = """/reset             begin a new conversation
/regen             another answer to the last message
/system TEXT       a system message from now on; without TEXT there is none
/temperature X     sampling temperature; 0 = greedy, always the likeliest token
/top_p X           nucleus sampling; 1 = off
/seed N            seed of the answers from now on
/good, /bad        rate the last answer, in the file of --ratings
/save FILE.jsonl   add the conversation, marked as AI's, to a file that step 1 reads by --data_path
/quit              end (or Ctrl-D, or Ctrl-C twice)
Ctrl-C stops an answer, which is then forgotten; Alt-Enter begins a new line;
the arrow keys bring back earlier messages."""


SETTINGS = {  # of the sampling: kind, what is expected, whether a value is that
    "temperature": (float, "a number of 0 or above", lambda value: 0 <= value < float("inf")),
    "top_p": (float, "a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "seed": (int, "a whole number of 0 or above", lambda value: value >= 0),
}


class Chat:
    """bot: of bots.open_bot; helpers: (scorer.Scorer or None, guard.Guard or None); sampling: llm.checkpoint.Sampling;
    system: a system message or ""; screen: screen.Pipe or screen.Terminal; rating_file: ratings.RatingFile, or
    None."""

    def __init__(self, bot, helpers, sampling, system, screen, rating_file=None):
        self.bot, self.sampling, self.screen = bot, sampling, screen
        self.scorer, self.guard = helpers
        self.rating_file, self.rateable = rating_file, None  # (id, row for the file) of the last answer
        self.conversation = Conversation(system)
        # the newest message, also if its answer was stopped; how often it was answered
        self.last, self.sample = None, 0
        commands = (self.reset, self.regen, self.system, self.save, self.help)
        self.commands = {command.__name__: command for command in commands}
        self.commands |= {name: partial(self._set, name) for name in SETTINGS}
        self.commands |= {name: partial(self._rate, name) for name in ("good", "bad")}

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
            if not text.startswith("/") or not name.isascii() or not name.replace("_", "").isalpha():
                self.say(text)
            elif name in self.commands:
                self.commands[name](rest[0] if rest else "")
            else:
                self.screen.note(f"there is no /{name}; /help shows what there is")
        except InputError as error:
            self.screen.problem(str(error))

    def say(self, text, sample=0):
        """Ask for an answer to a message and show it as it arrives."""
        self.last, self.sample, self.rateable = text, sample, None
        messages = self.conversation.with_user(text)
        answer = None
        try:
            self._show_help(messages)
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
        self.conversation.add(text, answer.text)
        if answer.text:
            row = ratings.record(messages, answer.text, self.bot.name, self.sampling, "chat")
            self.rateable = secrets.token_hex(8), {**row, "sample": sample}
        self._remark(answer, messages)

    def _show_help(self, messages):
        """The helplines, before the answer, if the guard sees a need."""
        for line in plain(self.guard(messages)) if self.guard else ():
            self.screen.note(line)

    def _remark(self, answer, messages):
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
        self.conversation.exchanges.clear()
        self.last = self.rateable = None
        self.screen.note("a new conversation")

    def regen(self, _):
        if self.last is None:
            self.screen.note("there is no message yet")
            return
        exchanges = self.conversation.exchanges
        if exchanges and exchanges[-1][0] == self.last:
            exchanges.pop()
        if self.sampling.temperature == 0:
            self.screen.note("(temperature 0: the answer is always the same)")
        self.say(self.last, self.sample + 1)

    def system(self, text):
        self.conversation.system = text
        self.screen.note("system message set" if text else "no system message")

    def _set(self, name, text):
        kind, expected, fits = SETTINGS[name]
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            now = kind(getattr(self.sampling, name))
            raise InputError(f"{f'/{name} {text}'.rstrip()}: give {expected} (it is {_short(now)})")
        self.sampling = replace(self.sampling, **{name: value})
        self.screen.note(f"{name} {_short(value)}")

    def _rate(self, word, _):
        """Write what the user thinks of the last answer; said again, the last word counts."""
        if self.rating_file is None:
            raise InputError("/good, /bad: there is no file for ratings; start the chat with --ratings FILE.jsonl")
        if self.rateable is None:
            raise InputError("/good, /bad: there is no answer to rate")
        (row_id, row), path = self.rateable, self.rating_file.path
        with told(f"--ratings {path}: cannot be written", "make room on its disk"):
            self.rating_file.put(row_id, word == "good", row)
        self.screen.note(f"rated {word}: {path}")

    def save(self, name):
        path = Path(name).expanduser()
        if path.suffix != ".jsonl":
            raise InputError(f"{f'/save {name}'.rstrip()}: give the name of a file that ends in .jsonl")
        if not self.conversation.exchanges:
            raise InputError("/save: there is no answer yet")
        row = {"messages": self.conversation.messages, "source": "chat", "model": self.bot.name, **mark_now()}
        with told(f"/save {path}: cannot be written", "give another name"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                print(json.dumps(row, ensure_ascii=False), file=file)
        self.screen.note(f"saved: {path} has one more line")

    def help(self, _):
        self.screen.note(HELP)


def _short(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
