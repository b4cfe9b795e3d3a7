"""Where a chat is read from and shown: a terminal, or plain lines when one end is a pipe or a file."""

import os
import re
import sys
from pathlib import Path

from korlhf.core.errors import told
from korlhf.llm.protocol import whole

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # an answer must not move the cursor or rename the window


class Pipe:
    """A line in is a message; answers go to stdout, everything else to stderr."""

    interactive = False

    def __init__(self):
        self.problems = 0

    def read(self):
        """The next message, or None at the end."""
        line = sys.stdin.readline()
        return whole(line) if line else None

    def show(self, piece):
        print(CONTROL.sub("", piece), end="", flush=True)

    def end(self):
        """The answer's last line is complete."""
        print(flush=True)

    def welcome(self, text):
        """Who answers: nothing that a pipe needs to know."""

    def note(self, text):
        """Something that is not the bot's."""
        print(text, file=sys.stderr, flush=True)

    def problem(self, text):
        """What went wrong with one message; they are counted."""
        self.problems += 1
        print(f"error: {text}", file=sys.stderr, flush=True)


class Terminal(Pipe):
    """Line editing and a history by prompt_toolkit, which knows how wide Hangul is; notes are dimmed."""

    interactive = True

    def __init__(self, history_file):
        """history_file: "" = none. Raises InputError if it cannot be written."""
        super().__init__()
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        if history_file:
            path = Path(history_file).expanduser()
            with told(f"--history_file {path}: cannot be written", 'give another, or ""'):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what people tell a bot is theirs
        history = FileHistory(str(path)) if history_file else InMemoryHistory()
        self._session = PromptSession(history=history, key_bindings=_new_line_on_alt_enter())
        self._dim, self._plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[2m", "\x1b[0m")

    @staticmethod
    def possible():
        """Whether someone sits at both ends."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def read(self):
        try:
            return whole(self._session.prompt("> "))
        except EOFError:
            return None

    def welcome(self, text):
        self.note(text)

    def note(self, text):
        print(f"{self._dim}{CONTROL.sub('', text)}{self._plain}", flush=True)

    def problem(self, text):
        self.problems += 1
        print(f"error: {CONTROL.sub('', text)}", flush=True)


def _new_line_on_alt_enter():
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()
    bindings.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    return bindings
