"""Checks before every route: who may ask, from where, how much and for how long; headers, log and counts."""

import asyncio
import contextlib
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from picscribe.serving.errors import (
    Busy,
    Forbidden,
    ServingError,
    TooLarge,
    TooSlow,
    Unauthorised,
    as_serving_error,
)
from picscribe.serving.metrics import Metrics
from picscribe.serving.safety import keys, sessions
from picscribe.serving.settings import Settings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

access = logging.getLogger("picscribe.serving.access")
log = logging.getLogger("picscribe.serving")

HEALTH = frozenset({"/health", "/healthz", "/readyz"})
SIGN_IN = ("POST", "/sign-in")
"""Checks the key that its form holds by itself."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
REQUEST_ID = re.compile(r"[\w.:-]{1,100}")
SEND = 60.0
"""Seconds that a client may take to read a part of an answer."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cache-control": "no-store",
}
"""Of every answer that says nothing else."""


class Protection:
    """Wraps the application. `answer_error` turns an error into the answer that the route's dialect has for it."""

    def __init__(
        self, app: App, settings: Settings, metrics: Metrics, answer_error: Callable[[Scope, ServingError], Any]
    ) -> None:
        self.app, self.settings, self.metrics, self.answer_error = app, settings, metrics, answer_error
        self.held = 0
        self.open = 0
        self._hosts = set(settings.allowed_hosts) or (set(LOOPBACK) if settings.is_local else set())
        self._origins = set(settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        exchange = Exchange(self, scope, receive, send)
        self.open += 1
        try:
            await exchange.run()
        finally:
            self.open -= 1
            self.held -= exchange.held

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raise an error for who may not ask."""
        host = headers.get("host", "").lower()
        name = re.sub(r":\d+$", "", host)
        if self._hosts and name not in self._hosts and host not in self._hosts:
            raise Forbidden(
                f"this server does not answer for the host {host[:100]!r}: allow it with --allowed-host", code="host"
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host) and origin not in self._origins:
            raise Forbidden("pages of other sites may not call this server: allow them with --origin", code="origin")
        if (
            origin is None
            and method not in SAFE_METHODS
            and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        ):
            raise Forbidden("pages of other sites may not call this server: allow them with --origin", code="origin")
        if self.settings.key_hashes and path not in HEALTH and (method, path) != SIGN_IN:
            self._check_key(host, headers)
        if self.open > self.settings.limits.connections:
            raise Busy("too many requests at once: try again later", code="too_many_requests", retry_after=1)

    def _check_key(self, host: str, headers: Headers) -> None:
        key = keys.key_in(headers)
        if key is None and sessions.holds(headers.get("cookie", ""), host, self.settings):
            return
        if key is None or not keys.is_known(key, self.settings.key_hashes):
            raise Unauthorised("an API key is needed" if key is None else "this API key is not known")

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            return urlsplit(origin).netloc.lower() == host
        except ValueError:
            return False

    def cross_origin(self, headers: Headers) -> dict[str, str]:
        """Headers that let a page of an allowed site read the answer."""
        origin = headers.get("origin")
        if origin is None or origin not in self._origins:
            return {}
        return {"access-control-allow-origin": origin, "vary": "Origin", "cross-origin-resource-policy": "cross-origin"}


class Exchange:
    """One request and its answer."""

    def __init__(self, protection: Protection, scope: Scope, receive: Receive, send: Send) -> None:
        self.protection, self.scope, self._receive, self._send = protection, scope, receive, send
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        self.held = self.received = 0
        self.status = 0
        self.failure: str | None = None
        self.since = time.perf_counter()
        self.until = asyncio.get_running_loop().time() + protection.settings.limits.body_time
        self._complete = False

    async def run(self) -> None:
        """Check the request, have it answered, note it."""
        self.scope.setdefault("state", {})["exchange"] = self
        try:
            self.protection.check(self.scope["method"], self.scope["path"], self.headers)
            if self.scope["method"] == "OPTIONS" and self.protection.cross_origin(self.headers):
                await self._allow_crossing()
            else:
                await self.protection.app(self.scope, self.receive, self.send)
        except ServingError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            raise
        except (ConnectionError, ClientDisconnect):
            self.failure = "client_gone"
        except Exception as error:
            log.exception("request %s failed", self.id)
            await self._fail(as_serving_error(error))
        finally:
            self._note()

    async def receive(self) -> Message:
        """The next part of the body, as long as it is neither too much nor too slow."""
        if self._complete:
            return await self._receive()
        limits = self.protection.settings.limits
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limits.body_bytes:
            raise TooLarge(f"the request is over the limit of {limits.body_bytes} bytes: send less at once")
        left = self.until - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except asyncio.TimeoutError:
            raise TooSlow(f"the request did not arrive within {limits.body_time:g} s") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.received += size
            self.held += size
            self.protection.held += size
            if self.received > limits.body_bytes:
                raise TooLarge(f"the request is over the limit of {limits.body_bytes} bytes: send less at once")
            if self.protection.held > limits.held_bytes:
                raise Busy("the server has no room for more requests: try again later", code="busy", retry_after=1)
            self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            for name, value in self.protection.cross_origin(self.headers).items():
                headers[name] = value
            headers["x-request-id"] = self.id
            headers["server"] = "picscribe"
            if not self._complete and self.scope["method"] not in SAFE_METHODS:
                headers["connection"] = "close"  # what is still coming is not waited for
        try:
            await asyncio.wait_for(self._send(message), SEND)
        except asyncio.TimeoutError:
            raise ConnectionError("the client does not read the answer") from None

    async def _fail(self, error: ServingError) -> None:
        self.failure = error.code
        if self.status:
            return  # a part of the answer is on its way: all that can be done is to end it
        response = self.protection.answer_error(self.scope, error)
        with contextlib.suppress(ConnectionError):
            await response(self.scope, self._receive, self.send)

    async def _allow_crossing(self) -> None:
        headers = {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "authorization, content-type, x-api-key, x-request-id",
            "access-control-max-age": "600",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": 204, "headers": raw})
        await self.send({"type": "http.response.body", "body": b""})

    def _note(self) -> None:
        """Count the request and log it; never its body, its query or its key."""
        route = getattr(self.scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - self.since
        metrics = self.protection.metrics
        metrics.requests.labels(route, str(self.status or 499)).inc()
        if route not in HEALTH:
            metrics.seconds.labels(route).observe(seconds)
        if self.failure:
            metrics.failures.labels(self.failure).inc()
        client = self.scope.get("client") or ("",)
        access.info(
            json.dumps(
                {
                    "request": self.id,
                    "client": client[0],
                    "method": self.scope["method"],
                    "route": route,
                    "status": self.status or 499,
                    "milliseconds": round(1000 * seconds, 1),
                    "bytes": self.received,
                }
                | ({"failure": self.failure} if self.failure else {})
            )
        )
