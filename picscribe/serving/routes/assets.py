"""The page at `/` and the files that it is made of, which come with the package."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from picscribe.serving.errors import NotFound

router = APIRouter()

PAGE = files("picscribe.serving").joinpath("page")
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'"
)
"""Of the page: its own files, pictures that it makes itself, requests to this service; nothing else."""


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """The page. A client of Ollama that looks whether it runs gets the words that it looks for."""
    if "text/html" not in request.headers.get("accept", ""):
        return Response("Ollama is running", media_type="text/plain")
    return _file("index.html")


@router.get("/assets/{path:path}", include_in_schema=False)
async def asset(path: str) -> Response:
    """A file of the page."""
    return _file(path)


def _file(path: str) -> Response:
    """A file below `page/`, of a kind that it may have. Raises NotFound for everything else."""
    parts = path.split("/")
    kind = KINDS.get(parts[-1].rpartition(".")[2])
    if kind is None or any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
        raise NotFound("there is no such file")
    found = PAGE.joinpath(*parts)
    if not found.is_file():
        raise NotFound("there is no such file")
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-cache"}
    return Response(found.read_bytes(), media_type=kind, headers=headers)
