"""A client of `picscribe serve`: photos go to a service, the library's own results come back.

    from picscribe.client import Client, Upload

    client = Client("http://127.0.0.1:8000")
    answer = client.caption(Upload(open("photo.jpg", "rb").read(), "photo.jpg"))
    print(answer.found.text)

It needs the standard library alone, so that a command starts at once. It goes to the address that it is given and
nowhere else: redirects and proxies are not followed. Answers are bounded.
"""

import http.client
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.results import Caption, Classification, RankedLabel, TextScore

LARGEST_ANSWER = 64 * 2**20
CONNECT = 10.0
"""Seconds within which a service takes a connection."""
ANSWER = 300.0
"""Seconds without a byte after which a service is taken to have gone away; it has a deadline of its own before."""
FIRST_WAIT = 0.5
"""Seconds before a request is sent again that broke off; each further wait is twice as long."""
LONGEST_WAIT = 60.0
SMALL = 2**20
"""Bytes of a photo that any service takes; whether it takes more is asked before they are sent."""
TEXTS = 64
"""Questions or texts of a request; more are asked in several."""
BUSY = (429, 503)
"""What a service answers that has no time now."""
OVERDUE = (502, 504)
"""What a service answers, or what stands in front of it, that took too long over a request: it may be the request's."""
OPTIONS = (
    "beams", "num_captions", "max_new_tokens", "min_new_tokens", "length_penalty", "no_repeat_ngram",
    "repetition_penalty", "banned_words", "required_words", "temperature", "top_k", "top_p", "seed", "beam_groups",
    "diversity_penalty",
)  # fmt: skip
"""Fields of GenerationOptions that a service takes."""
UNUSABLE = ("invalid_image", "invalid_input", "request_too_large", "decoding_timed_out", "decoder_died")
"""Codes of errors that are of the photo or text that was sent."""
SENT = "the image sent"
"""What the service calls a photo; errors replace it by the photo's own name."""

Found = TypeVar("Found", covariant=True)


