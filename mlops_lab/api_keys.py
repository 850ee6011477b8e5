"""API keys of the prediction service: how they are made, listed in a file, and recognised.

A list has one key a line, `name rights sha256`; a line that begins with `#` is a comment. It has the keys' hashes, so
whoever reads it can't use a key. A key is 256 random bits: nobody can try them all, and so a plain SHA-256 protects it
as well as a slow hash for passwords would, and costs a microsecond.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from mlops_lab.errors import LabError
from mlops_lab.files import write_whole

# What a key may do: ask the models, or read the prediction log.
PREDICT, READ = "predict", "read"
RIGHTS = (PREDICT, READ)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
_HASH = re.compile(r"[0-9a-f]{64}")


class ApiKeyError(LabError):
    """A list of keys has a wrong line. The text has the line's number and not its content."""


@dataclass(frozen=True)
class ApiKey:
    """One key of the list. digest: the SHA-256 of the key itself."""

    name: str
    rights: frozenset[str]
    digest: bytes


class ApiKeys:
    """The keys that a service accepts."""

    def __init__(self, keys: list[ApiKey]):
        self._keys = keys

    def find(self, presented: str) -> ApiKey | None:
        """The entry of a key. The time it takes doesn't tell how much of a key is right, or which one it is."""
        digest, found = hash_of(presented), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def make_key() -> str:
    """A new key: 256 random bits as 43 characters that need no quoting anywhere."""
    return secrets.token_urlsafe(32)


def key_header(key: SecretStr | None) -> dict[str, str]:
    """The header that sends a key; none for no key."""
    text = key.get_secret_value().strip() if key else ""
    return {"Authorization": f"Bearer {text}"} if text else {}


def hash_of(key: str) -> bytes:
    """The digest by which a key is known."""
    return hashlib.sha256(key.encode()).digest()


def line_of(name: str, rights: list[str], key: str) -> str:
    """The key's line in a list. Raises `ApiKeyError` for a name or a right that a list can't have."""
    words = [name, ",".join(rights), hash_of(key).hex()]
    if (fault := _fault(words)) is not None:
        raise ApiKeyError(fault)
    return " ".join(words)


def add_line(file: Path, line: str) -> None:
    """Adds a line to a list, which only its owner may read. Raises `ApiKeyError`, and leaves the file as it was."""
    try:
        before = file.read_text() if file.exists() else ""
        text = f"{before.rstrip()}\n{line}\n".lstrip()
        read_keys(text)
        write_whole(file, text, 0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise ApiKeyError(f"{file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    except ApiKeyError as error:
        raise ApiKeyError(f"{file}: {error}") from None


def read_keys(text: str) -> list[ApiKey]:
    """The keys of a list. Raises `ApiKeyError` for a wrong line, or without any key."""
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        fault = "the name is used before" if words[0] in keys else _fault(words)
        if fault is not None:
            raise ApiKeyError(f"line {number}: {fault}; a line is `name predict,read sha256`")
        keys[words[0]] = ApiKey(words[0], frozenset(words[1].split(",")), bytes.fromhex(words[2]))
    if not keys:
        raise ApiKeyError("it has no key; `lab keys new NAME` makes one and its line")
    return list(keys.values())


def _fault(words: list[str]) -> str | None:
    if len(words) != 3:
        return f"it has {len(words)} words, not 3"
    name, rights, digest = words
    if not _NAME.fullmatch(name):
        return "a name has at most 40 letters, digits, dots, dashes and underscores"
    if not set(rights.split(",")) <= set(RIGHTS):
        return f"the rights are {' and '.join(RIGHTS)}, with a comma between them"
    return None if _HASH.fullmatch(digest) else "the hash must be 64 hexadecimal digits in lower case"
