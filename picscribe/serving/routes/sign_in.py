"""How a person shows a key in a browser: a small page of ours, and the two routes that begin and end a session."""

import base64
import hashlib
import re
from html import escape
from importlib.resources import files
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers

from picscribe.serving.errors import BadRequest, TooLarge, Unauthorised
from picscribe.serving.routes.service import Service
from picscribe.serving.safety import keys, sessions

router = APIRouter()

PAGE = files("picscribe.serving").joinpath("page").joinpath("sign_in.html").read_text(encoding="utf-8")
_STYLE = hashlib.sha256(re.search(r"<style>(.*?)</style>", PAGE, re.DOTALL)[1].encode()).digest()  # type: ignore[index]
HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{base64.b64encode(_STYLE).decode()}'; frame-ancestors 'none';"
        " base-uri 'none'; form-action 'self'"
    ),
    "referrer-policy": "same-origin",  # without a referrer a browser sends the form with the origin "null"
    "www-authenticate": keys.CHALLENGE,
}
BODY = 8192
"""Bytes of a form; somebody without a key may send no more."""


def is_opened(method: str, headers: Headers) -> bool:
    """Whether a request is a browser's that opens a page."""
    return method in ("GET", "HEAD") and "text/html" in headers.get("accept", "")


def page(after: str, headers: Headers, said: str = "") -> Response:
    """The page that asks for the key, with the status 401. `after` is the address that is shown then."""
    text = PAGE.replace("{after}", escape(after)).replace("{said}", escape(said))
    more = {}
    if headers.get("sec-fetch-site") == "cross-site":
        more["refresh"] = "0"  # a link of another site brings no strict cookie: the page itself asks again, and does
    return Response(text, status_code=401, media_type="text/html; charset=utf-8", headers=HEADERS | more)


@router.post("/sign-in", include_in_schema=False)
async def sign_in(request: Request) -> Response:
    """Take a key for a cookie. A form's sender is led on to the page that was asked for."""
    settings = Service.of(request).settings
    form = await _form(request)
    after = _own_address(form.get("after", "/"))
    token = sessions.token(form.get("key", "").strip() or keys.key_in(request.headers) or "", settings)
    wants_page = "text/html" in request.headers.get("accept", "")
    if token is None and settings.key_hashes:
        refused = Unauthorised("this API key is not known")
        if not wants_page:
            raise refused
        request.state.exchange.failure = refused.code
        return page(after, request.headers, "The service does not know this key.")
    return _changed(request, token or "", after if wants_page else None)


@router.post("/sign-out", include_in_schema=False)
async def sign_out(request: Request) -> Response:
    """Take the cookie away."""
    return _changed(request, "", "/" if "text/html" in request.headers.get("accept", "") else None)


def _changed(request: Request, token: str, after: str | None) -> Response:
    """An answer that sets the cookie, and leads on to `after`."""
    headers = request.headers
    secure = request.url.scheme == "https" or headers.get("origin", "").startswith("https://")
    cookie = sessions.cookie(token, headers.get("host", ""), secure=secure)
    if after is None:
        return Response(status_code=204, headers={"set-cookie": cookie})
    return Response(status_code=303, headers={"set-cookie": cookie, "location": after})


async def _form(request: Request) -> dict[str, str]:
    """The first value of each field. Raises TooLarge or BadRequest."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY:
            raise TooLarge(f"a form with a key must have at most {BODY} bytes")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:
        raise BadRequest("the body is not a form with a key") from None
    return {name: values[0] for name, values in fields.items()}


def _own_address(address: str) -> str:
    """An address of this service; "/" for anything that would lead elsewhere."""
    return quote(address, safe="/?&=%+~:@,;") if re.match(r"/(?![/\\])", address) else "/"
