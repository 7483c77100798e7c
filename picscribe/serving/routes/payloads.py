"""What a request holds: its fields, checked, and its images, as files, raw bytes, data: URIs, base64 or URLs."""

import base64
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from picscribe.serving.errors import BadRequest, ServingError, TooLarge, UnsupportedType
from picscribe.serving.safety.fetching import Fetcher
from picscribe.serving.settings import ServiceLimits
from picscribe.serving.tasks import Photo

Fields = TypeVar("Fields", bound=BaseModel)

IMAGE_FIELDS = ("image", "images", "image_url", "image_urls", "file", "files", "video")
SPACE = re.compile(r"\s+")
DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.IGNORECASE)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MOST_FIELDS = 1000
BRANCH = re.compile(r"str|int|float|bool|.*[\[(-].*")
"""Pydantic's names of what a field may be, which follow the field's own name: `image.str`, `labels.list[str]`."""
SHORTEST = 40
"""Characters of base64 that no image can be as short as."""
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xff]")


@dataclass(frozen=True)
class Payload:
    """A request's body: `fields` as they came, and the files that came with them as (name, content)."""

    fields: dict[str, Any]
    files: tuple[tuple[str, bytes], ...] = ()

    def checked(self, model: type[Fields]) -> Fields:
        """The fields as a model of them; others are ignored. Raises BadRequest that names the first that cannot be."""
        try:
            return model.model_validate(self.fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"][:4] if not BRANCH.fullmatch(str(part))) or None
            raise BadRequest(f"{name or 'the request'}: {first['msg']}", code="invalid_value", param=name) from None


async def read_payload(request: Request, limits: ServiceLimits) -> Payload:
    """The body by its Content-Type, with the query's fields where it has none of its own.

    Raises BadRequest for a body that is not what its type says, UnsupportedType for a type that is not read.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedType("compressed bodies are not read: send the body as it is", param="Content-Encoding")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query: dict[str, Any] = dict(request.query_params)
    body = await request.body()
    if kind == "multipart/form-data":
        return await _of_multipart(request, body, query, limits)
    if kind.startswith(("image/", "video/")) or kind == "application/octet-stream":
        return Payload(query, ((f"the {kind.partition('/')[0]} sent", body),) if body else ())
    if kind == "application/x-www-form-urlencoded":
        # What curl says of any file that --data-binary sends.
        if BINARY.search(body[:1024]):
            return Payload(query, (("the image sent", body),))
        return Payload(query | _of_form(body))
    if kind == "application/json" or kind.endswith("+json") or (not kind and not BINARY.search(body[:1024])):
        return Payload(query | read_json(body))
    if BINARY.search(body[:1024]):
        return Payload(query, (("the image sent", body),))
    raise UnsupportedType(
        f"a body of type {kind[:100]!r} is not read: send application/json, multipart/form-data, or the image as it is",
        param="Content-Type",
    )


def read_json(body: bytes) -> dict[str, Any]:
    """An object. Raises BadRequest for anything else."""
    if not body.strip():
        raise BadRequest("the body is empty: send a JSON object or an image", code="invalid_json")
    try:
        found = json.loads(body, parse_constant=_no_constant)
        if SURROGATE.search(body):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply", code="invalid_json") from None
    except ValueError as error:  # not JSON, not UTF-8, a number of thousands of digits, half a character
        reason = "it holds half of a character" if isinstance(error, UnicodeEncodeError) else str(error)[:200]
        raise BadRequest(f"the body is not JSON ({reason})", code="invalid_json") from None
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_json")
    return found


async def photos_of(
    payload: Payload, sources: Sequence[tuple[str, object]], limits: ServiceLimits, fetcher: Fetcher, **video: Any
) -> list[Photo | ServingError]:
    """The images of a request: files first, then `sources`, each a field's name and what it holds.

    Of several, one that cannot be got leaves its error in its place. Raises BadRequest, with the field at fault, for
    none and for too many, and where there is only one, its error.
    """
    count = len(payload.files) + len(sources)
    if not count:
        raise BadRequest("the request has no image: send one", code="image_required", param="image")
    if count > limits.images:
        raise BadRequest(
            f"the request has {count} images, but the limit is {limits.images}: send several requests",
            code="too_many_images",
            param=sources[0][0] if sources else "image",
        )
    found: list[Photo | ServingError] = [
        Photo(_checked(name, file, limits), name, **video) for name, file in payload.files
    ]
    for number, (param, source) in enumerate(sources, 1):
        name = "the image" if count == 1 else f"image {len(payload.files) + number}"
        try:
            content = _checked(name, await _content(source, param, limits, fetcher), limits)
            found.append(Photo(content, name, **video))
        except ServingError as error:
            if count == 1:
                raise
            found.append(error)
    return found


def _checked(name: str, content: bytes, limits: ServiceLimits) -> bytes:
    if len(content) > limits.image_bytes:
        raise TooLarge(f"{name} is longer than {limits.image_bytes} bytes: shrink it", param="image")
    if not content:
        raise BadRequest(f"{name} is empty (0 bytes): send it again", code="invalid_image", param="image")
    return content


async def _content(source: object, param: str, limits: ServiceLimits, fetcher: Fetcher) -> bytes:
    if not isinstance(source, str):
        raise BadRequest(f"{param} must be a text: a data: URI, base64 or a URL", code="invalid_image", param=param)
    if source[:8].lower().startswith(("http:", "https:")):
        return await fetcher.fetch(source)
    return decode_base64(source, param, limits)


def decode_base64(source: str, param: str, limits: ServiceLimits) -> bytes:
    """The bytes of a data: URI or of base64, which may hold white space. The type that it declares is not heeded."""
    start = 0
    if source[:5].lower() == "data:":
        match = DATA_URI.match(source[:512])
        if match is None or not match["base64"]:
            raise BadRequest(
                f"{param} is a data: URI that is not in base64: encode it", code="invalid_image", param=param
            )
        start = match.end()
    if len(source) > 2 * limits.image_bytes:
        raise TooLarge(f"{param} is longer than {limits.image_bytes} bytes: shrink it", param=param)
    text = SPACE.sub("", source[start:]).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        if len(text) < SHORTEST:  # a path, say, whose letters could be base64
            raise ValueError
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise BadRequest(
            f"{param} is not an image: give a data: URI, base64 or a URL; paths of files are not read",
            code="invalid_image",
            param=param,
        ) from None


def sources_in(fields: Mapping[str, Any], names: Sequence[str] = IMAGE_FIELDS) -> list[tuple[str, object]]:
    """What the fields that can hold images hold, in the order of `names`; `{"url": …}` counts as its text."""
    found: list[tuple[str, object]] = []
    for name in names:
        value = fields.get(name)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            found.append((name, one.get("url") if isinstance(one, dict) else one))
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _of_form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadRequest("the body is not a form", code="invalid_form") from None
    return _gathered(pairs)


async def _of_multipart(request: Request, body: bytes, query: dict[str, Any], limits: ServiceLimits) -> Payload:
    class InMemory(MultiPartParser):
        spool_max_size = limits.body_bytes + 1  # nothing a stranger sends is written to a disk

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = InMemory(
        request.headers,
        once(),
        max_files=limits.images + 1,
        max_fields=MOST_FIELDS + limits.labels,
        max_part_size=limits.body_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        message = str(getattr(error, "message", "") or "its parts cannot be told apart")
        raise BadRequest(f"the body is not a multipart form ({message[:200]})", code="invalid_form") from None
    files = []
    texts: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            shown = re.sub(r"[^\w .()+-]", "_", value.filename or "")[-100:] or "the image sent"
            files.append((shown, await value.read()))
        else:
            texts.append((name, value))
    await form.close()
    return Payload(query | _gathered(texts), tuple(files))


def _gathered(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Fields of a form: one that comes several times, or whose name ends in [], is a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        plain = name.removesuffix("[]")
        if plain in found:
            found[plain] = [*(found[plain] if isinstance(found[plain], list) else [found[plain]]), value]
        else:
            found[plain] = [value] if name.endswith("[]") else value
    return found
