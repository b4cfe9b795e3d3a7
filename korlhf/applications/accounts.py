"""Who may come in: names, an optional file of passwords, and log-ins, which outlive a restart if their database is a
file.

The password file has a line NAME:SALT:HASH for each person (scrypt, hexadecimal); applications/label/add_annotator.py
writes it. Without such a file a name is enough, and people are trusted to give their own."""

import hashlib
import hmac
import math
import re
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from korlhf.applications.web import Refused
from korlhf.core.errors import InputError, told
from korlhf.core.files import AtomicFile

LONGEST_NAME, LONGEST_PASSWORD = 40, 200
MOST = 10_000  # log-ins that are remembered; the oldest make room
SCHEMA = """
CREATE TABLE IF NOT EXISTS annotators (
    number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, name TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    token TEXT PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotators, proof TEXT NOT NULL, began TEXT NOT NULL);
"""
_LINE = re.compile(r"[^:]+:[0-9a-f]{32}:[0-9a-f]{64}")
FREE = 3  # wrong guesses; after each further one the wait is twice as long
LONGEST_WAIT = 300  # seconds; while it lasts MOST others cannot be guessed, so that nobody makes room for themselves


def clean_name(text):
    """A name without surrounding and double blanks, in composed form; "" if it is none, is too long or holds ":" or
    control characters."""
    if not isinstance(text, str):
        return ""
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    return name if name.isprintable() and ":" not in name and len(name) <= LONGEST_NAME else ""


def _hash(password, salt):
    # JSON can hold half a surrogate pair
    secret = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()


def read_passwords(path):
    """A password file -> {name in lower case: (salt, hash)}. Raises InputError with file and line, also if it holds
    nobody."""
    people = {name: tuple(line.split(":")[1:]) for name, line in _lines(path).items()}
    if not people:
        raise InputError(f"--auth_file {path}: holds nobody, so nobody could log in; add people with add_annotator.py")
    return people


def _lines(path):
    """{name in lower case: its line}. Raises InputError for what is no password file."""
    with told(f"--auth_file {path}: cannot be read", "make it with add_annotator.py", (OSError, UnicodeDecodeError)):
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines, 1):
        if line and not _LINE.fullmatch(line):
            raise InputError(
                f"{path}:{n}: is no line NAME:SALT:HASH; delete it, and add the person with add_annotator.py"
            )
    return {clean_name(line.split(":")[0]).casefold(): line for line in lines if line}


def write_password(path, name, password):
    """Add a person to a password file, or give them a new password; the file can be read by its owner only."""
    people = _lines(path) if Path(path).expanduser().exists() else {}
    people.pop(name.casefold(), None)
    salt = secrets.token_hex(16)
    with AtomicFile(path, "--auth_file", mode=0o600) as file:
        print(*people.values(), f"{name}:{salt}:{_hash(password, salt)}", sep="\n", file=file)


class Guesses:
    """How long somebody waits who gave wrong passwords: for each name and address, so that no guesses lock out the
    person whose name it is. At most MOST are remembered."""

    def __init__(self):
        self._wrong = OrderedDict()  # (number of guesses, time at which the wait ends)

    def check(self, *who):
        """Raises Refused while the wait lasts."""
        left = self._wrong.get(who, (0, 0.0))[1] - time.monotonic()
        if left > 0:
            raise Refused("wait", seconds=math.ceil(left))

    def note(self, right, *who):
        n = self._wrong.pop(who, (0, 0.0))[0] + 1
        if not right:
            wait = min(2 ** min(n - FREE, 60), LONGEST_WAIT) if n > FREE else 0
            self._wrong[who] = n, time.monotonic() + wait
        if len(self._wrong) > MOST:
            self._wrong.popitem(last=False)


class Accounts:
    """Names and log-ins in a Database with the tables of SCHEMA. passwords: of read_passwords, or None where a name
    is enough."""

    def __init__(self, database, passwords=None):
        self.database, self.passwords = database, passwords
        # One check at a time, which takes 16 MB and some 50 ms: guesses do not fill the memory, and wait for the last.
        self._guesses, self._checking = Guesses(), threading.Lock()

    def enter(self, name, password="", address=""):
        """A token for who is called `name`, or None if the name is no name or the password is wrong; anything may be
        given for both. address: of who asks. Raises Refused, wait, after several wrong passwords."""
        name = clean_name(name)
        if not name or not self._is_known(name, password, address):
            return None
        key, token = name.casefold(), secrets.token_urlsafe(24)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.database.write() as db:
            db.execute("INSERT OR IGNORE INTO annotators (key, name, joined) VALUES (?, ?, ?)", (key, name, now))
            row = db.execute(
                "INSERT INTO sessions SELECT ?, number, ?, ? FROM annotators WHERE key = ?",
                (_digest(token), self._proof(key), now, key),
            )
            db.execute("DELETE FROM sessions WHERE rowid <= ?", (row.lastrowid - MOST,))
        return token

    def _is_known(self, name, password, address):
        """Whether the password is that of the name. Takes some 50 ms, as long for an unknown name as for a wrong
        password. Raises Refused."""
        if self.passwords is None:
            return True
        if not isinstance(password, str) or len(password) > LONGEST_PASSWORD:
            return False
        salt, expected = self.passwords.get(name.casefold(), ("00" * 16, "00" * 32))
        who = name.casefold(), _network(address)
        with self._checking:
            self._guesses.check(*who)
            right = hmac.compare_digest(_hash(password, salt), expected)
            self._guesses.note(right, *who)
        return right

    def _proof(self, key):
        """What a log-in is worth: it ends when the password changes, and one without a password is none where they
        are asked for."""
        return "" if self.passwords is None else _digest(":".join(self.passwords.get(key, ("nobody", ""))))

    def who(self, token):
        """(number, name) of the person whose token it is, or None."""
        person = self.database.one(
            "SELECT s.proof, a.key, a.number, a.name FROM sessions s JOIN annotators a ON a.number = s.annotator "
            "WHERE s.token = ?",
            _digest(token if isinstance(token, str) else ""),
        )
        return person[2:] if person and hmac.compare_digest(person[0], self._proof(person[1])) else None

    def leave(self, token):
        with self.database.write() as db:
            db.execute("DELETE FROM sessions WHERE token = ?", (_digest(token if isinstance(token, str) else ""),))


def _network(address):
    """What one person cannot easily change of their address: of IPv6 the first half."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.packed[:8]


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
