"""Who may come in: names, an optional file of passwords, and log-ins, which outlive a restart if their database is a
file.

The password file has a line NAME:SALT:HASH for each person (scrypt, hexadecimal); applications/label/add_annotator.py
writes it. Without such a file a name is enough, and people are trusted to give their own."""

import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

from korlhf.core.errors import InputError

LONGEST_NAME, LONGEST_PASSWORD = 40, 200
MOST = 10_000  # log-ins that are remembered; the oldest make room
SCHEMA = """
CREATE TABLE annotators (
    number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, name TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE sessions (
    token TEXT PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotators, proof TEXT NOT NULL, began TEXT NOT NULL);
"""
_LINE = re.compile(r"(?P<name>[^:]+):(?P<salt>[0-9a-f]{32}):(?P<hash>[0-9a-f]{64})")
_one_at_a_time = (
    threading.Lock()
)  # a check takes 16 MB and some 50 ms: many guesses are slow, and do not fill the memory


def clean_name(text):
    """A name without surrounding and double blanks, in composed form; "" if it is none, is too long or holds ":" or
    control characters."""
    if not isinstance(text, str):
        return ""
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    return name if name.isprintable() and ":" not in name and len(name) <= LONGEST_NAME else ""


def _hash(password, salt):
    secret = unicodedata.normalize("NFC", password).encode(
        "utf-8", "surrogatepass"
    )  # JSON can hold half a surrogate pair
    with _one_at_a_time:
        return hashlib.scrypt(secret, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()


def password_line(name, password):
    """The line of a password file."""
    salt = secrets.token_hex(16)
    return f"{name}:{salt}:{_hash(password, salt)}"


def read_passwords(path):
    """A password file -> {name in lower case: (salt, hash)}. Raises InputError with file and line, also if it holds
    nobody."""
    people = {name: line.split(":")[1:] for name, line in _lines(Path(path).expanduser()).items()}
    if not people:
        raise InputError(f"--auth_file {path}: holds nobody, so nobody could log in; add people with add_annotator.py")
    return people


def _lines(path):
    """{name in lower case: its line}. Raises InputError for what is no password file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--auth_file {path}: cannot be read: {reason}; make it with add_annotator.py") from error
    people = {}
    for n, line in enumerate(map(str.strip, lines), 1):
        match = _LINE.fullmatch(line)
        if match and (name := clean_name(match["name"])):
            people[name.casefold()] = line
        elif line:
            raise InputError(
                f"{path}:{n}: is no line NAME:SALT:HASH; delete it, and add the person with add_annotator.py"
            )
    return people


def write_password(path, name, password):
    """Add a person to a password file, or give them a new password; the file can be read by its owner only."""
    path = Path(path).expanduser()
    people = _lines(path) if path.exists() else {}
    people.pop(name.casefold(), None)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join([*people.values(), password_line(name, password)]) + "\n")
        part.replace(path)
    except OSError as error:
        raise InputError(f"--auth_file {path}: cannot be written: {error.strerror or error}; give another") from error


class Accounts:
    """Names and log-ins in a Database with the tables of SCHEMA. passwords: of read_passwords, or None where a name
    is enough."""

    def __init__(self, database, passwords=None):
        self.database, self.passwords = database, passwords

    def enter(self, name, password=""):
        """A token for who is called `name`, or None if the name is no name or the password is wrong; anything may be
        given for both."""
        name = clean_name(name)
        if not name or not self._is_known(name, password):
            return None
        token, now = secrets.token_urlsafe(24), datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.database.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO annotators (key, name, joined) VALUES (?, ?, ?)", (name.casefold(), name, now)
            )
            number = db.execute("SELECT number FROM annotators WHERE key = ?", (name.casefold(),)).fetchone()[0]
            session = _digest(token), number, self._proof(name.casefold()), now
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", session)
            db.execute(
                "DELETE FROM sessions WHERE rowid <= (SELECT rowid FROM sessions ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
                (MOST,),
            )
        return token

    def _is_known(self, name, password):
        """Whether the password is that of the name. Takes some 50 ms, as long for an unknown name as for a wrong
        password."""
        if self.passwords is None:
            return True
        if not isinstance(password, str) or len(password) > LONGEST_PASSWORD:
            return False
        salt, expected = self.passwords.get(name.casefold(), ("00" * 16, ""))
        return hmac.compare_digest(_hash(password, salt), expected)

    def _proof(self, key):
        """What a log-in is worth: it ends when the password changes, and one without a password is none where they
        are asked for."""
        return "" if self.passwords is None else _digest(":".join(self.passwords.get(key, ("nobody", ""))))

    def who(self, token):
        """(number, name) of the person whose token it is, or None."""
        if not isinstance(token, str):
            return None
        person = self.database.rows(
            "SELECT a.number, a.name, a.key, s.proof FROM sessions s JOIN annotators a ON a.number = s.annotator "
            "WHERE s.token = ?",
            _digest(token),
        )
        if not person or not hmac.compare_digest(person[0][3], self._proof(person[0][2])):
            return None
        return person[0][:2]

    def leave(self, token):
        """End a log-in."""
        with self.database.write() as db:
            db.execute("DELETE FROM sessions WHERE token = ?", (_digest(str(token)),))


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
