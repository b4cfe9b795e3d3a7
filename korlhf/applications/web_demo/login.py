"""Who may come in: names and passwords of the labelling program's file (korlhf/applications/accounts.py).

A log-in lasts as long as the server.
"""

import asyncio
import secrets
from collections import OrderedDict

from korlhf.applications import accounts
from korlhf.applications.web_demo.limits import Refused, is_text

MOST = 10_000  # log-ins that are remembered


class Login:
    """passwords: of accounts.read_passwords, or None: everybody may come in. To be used from one event loop."""

    def __init__(self, passwords=None):
        self.passwords = passwords
        self._inside, self._one_at_a_time = (
            OrderedDict(),
            asyncio.Lock(),
        )  # a guess takes a thread for 50 ms: many take one thread

    def knows(self, token):
        """Whether the holder of a token may come in."""
        return self.passwords is None or token in self._inside

    async def enter(self, data):
        """A token for who knows a password. Raises Refused."""
        name, password = data.get("name"), data.get("password")
        if not is_text(name) or not is_text(password):
            raise Refused("malformed")
        async with self._one_at_a_time:
            known = self.passwords is not None and await asyncio.to_thread(
                accounts.matches, self.passwords, name, password
            )
        if not known:
            raise Refused("wrong_password")
        token = secrets.token_urlsafe(24)
        self._inside[token] = True
        while len(self._inside) > MOST:
            self._inside.popitem(last=False)
        return token

    def leave(self, token):
        """End a log-in."""
        self._inside.pop(token, None)
