"""API keys: made here, kept as hashes, compared in constant time.

A key holds 256 random bits, so that a plain SHA-256 of it cannot be turned back by guessing.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from picscribe.errors import ConfigurationError
from picscribe.text_files import split_lines

CHALLENGE = 'Bearer realm="picscribe"'
"""Of an answer to a request without a key. Basic works too; named here, it would make browsers ask in their own box."""
SHORTEST = 16
"""Characters of a key that somebody made up; shorter ones can be guessed."""


def new_key() -> str:
    """A key that nobody can guess."""
    return f"ps_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """What is kept of a key. Raises ConfigurationError for one that is too short."""
    if len(key) < SHORTEST:
        raise ConfigurationError(f"an API key must have at least {SHORTEST} characters: make one with --new-key")
    return hashlib.sha256(key.encode()).hexdigest()


def read_hashes(path: Path) -> tuple[str, ...]:
    """The hashes of a file, one a line, whatever is behind it a note. Raises ConfigurationError for any other line."""
    try:
        lines = split_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the key file {path} cannot be read ({error})") from error
    hashes = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        digest = line.split()[0]
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ConfigurationError(
                f"{path}, line {number}: is not the hash of a key: write the line that --new-key prints"
            )
        hashes.append(digest)
    if not hashes:
        raise ConfigurationError(f"the key file {path} has no key: make one with --new-key")
    return tuple(hashes)


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key that a request brings: a bearer token, the password of HTTP Basic, or a header that a client uses."""
    for name in ("x-api-key", "x-moondream-auth", "api-key"):
        if value := headers.get(name):
            return value
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def is_known(key: str, hashes: Iterable[str]) -> bool:
    """Whether it is one of the keys; takes as long for each."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    known = False
    for one in hashes:
        known |= hmac.compare_digest(digest, one)
    return known
