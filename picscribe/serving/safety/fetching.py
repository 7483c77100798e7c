"""Images by URL, without reaching anything that is not public: one parser, every address checked, each redirect again.

The URL is taken apart once; its host is resolved once; every address that comes out must be public; the connection goes
to the address that was checked, and TLS checks the host's name. What attackers used against others (CVE-2026-24779,
CVE-2026-25960, CVE-2026-34753) were two parsers that understood a URL differently, and a second look-up.
"""

import asyncio
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from picscribe import __version__
from picscribe.serving.errors import BadRequest
from picscribe.serving.settings import Fetching

LONGEST = 4096
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?][!-~]*)?",
    re.IGNORECASE,
)
"""All that is taken: no user, backslash, space or control character, nothing beyond ASCII, no percent in the host."""

NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
THREADS = 8
CHUNK = 64 * 1024

# Networks that carry an IPv4 address inside, or lead to one: 6to4, Teredo, NAT64 (RFC 6052, RFC 8215), IPv4-compatible.
TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "fec0::/10")
)

Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True)
class Target:
    """A URL taken apart: `host` in lower case, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == PORTS[self.scheme] else f"{name}:{self.port}"


def parse(url: str) -> Target:
    """The one place that takes a URL apart. Raises BadRequest for whatever is not plainly http or https."""
    match = URL.fullmatch(url.partition("#")[0]) if len(url) <= LONGEST else None
    if match is None:
        raise _refused("it is not a plain http or https address")
    scheme, host = match["scheme"].lower(), match["host"].lower().strip("[]").rstrip(".")
    port = int(match["port"] or PORTS[scheme])
    if not 1 <= port <= 65535:
        raise _refused("its port is not valid")
    # The URL standard takes hosts that end in a number for IPv4 addresses, in decimal, octal or hexadecimal.
    if ":" not in host and NUMBER.fullmatch(host.rpartition(".")[2]) and not _is_plain_ipv4(host):
        raise _refused("its host is a number that is not a plain IPv4 address")
    path = match["path"] or "/"
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")


def _is_plain_ipv4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address can be of a machine on the open internet."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if "%" in address:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if any(found in network for network in TUNNELS):
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches images for clients as far as `settings` lets it."""

    def __init__(
        self, settings: Fetching, *, resolve: Resolve = resolve, allowed: Callable[[str], bool] = is_public
    ) -> None:
        """`resolve` and `allowed` say where hosts are and which addresses may be reached."""
        self.settings, self._resolve, self._allowed = settings, resolve, allowed
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
        self._tls = ssl.create_default_context()

    async def fetch(self, url: str) -> bytes:
        """What is at a URL. Raises BadRequest where it may not or cannot be fetched."""
        if not self.settings.hosts:
            raise _refused("this server fetches no images; send the image itself, as a data: URI or in base64")
        target = parse(url)
        until = time.monotonic() + self.settings.time
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._follow, target, until)
        try:
            return await asyncio.wait_for(work, self.settings.time + 1)
        except asyncio.TimeoutError:
            raise _refused(f"it did not arrive within {self.settings.time:g} s", "image_url_timeout") from None

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _follow(self, target: Target, until: float) -> bytes:
        for _ in range(self.settings.redirects + 1):
            self._check_host(target)
            content, location = self._get(target, until)
            if location is None:
                return content
            target = parse(_absolute(location, target))
        raise _refused(f"it redirects more than {self.settings.redirects} times")

    def _check_host(self, target: Target) -> None:
        standard = target.port == PORTS[target.scheme]
        for rule in self.settings.hosts:
            if rule == "*" and standard:
                return
            name, _, port = rule.rpartition(":") if re.search(r":\d+$", rule) else (rule, "", "")
            if (str(target.port) != port) if port else not standard:
                continue
            if target.host == name.strip("[]") or (name.startswith(".") and target.host.endswith(name)):
                return
        raise _refused(f"images are not fetched from {target.authority}")

    def _addresses(self, target: Target) -> list[str]:
        try:
            found = list(dict.fromkeys(self._resolve(target.host, target.port)))
        except (OSError, UnicodeError) as error:
            raise _refused("its host is not found", "image_url_unreachable") from error
        if not found or not all(self._allowed(address) for address in found):
            raise _refused("its host is not on the public internet")
        return found

    def _get(self, target: Target, until: float) -> tuple[bytes, str | None]:
        """One request: the content, or where it leads on to."""
        connection = http.client.HTTPConnection(target.host, target.port)
        # A server that sends a byte now and then never runs into a socket's own time limit.
        cut = threading.Timer(_left(until), _cut, [connection])
        cut.start()
        try:
            connection.sock = self._connect(connection, self._addresses(target), target, until)
            headers = {
                "Host": target.authority,
                "User-Agent": f"picscribe/{__version__}",
                "Accept": "image/*, video/*;q=0.5",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request("GET", target.path, headers=headers)
            response = connection.getresponse()
            if response.status in REDIRECTS:
                return b"", response.getheader("Location") or ""
            if response.status != 200:
                raise _refused(f"its server answered {response.status}", "image_url_unreachable")
            return self._body(connection, response, until), None
        except (OSError, http.client.HTTPException) as error:
            raise _refused(f"it cannot be fetched ({type(error).__name__})", "image_url_unreachable") from error
        finally:
            cut.cancel()
            connection.close()

    def _connect(
        self, connection: http.client.HTTPConnection, addresses: Sequence[str], target: Target, until: float
    ) -> socket.socket:
        """A socket to the first of the addresses that answers; they were checked, and are not looked up again."""
        problem: OSError | None = None
        for address in addresses:
            try:
                plain = socket.create_connection((address, target.port), timeout=_left(until))
            except OSError as error:
                problem = error
                continue
            connection.sock = plain
            try:
                if not self._allowed(plain.getpeername()[0]):
                    raise _refused("its host is not on the public internet")
                tls = target.scheme == "https"
                return self._tls.wrap_socket(plain, server_hostname=target.host) if tls else plain
            except OSError as error:
                plain.close()
                problem = error
            except BaseException:
                plain.close()
                raise
        raise _refused("its host cannot be reached", "image_url_unreachable") from problem

    def _body(self, connection: Any, response: http.client.HTTPResponse, until: float) -> bytes:
        most = self.settings.bytes
        parts: list[bytes] = []
        size = 0
        while True:
            if connection.sock is not None:
                connection.sock.settimeout(_left(until))
            part = response.read1(CHUNK)
            if not part:
                return b"".join(parts)
            size += len(part)
            if size > most:
                raise _refused(f"it is longer than {most} bytes", "image_too_large")
            parts.append(part)
            _left(until)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise _refused("it did not arrive in time", "image_url_timeout")
    return left


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _absolute(location: str, base: Target) -> str:
    """Where a redirect leads. Relative ones start with a slash; others are not followed."""
    if location.startswith("//"):
        return f"{base.scheme}:{location}"
    if location.startswith("/"):
        return f"{base.scheme}://{base.authority}{location}"
    return location


def _refused(why: str, code: str = "image_url_refused") -> BadRequest:
    return BadRequest(f"the image's URL is not fetched: {why}", code=code, param="image_url")
