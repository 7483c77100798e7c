"""A small stand-in for the Hugging Face hub on 127.0.0.1: repositories of a few files, and how the hub fails."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef0123456{:01x}"


@dataclass
class Hub:
    """Repositories by name and revision, what they ask of a token, and every request that came."""

    repositories: dict[str, dict[str, Path]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    broken_status: int = 0
    cuts: list[int] = field(default_factory=list)
    """Bytes of a weights file after which the connection breaks, an entry a request."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path, and the Range that was asked for."""
    endpoint: str = ""

    def downloads(self) -> list[str]:
        """Names of the files whose content was asked for."""
        return [path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port, until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)(?:/(.+))?", path)
        if self.hub.broken_status:
            return self._error(self.hub.broken_status, "", "it is down")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.hub.expired:
            return self._error(401, "", f'User Access Token "{token}" is expired')
        if token and token not in self.hub.tokens:
            return self._error(401, "", "Invalid credentials in Authorization header")
        if not found or found[1] not in self.hub.repositories or (found[1] in self.hub.private and not token):
            return self._error(404 if token else 401, "RepoNotFound", "Repository not found")
        repository, what, revision, name = found.groups()
        known = self.hub.repositories[repository]
        commits = {SHA.format(number): one for number, one in enumerate(known)}
        commit = revision if revision in commits else next((c for c, one in commits.items() if one == revision), "")
        if not commit:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        files = {file.name: file for file in known[commits[commit]].iterdir()}
        if what == "revision":
            return self._json({"id": repository, "sha": commit, "siblings": [{"rfilename": one} for one in files]})
        if what == "tree":
            entries = [
                {"type": "file", "path": one, "size": file.stat().st_size, "oid": _etag(file)}
                for one, file in files.items()
            ]
            return self._json(entries)
        if repository in self.hub.gated:
            return self._error(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        if name not in files:
            return self._error(404, "EntryNotFound", "Entry not found")
        self._file(files[name], commit)

    def _file(self, file: Path, commit: str) -> None:
        content = file.read_bytes()
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, "0"])[1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{_etag(file)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.cuts and file.suffix in (".safetensors", ".bin"):
            self.wfile.write(content[start : start + self.hub.cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _error(self, status: int, code: str, message: str) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
