"""A program in a terminal of its own: what a user types goes in, what the screen shows comes out."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|\r")
BEGIN_PASTE = "\x1b[?2004h"  # with which line editing begins
PROMPT = "\ue000"  # which stands for it in what a screen shows
CTRL_C, CTRL_D, BACKSPACE, LEFT, UP, ALT_ENTER, ENTER = "\x03", "\x04", "\x7f", "\x1b[D", "\x1b[A", "\x1b\r", "\r"


class Screen:
    """Context manager; `raw` is everything that was written, `text` the same without escape sequences."""

    def __init__(self, command, **env):
        self.raw, self.code, self._seen = "", None, 0
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvpe(
                command[0],
                command,
                {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
            )
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    @property
    def text(self):
        return ESCAPES.sub("", self.raw.replace(BEGIN_PASTE, PROMPT))

    def type(self, *keys):
        os.write(self.fd, "".join(keys).encode())

    def shows(self, words, seconds=60):
        """Wait until the screen has shown `words` since the last call; returns what it has shown since."""
        end = time.monotonic() + seconds
        while words not in self.text[self._seen :]:
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"{words!r} was not shown; since then: {self.text[self._seen :]!r}")
        new = self.text[self._seen :]
        self._seen += new.index(words) + len(words)
        return new[: new.index(words)]

    def enter(self, *keys):
        """Type a line; returns what is shown until the next prompt."""
        self.type(*keys, ENTER)
        return self.shows(PROMPT)

    def shows_more(self, characters, seconds=60):
        """Wait until that much is shown, whatever it is."""
        end = time.monotonic() + seconds
        while len(self.text) < self._seen + characters:
            assert self._read(end), f"only {self.text[self._seen :]!r} was shown"

    def ends(self, seconds=60):
        """Wait for the program's end; returns its exit code."""
        while self._read(time.monotonic() + seconds):
            pass
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _read(self, end):
        """Whether there was something to read."""
        if not select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        self.raw += self._decode.decode(data)
        return bool(data)
