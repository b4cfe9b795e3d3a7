"""Who labels: names, an optional file of passwords, and sessions that outlive a restart of the server.

The password file has a line NAME:SALT:HASH for each person (scrypt, hexadecimal); add_annotator.py writes it. Without such a file a name is
enough, and people are trusted to give their own.
"""

import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from pathlib import Path

from korlhf.applications.label import store as stores
from korlhf.core.errors import InputError

LONGEST_NAME, LONGEST_PASSWORD = 40, 200
_LINE = re.compile(r"(?P<name>[^:]+):(?P<salt>[0-9a-f]{32}):(?P<hash>[0-9a-f]{64})")
_one_at_a_time = (
    threading.Lock()
)  # a check takes 16 MB and some 50 ms: guessing is slow, and many guesses do not fill the memory


def clean_name(text):
    """A name without surrounding and double blanks, in composed form; "" if it is none, is too long or holds ":" or control characters."""
    if not isinstance(text, str):
        return ""
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    return name if name.isprintable() and ":" not in name and len(name) <= LONGEST_NAME else ""


def _hash(password, salt):
    secret = unicodedata.normalize("NFC", password).encode("utf-8")
    with _one_at_a_time:
        return hashlib.scrypt(secret, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()


def password_line(name, password):
    """The line of a password file."""
    salt = secrets.token_hex(16)
    return f"{name}:{salt}:{_hash(password, salt)}"


def read_passwords(path):
    """A password file -> {name in lower case: (salt, hash)}. Raises InputError with file and line, also if it holds nobody."""
    found = _people(Path(path).expanduser())
    if not found:
        raise InputError(f"--auth_file {path}: holds nobody, so nobody could log in; add people with add_annotator.py")
    return found


def _people(path):
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--auth_file {path}: cannot be read: {reason}; make it with add_annotator.py") from error
    for n, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line.strip())
        if line.strip() and (not match or not clean_name(match["name"])):
            raise InputError(
                f"{path}:{n}: is no line NAME:SALT:HASH; delete it, and add the person with add_annotator.py"
            )
        if match:
            found[clean_name(match["name"]).casefold()] = match["salt"], match["hash"]
    return found


def write_password(path, name, password):
    """Add a person to a password file, or give them a new password; the file can be read by its owner only."""
    path = Path(path).expanduser()
    kept = []
    if path.exists():
        _people(path)  # refuses what is no password file
        kept = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip() and clean_name(line.split(":")[0]).casefold() != name.casefold()
        ]
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join([*kept, password_line(name, password)]) + "\n")
        part.replace(path)
    except OSError as error:
        raise InputError(f"--auth_file {path}: cannot be written: {error.strerror or error}; give another") from error


def matches(passwords, name, password):
    """Whether the password is that of the name; anything may be given for both. passwords: of read_passwords. Takes some 50 ms."""
    if not isinstance(password, str) or len(password) > LONGEST_PASSWORD:
        return False
    salt, expected = passwords.get(
        clean_name(name).casefold(), ("00" * 16, "")
    )  # an unknown name takes as long as a wrong password
    return hmac.compare_digest(_hash(password, salt), expected)


class Accounts:
    """Log-ins to one Store. passwords: of read_passwords, or None where a name is enough."""

    def __init__(self, store, passwords=None):
        self.store, self.passwords = store, passwords

    def enter(self, name, password=""):
        """A token for who is called `name`, or None if the name is no name or the password is wrong."""
        name = clean_name(name)
        if not name or not self._known(name, password):
            return None
        token = secrets.token_urlsafe(24)
        with self.store.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO annotators (key, name, joined) VALUES (?, ?, ?)",
                (name.casefold(), name, stores.now()),
            )
            number = db.execute("SELECT number FROM annotators WHERE key = ?", (name.casefold(),)).fetchone()[0]
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)",
                (_digest(token), number, self._proof(name.casefold()), stores.now()),
            )
        return token

    def _known(self, name, password):
        return self.passwords is None or matches(self.passwords, name, password)

    def _proof(self, key):
        """What a session is worth: it ends when the password changes, and one begun without passwords is none where they are asked for."""
        return "" if self.passwords is None else _digest(":".join(self.passwords.get(key, ("nobody", ""))))

    def who(self, token):
        """(number, name) of the person whose token it is, or None."""
        if not isinstance(token, str):
            return None
        found = self.store.rows(
            "SELECT a.number, a.name, a.key, s.proof FROM sessions s JOIN annotators a ON a.number = s.annotator "
            "WHERE s.token = ?",
            _digest(token),
        )
        if not found or not hmac.compare_digest(found[0][3], self._proof(found[0][2])):
            return None
        return found[0][:2]

    def leave(self, token):
        """End a session."""
        with self.store.write() as db:
            db.execute("DELETE FROM sessions WHERE token = ?", (_digest(str(token)),))


def _digest(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
