"""A key's stand-in for browsers: a cookie that scripts cannot read, and that is worthless on another day.

The cookie holds its last second and a signature of that second and the key's hash. The signature's secret is made when
the service starts, so that neither the cookie nor the file of hashes tells a key or makes another cookie.
"""

import hashlib
import hmac
import re
import time
from http.cookies import CookieError, SimpleCookie

from picscribe.serving.safety import keys
from picscribe.serving.settings import Settings

SECONDS = 24 * 3600
TOKEN = re.compile(r"(\d{1,12})\.([0-9a-f]{64})")


def token(key: str, settings: Settings) -> str | None:
    """What the cookie of a person who has this key holds; None where the service does not know the key."""
    if not keys.is_known(key, settings.key_hashes):
        return None
    until = str(int(time.time()) + SECONDS)
    return f"{until}.{_signature(until, hashlib.sha256(key.encode()).hexdigest(), settings)}"


def holds(cookies: str, host: str, settings: Settings) -> bool:
    """Whether a request with these `Cookie` and `Host` headers comes from somebody who signed in."""
    try:
        found = SimpleCookie(cookies).get(name(host))
    except CookieError:
        return False
    parts = TOKEN.fullmatch(found.value) if found is not None else None
    if parts is None or int(parts[1]) < time.time():
        return False
    known = False
    for digest in settings.key_hashes:
        known |= hmac.compare_digest(parts[2], _signature(parts[1], digest, settings))
    return known


def name(host: str) -> str:
    """The cookie's name. It has the port, because browsers send a host's cookies to each of its ports."""
    port = re.search(r":(\d{1,5})$", host)
    return f"picscribe-{port[1]}" if port else "picscribe"


def cookie(value: str, host: str, *, secure: bool) -> str:
    """A `Set-Cookie` header; an empty value takes the cookie away."""
    rest = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "") + ("" if value else "; Max-Age=0")
    return f"{name(host)}={value}{rest}"


def _signature(until: str, digest: str, settings: Settings) -> str:
    return hmac.new(settings.session_secret, f"{until}.{digest}".encode(), hashlib.sha256).hexdigest()
