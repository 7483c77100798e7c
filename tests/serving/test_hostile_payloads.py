"""What strangers send to break a service: each is refused with a clear error, and the service goes on."""

import base64
import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from picscribe.serving.settings import Fetching

from .conftest import UNHURRIED

LIMITS = replace(UNHURRIED, body_bytes=4 * 2**20, image_bytes=3 * 2**20, image_pixels=1_000_000, images=4)


@pytest.fixture(scope="module")
def target(serve: Callable[..., Any]) -> Any:
    return serve(limits=LIMITS, fetching=Fetching(("*",), time=2.0))


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header says so much, whatever is in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(form: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(buffer, form, **how)
    return buffer.getvalue()


def images() -> Iterator[tuple[str, bytes]]:
    """Files that are no photo that could be captioned."""
    zeros = zlib.compress(b"\0" * 30_000_000, 9)
    yield "bomb of pixels", png_of(60_000, 60_000, zeros)
    yield "bomb below Pillow's limit", png_of(8_000, 8_000, zeros)
    yield "one pixel by two thousand million", png_of(1, 2**31 - 1)
    yield "no width", png_of(0, 10)
    yield "no rows", png_of(100, 100)
    yield "rows that are no zlib", png_of(100, 100, b"nonsense" * 100)
    yield "text bomb", saved("PNG")[:33] + b"\0\1\0\0zTXta\0\0" + zlib.compress(b"x" * 50_000_000)[:60_000]
    gif = saved("GIF")
    yield "GIF of another size", gif[:6] + struct.pack("<HH", 65535, 65535) + gif[10:]
    jpeg = saved("JPEG")
    start = jpeg.index(b"\xff\xc0")
    yield "JPEG of another size", jpeg[: start + 5] + struct.pack(">HH", 65000, 65000) + jpeg[start + 9 :]
    tiff = saved("TIFF")
    yield "TIFF whose directory leads nowhere", tiff[:4] + struct.pack("<I", 2**31) + tiff[8:]
    yield "TIFF whose directory leads to itself", b"II*\0" + struct.pack("<I", 8) + b"\0\0" + struct.pack("<I", 8)
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "ICO", "PPM", "TGA"):
        whole = saved(form)
        yield f"a tenth of a {form}", whole[: max(8, len(whole) // 10)]
    for form in ("SGI", "PCX", "DDS", "ICNS", "SPIDER", "IM"):  # Pillow reads them; nobody sends them
        yield f"a whole {form}", saved(form)
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield (
        "SVG with entities",
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    )
    yield "PDF", b"%PDF-1.7\n" + b"x" * 100
    yield "a web page", b"<!doctype html><script>alert(1)</script>" * 3
    yield "an archive", b"PK\x03\x04" + b"\0" * 100
    yield "a gzip bomb", gzip.compress(b"\0" * 10_000_000)
    yield "a program", b"\x7fELF" + b"\0" * 200
    yield "a Python pickle", b"\x80\x04cos\nsystem\n(S'touch /tmp/hacked'\ntR." * 3
    yield "only zeros", b"\0" * 5000
    yield "a FITS file", b"SIMPLE  =                    T" + b" " * 3000
    yield "a WMF file", b"\xd7\xcd\xc6\x9a" + b"\0" * 100
    yield "an MP4 without anything", b"\0\0\0\x18ftypisom\0\0\0\1isomavc1" + b"\0" * 100
    yield "an MP4 that leads nowhere", b"\0\0\0\x18ftypisom\0\0\0\1isomavc1" + b"\x7f\xff\xff\xffmoov" + b"\0" * 100
    yield "an HLS playlist", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield "an FFmpeg script", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "a HEIC without anything", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
    yield "too many bytes", b"\x89PNG\r\n\x1a\n" + b"\0" * (LIMITS.image_bytes + 1)


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """JSON bodies that no model could answer: (what, route, body)."""
    photo = base64.b64encode(saved("PNG")).decode()
    caption, chat, generate = "/v1/caption", "/v1/chat/completions", "/api/generate"
    for name, text in (
        ("nothing", ""),
        ("white space", "  \n"),
        ("no JSON", "{"),
        ("a list", "[]"),
        ("null", "null"),
        ("a number", "7"),
        ("a text", '"x"'),
        ("deep lists", "[" * 100_000 + "]" * 100_000),
        ("deep objects", '{"a":' * 100_000 + "1" + "}" * 100_000),
        ("a deep image", '{"image":' + "[" * 50_000 + "]" * 50_000 + "}"),
        ("NaN", '{"beams": NaN}'),
        ("Infinity", '{"beams": Infinity}'),
        ("a huge number", '{"beams": ' + "9" * 10_000 + "}"),
        ("half a character", '{"image": "' + photo + '", "prefix": "\\ud800"}'),
        ("two documents", "{} {}"),
        ("a byte order mark", "\ufeff{}"),
        ("trailing comma", '{"image": "x",}'),
        ("a null byte in a name", '{"\\u0000": 1}'),
    ):
        yield name, caption, text.encode()
    yield "no UTF-8", caption, b'{"image": "\xff\xfe"}'
    yield "UTF-16", caption, '{"image": "x"}'.encode("utf-16")
    whole = {"image": photo}
    wrong: list[dict[str, Any]] = [
        {"image": None},
        {"image": 1},
        {"image": True},
        {"image": {}},
        {"image": [[]]},
        {"image": [None]},
        {"image": ""},
        {"image": "data:"},
        {"image": "data:image/png;base64,"},
        {"image": "data:image/png;base64,@@@@"},
        {"image": "data:image/png," + photo},
        {"image": "é" * 100},
        {"image": photo[:-3] + "!!!"},
        {"image": "A" * 50},
        {"image": "../../etc/passwd"},
        {"image": "/proc/self/environ"},
        {"image": "C:\\Windows\\win.ini"},
        {"image": "file://localhost/etc/passwd"},
        {"image": "\\\\server\\share\\a.png"},
        {"image": "/dev/zero"},
        {"image_url": {"url": 5}},
        {"image_url": {}},
        {"images": []},
        {"images": [photo] * 5},
        {"images": "x"},
        whole | {"beams": "many"},
        whole | {"beams": -1},
        whole | {"beams": 1.5},
        whole | {"beams": 10**30},
        whole | {"beams": []},
        whole | {"num_captions": 10**9},
        whole | {"max_new_tokens": 10**9},
        whole | {"max_new_tokens": 0},
        whole | {"min_new_tokens": 50, "max_new_tokens": 5},
        whole | {"temperature": -1},
        whole | {"temperature": 1e308},
        whole | {"top_p": 0},
        whole | {"top_p": 2},
        whole | {"top_k": -1},
        whole | {"top_k": 5},
        whole | {"seed": 10**40},
        whole | {"seed": -1},
        whole | {"length_penalty": 1e9},
        whole | {"banned_words": [""]},
        whole | {"banned_words": ["x"] * 1000},
        whole | {"banned_words": [{}]},
        whole | {"required_words": ["x" * 50_000]},
        whole | {"required_words": ["dog"], "beams": 1},
        whole | {"prefix": 7},
        whole | {"prefix": "word " * 10_000},
        whole | {"model": ""} | {"model": "x" * 300},
        whole | {"model": "../../etc"},
        whole | {"model": []},
        whole | {"frames": 0},
        whole | {"start": -1},
        whole | {"start": 5, "end": 1},
        whole | {"stream": "perhaps"},
        whole | {"beam_groups": 3},
        whole | {"length": "endless"},
        whole | {"settings": {"temperature": "hot"}},
        whole | {"settings": []},
    ]
    for fields in wrong:
        yield json.dumps(fields)[:60], caption, json.dumps(fields).encode()
    for url in (
        "http://127.0.0.1/",
        "http://localhost:22/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://user@127.0.0.1/",
        "http://example.org\\@127.0.0.1/",
        "http://0.0.0.0:8000/",
        "HTTP://LOCALHOST/",
        "http://127.0.0.1:25/",
        "http://[::]/",
        "http://10.0.0.1/",
        "https://192.168.0.1/",
        "http://localhost./",
        "http://127.0.0.1.:80/",
    ):
        yield url, caption, json.dumps({"image_url": url}).encode()
    for fields in (
        {"messages": "x"},
        {"messages": [7]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{}] * 2000},
        {"messages": [{"content": [{"type": "image_url"}]}]},
        {"messages": [{"content": [{"image_url": {"url": []}}]}]},
        {"messages": [{"content": [{"image_url": {"url": photo}}]}], "n": 10**6},
        {"messages": [{"content": [{"image_url": {"url": photo}}]}], "max_tokens": "x"},
    ):
        yield json.dumps(fields)[:60], chat, json.dumps(fields).encode()
    for fields in (
        {},
        {"model": 7},
        {"model": "tiny", "images": "x"},
        {"model": "tiny", "images": [7]},
        {"model": "tiny", "prompt": 7},
        {"model": "tiny", "images": [photo], "options": 7},
        {"model": "tiny", "images": [photo], "options": {"seed": "x"}},
    ):
        yield json.dumps(fields)[:60], generate, json.dumps(fields).encode()
    for route, fields in (
        ("/v1/classify", whole | {"labels": []}),
        ("/v1/classify", whole | {"labels": ["x"] * 5000}),
        ("/v1/classify", whole | {"labels": ["a"], "top_k": 0}),
        ("/v1/classify", whole | {"labels": [""]}),
        ("/v1/score", whole | {"texts": [7]}),
        ("/v1/score", whole | {"texts": ["a"] * 100}),
        ("/v1/ask", whole | {"question": ""}),
        ("/v1/ask", whole | {"questions": ["a"] * 100}),
        ("/v1/ask", whole | {"messages": [{"role": "system", "content": "x"}]}),
        ("/v1/explain", whole | {"method": "magic"}),
        ("/v1/preview", whole | {"side": 10**6}),
        ("/v1/metadata/sidecar", {}),
        ("/v1/metadata/sidecar", {"title": "x" * 9999}),
        ("/v1/metadata/sidecar", {"title": "x", "language": '"><script>'}),
        ("/v1/query", whole),
        ("/models/tiny", {"inputs": 7}),
        ("/models/tiny", {"inputs": {"image": photo, "question": 7}}),
        ("/v1/responses", {"model": "tiny", "input": "hello"}),
        ("/api/v1/vision/labels", {"images": [photo], "labels": []}),
        ("/api/v1/vision/caption/other", {"images": [photo]}),
    ):
        yield f"{route} {json.dumps(fields)[:60]}", route, json.dumps(fields).encode()


def message_of(answer: Any) -> str:
    """The text of an error, in whatever form the route gives it."""
    error = answer.json()["error"]
    return str(error["message"] if isinstance(error, dict) else error)


def test_there_are_many() -> None:
    assert len(list(images())) + len(list(bodies())) + len(REQUESTS) >= 150


def test_images_that_are_none(target: Any) -> None:
    with target.client() as client:
        for name, content in images():
            answer = client.post("/v1/caption", files={"image": ("photo.jpg", content)})
            assert answer.status_code in (400, 413), (name, answer.text)
            message = message_of(answer)
            assert "photo.jpg" in message and len(message) < 400, (name, message)
            assert client.post("/v1/preview", content=content).status_code in (400, 413, 200), name
            assert client.post("/v1/metadata", content=content).status_code in (400, 413, 200), name
        assert client.post("/v1/caption", content=saved("PNG")).status_code == 200
    target.wait_until(target.is_at_rest)


def test_bodies_that_cannot_be_answered(target: Any) -> None:
    with target.client() as client:
        for name, route, body in bodies():
            answer = client.post(route, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text[:300])
            assert 5 < len(message_of(answer)) < 500, (name, answer.text)
        assert client.post("/v1/caption", content=saved("PNG")).status_code == 200
    target.wait_until(target.is_at_rest)


REQUESTS: tuple[tuple[str, str, dict[str, str], bytes], ...] = (
    ("POST", "/v1/caption", {"content-type": "multipart/form-data"}, b"x"),
    ("POST", "/v1/caption", {"content-type": "multipart/form-data; boundary="}, b"x"),
    ("POST", "/v1/caption", {"content-type": "multipart/form-data; boundary=b"}, b"--b\r\nno header\r\n--b--"),
    ("POST", "/v1/caption", {"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n" * 3000),
    ("POST", "/v1/caption", {"content-type": "multipart/form-data; boundary=b"}, b""),
    ("POST", "/v1/caption", {"content-type": "application/x-www-form-urlencoded"}, b"&".join([b"a=1"] * 5000)),
    ("POST", "/v1/caption", {"content-type": "application/json", "content-encoding": "gzip"}, gzip.compress(b"{}")),
    ("POST", "/v1/caption", {"content-type": "text/html"}, b"<p>words</p>"),
    ("POST", "/v1/caption?beams=x", {"content-type": "image/png"}, b"\x89PNG"),
    ("POST", "/v1/caption/../../etc/passwd", {}, b"x"),
    ("POST", "/%2e%2e/%2e%2e/etc/passwd", {}, b"x"),
    ("GET", "/assets/..%2f..%2f..%2fetc%2fpasswd", {}, b""),
    ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", {}, b""),
    ("PUT", "/v1/models/tiny", {}, b"x"),
    ("TRACE", "/v1/models", {}, b""),
    ("POST", "/v1/models", {}, b"x"),
)


def test_requests_that_are_wrong_as_such(target: Any) -> None:
    with target.client() as client:
        for method, path, headers, body in REQUESTS:
            answer = client.request(method, path, headers=headers, content=body)
            assert 400 <= answer.status_code < 500, (method, path, headers, answer.text)
            assert len(message_of(answer)) > 5
    target.wait_until(target.is_at_rest)


def test_a_decoder_is_confined(target: Any) -> None:
    confined = target.service.engine.decoders.confined
    if not confined["files"].startswith("Landlock"):
        pytest.skip("this kernel has no Landlock")
    pid = target.service.engine.decoders.pids[0]
    with open(f"/proc/{pid}/environ", "rb") as file:
        assert file.read() == b""
    with open(f"/proc/{pid}/status") as file:
        state = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert state["NoNewPrivs"] == "1" and state["Seccomp"] == "2"
    assert "0" not in state["Uid"].split()


def test_what_a_taken_over_decoder_could_do() -> None:
    """A process under the same confinement tries what an attacker would, and can do none of it."""
    import subprocess
    import sys

    script = """
import json, os, socket, subprocess, sys
import ctypes
from picscribe.serving.safety.sandbox import confine, allow_time
placed = confine(256 * 2**20)
done = {}
def attempt(name, work):
    try:
        work()
        done[name] = "done"
    except BaseException as error:
        done[name] = type(error).__name__
attempt("read", lambda: open("/etc/passwd").read())
attempt("list", lambda: os.listdir("/"))
attempt("write", lambda: open("/tmp/picscribe-hacked", "w"))
attempt("own", lambda: open(sys.executable, "rb").read(1))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", 1), 1))
attempt("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("program", lambda: os.execv("/bin/true", ["true"]))
attempt("fork", os.fork)
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("memory", lambda: bytearray(1024 * 2**20))
print(json.dumps([placed, done]))
"""
    code = f"import sys; sys.path[:] = {sys.path!r}\n{script}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=120)
    placed, found = json.loads(done.stdout)
    if not placed["files"].startswith("Landlock") or placed["network"] != "seccomp":
        pytest.skip("this kernel has no Landlock or no seccomp")
    assert set(found) == {
        "read",
        "list",
        "write",
        "own",
        "connect",
        "datagram",
        "unix",
        "program",
        "fork",
        "kill",
        "memory",
    }
    assert "done" not in found.values(), found