class ServiceError(PicscribeError):
    """A service that answers with an error, or not at all. status: of HTTP, 0 without an answer. code: its reason."""

    def __init__(self, message: str, status: int = 0, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Unreachable(ServiceError):
    """A service that cannot be reached, or ends the connection too early."""


class Busy(ServiceError):
    """A service that has more to do than it can, for longer than the client waits."""


class Limited(ConfigurationError):
    """A request over the limits of this service. The library itself has no such limit."""


class Refused(InputError):
    """A photo or text that the service cannot use; `code` is its reason."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Upload:
    """The bytes of a photo or video, and the name that errors call it by; of a video the frames and the part."""

    content: bytes
    name: str
    frames: int | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Answer(Generic[Found]):
    """What a service found.

    notes: what of the request's texts its model does not get to read. fingerprint: tells the model from others, as
    `Scribe.fingerprint` does.
    """

    found: Found
    notes: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class ServedModel:
    """A model that a service has."""

    name: str
    fingerprint: str
    frames: int


class Client:
    """Asks one service; any number of threads may, each has a connection of its own, which is kept open."""

    def __init__(
        self,
        address: str,
        key: str | None = None,
        *,
        called: str | None = None,
        tries: int = 1,
        patience: float = 120.0,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """
        address: http or https, a host, a port, perhaps a path. key: an API key. called: how errors call the service.
        tries: of a request that cannot be sent or breaks off. patience: seconds for which a busy service is asked again
        when it says so. wait: called with seconds; where it says True, nothing is tried again.
        Raises ConfigurationError for an address that is none.
        """
        self.called = called or address
        self.tries, self.patience, self.wait = tries, patience, wait
        self._key = key
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{self.called} is not an address: write http://host:port") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s|[^ -~]", address):
            raise ConfigurationError(f"{self.called} is not an address: write http://host:port")
        if parts.username is not None or parts.query or parts.fragment:
            raise ConfigurationError(
                f"{self.called} has more than a host, a port and a path: write "
                "http://host:port, and set PICSCRIBE_API_KEY to a key"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ConfigurationError(
                "the API key has a line break, or characters that are not ASCII: check PICSCRIBE_API_KEY"
            )
        self._secure, self._host = parts.scheme == "https", parts.hostname
        self._port, self._path = port, parts.path.rstrip("/")
        self._most: int | None = None
        self._own = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    # What can be asked

    def models(self) -> dict[str, ServedModel]:
        """The models that are served, by their names and aliases."""
        listed = self._get("/v1/models").get("data")
        try:
            return {one["id"]: ServedModel(one["id"], one["fingerprint"], one["frames"]) for one in listed or ()}
        except (TypeError, KeyError):
            raise self._strange() from None

    def largest(self) -> int:
        """Bytes that a photo or video may have."""
        if self._most is None:
            limits = self._get("/v1/limits")
            try:
                self._most = min(int(limits["image_bytes"]), int(limits["body_bytes"]) - SMALL)
            except (KeyError, TypeError, ValueError):
                raise self._strange() from None
        return self._most

    def caption(
        self, upload: Upload, *, model: str | None = None, prompt: str | None = None, options: Mapping[str, Any] = {}
    ) -> Answer[Caption]:
        """A caption. `options` are fields of GenerationOptions.

        Raises Refused for a photo that cannot be used, ConfigurationError for options that cannot, Busy, Unreachable,
        ServiceError.
        """
        said = self._ask("caption", upload, {"model": model, "prefix": prompt, "raw": True, **_taken(options)})
        return self._answer(said, lambda: _caption(said, "caption"))

    def ask(
        self, upload: Upload, questions: Sequence[str], *, model: str | None = None, options: Mapping[str, Any] = {}
    ) -> Answer[list[Caption | PicscribeError]]:
        """The answer to each question, or its error. Raises as `caption`."""

        def some(asked: Sequence[str]) -> Answer[list[Caption | PicscribeError]]:
            said = self._ask("ask", upload, {"model": model, "questions": asked, "raw": True, **_taken(options)})
            return self._answer(said, lambda: [_or_error(one, _spoken) for one in said["answers"]])

        return _joined([some(questions[first : first + TEXTS]) for first in range(0, len(questions), TEXTS)])

    def classify(
        self,
        upload: Upload,
        labels: Sequence[str],
        *,
        top_k: int = 5,
        model: str | None = None,
        prompt: str | None = None,
    ) -> Answer[Classification]:
        """The likeliest of labels. Raises as `caption`."""
        fields = {"model": model, "labels": labels, "top_k": top_k, "prefix": prompt}
        said = self._ask("classify", upload, fields)
        names = ("label", "log_likelihood", "probability")
        return self._answer(
            said, lambda: Classification(tuple(RankedLabel(*(one[name] for name in names)) for one in said["labels"]))
        )

    def score(
        self, upload: Upload, texts: Sequence[str], *, model: str | None = None, prompt: str | None = None
    ) -> Answer[list[TextScore | PicscribeError]]:
        """How likely each text is, or its error. Raises as `caption`."""

        def some(given: Sequence[str]) -> Answer[list[TextScore | PicscribeError]]:
            said = self._ask("score", upload, {"model": model, "texts": given, "prefix": prompt, "raw": True})
            return self._answer(said, lambda: [_or_error(one, _text_score) for one in said["scores"]])

        return _joined([some(texts[first : first + TEXTS]) for first in range(0, len(texts), TEXTS)])

    def stream(
        self, upload: Upload, *, model: str | None = None, prompt: str | None = None, options: Mapping[str, Any] = {}
    ) -> Iterator[str]:
        """A caption, piece by piece. Raises as `caption`, also midway."""
        self._check_size(upload)
        video = {"frames": upload.frames, "start": upload.start, "end": upload.end}
        form = _form({"model": model, "prefix": prompt, "stream": True, **_taken(options), **video}, upload.content)
        response, _ = self._send("POST", "/v1/caption", *form, upload.name, stream=True)
        try:
            while line := response.readline(LARGEST_ANSWER):
                if not line.startswith(b"data: "):
                    continue
                event = self._parsed(line[6:])
                if "error" in event:
                    raise ServiceError(f"{self.called}: {_message(event)}", response.status)
                if event.get("completed"):
                    return
                yield str(event.get("chunk", ""))
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{self.called} broke off before the caption was complete ({error}): try again"
            ) from error
        finally:
            self._drop()
        raise Unreachable(f"{self.called} broke off before the caption was complete: try again")

    def close(self) -> None:
        """Close all connections, once no thread asks any more."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()
        self._own = threading.local()

    # Requests

    def _get(self, path: str) -> dict[str, Any]:
        return self._parsed(self._send("GET", path, {}, b"", SENT)[1])

    def _ask(self, job: str, upload: Upload, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._check_size(upload)
        video = {"frames": upload.frames, "start": upload.start, "end": upload.end}
        headers, body = _form({**fields, **video}, upload.content)
        return self._parsed(self._send("POST", f"/v1/{job}", headers, body, upload.name)[1])

    def _check_size(self, upload: Upload) -> None:
        """Raise Refused for more bytes than the service takes: it would break off while they are sent."""
        if len(upload.content) > SMALL and len(upload.content) > self.largest():
            size = f"{len(upload.content)} bytes long, over the service's limit of {self.largest()}"
            raise Refused(f"{upload.name} is {size}: shrink it", "request_too_large")

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, name: str, stream: bool = False
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """A good answer and its content, which of a `stream` is still to be read. `name` is the photo's.

        A busy service is asked again when it says.
        """
        if self._key:
            headers = {**headers, "Authorization": f"Bearer {self._key}"}
        until, overdue = time.monotonic() + self.patience, 0
        while True:
            response, content = self._patiently(method, path, headers, body, stream)
            if response.status == 200:
                return response, content
            if response.status not in (*BUSY, *OVERDUE):
                raise self._failure(response, content, name)
            overdue += response.status in OVERDUE
            seconds = _seconds(response.getheader("Retry-After"))
            if overdue == self.tries or time.monotonic() + seconds > until or self.wait(seconds) is True:
                raise Busy(f"{self.called} is busy ({_message(_object(content))}): try again later", response.status)

    def _patiently(self, *request: Any) -> tuple[http.client.HTTPResponse, bytes]:
        """An answer of whatever kind; a request that breaks off is sent again, `tries` times in all."""
        seconds, problem = FIRST_WAIT, ""
        for attempt in range(self.tries, 0, -1):
            # The service closes idle connections: one that was used before may fail once more.
            for _ in range(1 if getattr(self._own, "connection", None) is None else 2):
                try:
                    return self._once(*request)
                except (OSError, http.client.HTTPException) as error:
                    self._drop()
                    problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if attempt == 1 or self.wait(seconds) is True:
                break
            seconds = min(2 * seconds, LONGEST_WAIT)
        raise Unreachable(f"{self.called} does not answer ({problem}): is picscribe serve running there?")

    def _once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, stream: bool
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = getattr(self._own, "connection", None) or self._connect()
        try:
            connection.request(method, self._path + path, body or None, dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:  # else it was refused before all was sent, and the answer may be there
                raise
        response: http.client.HTTPResponse = connection.getresponse()
        if stream and response.status == 200:
            return response, b""
        content = response.read(LARGEST_ANSWER + 1)
        if len(content) > LARGEST_ANSWER:
            self._drop()
            raise ServiceError(
                f"{self.called} sent an answer of over {LARGEST_ANSWER} bytes: check the address", response.status
            )
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        if response.status >= 400:
            self._drop()  # what was not read of a request that was refused would be in the way
        return response, content

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT)
        connection.connect()
        connection.sock.settimeout(ANSWER)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._own.connection = connection
        with self._lock:
            self._open.add(connection)
        return connection

    def _drop(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None
            with self._lock:
                self._open.discard(connection)

    # Answers

    def _parsed(self, content: bytes) -> dict[str, Any]:
        found = _object(content)
        if not found:
            raise self._strange()
        return found

    def _answer(self, said: dict[str, Any], read: Callable[[], Found]) -> Answer[Found]:
        try:
            return Answer(read(), tuple(map(str, said.get("notes") or ())), str(said["fingerprint"]))
        except (TypeError, KeyError, AttributeError):
            raise self._strange() from None

    def _strange(self) -> ServiceError:
        return ServiceError(f"{self.called} does not answer like this version of picscribe serve: check the address")

    def _failure(self, response: http.client.HTTPResponse, content: bytes, name: str) -> PicscribeError:
        """What an answer that is no success means."""
        status, said = response.status, _object(content)
        message = (_message(said) or f"it says {status}").replace(SENT, name)
        error = said.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        if 300 <= status < 400:
            return ServiceError(
                f"{self.called} redirects to another address, which picscribe does not follow: name that address"
            )
        if status == 401:
            wanted = "needs an API key: set PICSCRIBE_API_KEY to one that it accepts"
            return ServiceError(f"{self.called} {wanted}", status, code)
        if status == 413 or code in UNUSABLE:
            return Refused(message if name in message or code == "invalid_input" else f"{name}: {message}", code)
        if code == "invalid_option":
            return ConfigurationError(message)
        if status == 400:
            return Limited(f"{message} ({self.called})")
        return ServiceError(f"{self.called}: {message}", status, code)


def _form(fields: Mapping[str, Any], content: bytes) -> tuple[dict[str, str], bytes]:
    """Header and body of a multipart form with the fields that are not None, and a file. Raises ConfigurationError."""
    boundary = uuid.uuid4().hex
    parts: list[bytes] = []

    def add(head: str, value: bytes) -> None:
        parts.append(f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n")

    for name, value in fields.items():
        several = isinstance(value, list | tuple)
        for one in value if several else () if value is None else (value,):
            text = str(one).lower() if isinstance(one, bool) else str(one)
            try:
                add(f'name="{name}[]"' if several else f'name="{name}"', text.encode())
            except UnicodeEncodeError:
                raise ConfigurationError(f"the text {text!r} has invalid characters: save it as UTF-8") from None
    add(f'name="image"; filename="{SENT}"', content)
    parts.append(f"--{boundary}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, b"".join(parts)


def _taken(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options. Raises Limited for one that no service takes: it would be ignored."""
    if unknown := [name for name in options if name not in OPTIONS]:
        raise Limited(f"a service has no option {unknown[0]}: leave it out, or load the model here")
    return options


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(said: Mapping[str, Any]) -> str:
    """What an answer says went wrong, in a line."""
    error = said.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(message.split())[:1000] if isinstance(message, str) else ""


def _seconds(retry_after: str | None) -> float:
    """Seconds until a busy service may be asked again."""
    given = int(retry_after) if retry_after and retry_after.isdecimal() else 1
    return min(max(1.0, float(given)), LONGEST_WAIT)


def _caption(said: Mapping[str, Any], name: str) -> Caption:
    raw = said["raw"]
    alternatives = tuple(_caption(one, "caption") for one in said.get("alternatives") or ())
    return Caption(
        said[name],
        said["score"],
        said["confidence"],
        tuple(raw["tokens"]),
        tuple(raw["log_probabilities"]),
        alternatives,
        raw["decoded"],
    )


def _spoken(said: Mapping[str, Any]) -> Caption:
    return _caption(said, "answer")


def _text_score(said: Mapping[str, Any]) -> TextScore:
    raw = said["raw"]
    tokens, log_probabilities = tuple(raw["tokens"]), tuple(raw["log_probabilities"])
    return TextScore(said["text"], said["log_likelihood"], said["confidence"], tokens, log_probabilities)


def _or_error(said: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Found]) -> Found | PicscribeError:
    error = said.get("error")
    if error is None:
        return read(said)
    return InputError(str(error["message"] if isinstance(error, dict) else error))


def _joined(answers: "Sequence[Answer[list[Found]]]") -> "Answer[list[Found]]":
    """The answers to several requests about one photo as one."""
    notes = dict.fromkeys(note for one in answers for note in one.notes)
    return Answer([found for one in answers for found in one.found], tuple(notes), answers[0].fingerprint)
