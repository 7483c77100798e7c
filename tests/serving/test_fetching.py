"""Images by URL: what the server must never reach, however an address is written, and what it fetches."""

import asyncio
import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from picscribe.errors import ConfigurationError
from picscribe.serving.errors import BadRequest
from picscribe.serving.safety.fetching import Fetcher, is_public, parse
from picscribe.serving.settings import Fetching

# fmt: off
NOT_PUBLIC = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1",
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::a9fe:a9fe",
    "64:ff9b::7f00:1", "64:ff9b::127.0.0.1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001::1",
    "2001:0:7f00:1::", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1",
    "ff02::1", "100::1", "not-an-address",
]
# fmt: on

NOT_PLAIN = [
    "ftp://example.org/a.png", "file:///etc/passwd", "gopher://example.org/", "data:text/plain,a", "//example.org/a",
    "http:/example.org/a.png", "http:example.org/a.png", "https:///a.png", "http://", "http:// example.org/",
    "http://user@example.org/", "http://user:password@example.org/", "http://example.org@127.0.0.1/",
    "http://example.org:80@127.0.0.1/", "http://example.org\\@127.0.0.1/", "http://127.0.0.1\\@example.org/",
    "http:\\\\example.org/", "http://example.org\\/", "http://exa\nmple.org/", "http://example.org/\r\nHost: other",
    "http://example.org/a b", "http://example.org/\t", "http://example.org\x00.evil/", "http://ex%61mple.org/",
    "http://127.0.0.1%2f@example.org/", "http://[::1/", "http://::1/", "http://[::1]extra/", "http://[::1%25eth0]/",
    "http://example.org:0/", "http://example.org:65536/", "http://example.org:99999999999/", "http://example.org:8O/",
    "http://example.org:/", "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/",
    "http://127.1/", "http://127.0.1/", "http://0177.0.0.1/", "http://0x7f.0x0.0x0.0x1/", "http://127.0.0.01/",
    "http://127.0.0.256/", "http://1.2.3.4.5/", "http://0/", "http://00/", "http://①②⑦.⓪.⓪.①/", "http://exämple.org/",
    "http://127。0。0。1/", "http://example.org。evil/", "http://-example.org/", "http://example.org-/", "http://.example/",
    "http://a" + "b" * 5000 + "/", "http://example.org/é", "javascript:alert(1)", "",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_on_the_open_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:800::200e"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", NOT_PLAIN)
def test_only_plain_urls_are_taken(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(url)
    assert refused.value.param == "image_url"


def test_a_url_is_taken_apart_as_it_will_be_fetched() -> None:
    target = parse("HTTPS://Example.ORG.:8443/a/b.jpg?x=1&y=@z#fragment")
    assert (target.scheme, target.host, target.port, target.path) == ("https", "example.org", 8443, "/a/b.jpg?x=1&y=@z")
    assert target.authority == "example.org:8443"
    assert parse("http://example.org").path == "/"
    assert parse("http://example.org?x").path == "/?x"
    assert (parse("http://[2606:4700::1]/").host, parse("http://[2606:4700::1]/").authority) == (
        "2606:4700::1",
        "[2606:4700::1]",
    )


class Site(http.server.BaseHTTPRequestHandler):
    """A site of many kinds of answers."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        Site.asked.append((self.path, str(self.headers["User-Agent"])))
        with contextlib.suppress(OSError):
            self.answer()

    def answer(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(301)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/nowhere":
            self.send_response(302)
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/long":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x" * 10_000)
        elif self.path in ("/slow", "/slow-header"):
            if self.path == "/slow":
                self.send_response(200)
                self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the image")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


Get = Callable[..., bytes]


@pytest.fixture
def get(site: int) -> Iterator[Get]:
    """Fetches from a site here, which counts as public; `names` says where hosts are."""
    made: list[Fetcher] = []

    def fetch(
        path: str, *, names: dict[str, list[str]] | None = None, hosts: tuple[str, ...] | None = None, **settings: Any
    ) -> bytes:
        known = {"site.example": ["127.0.0.1"]} | (names or {})

        def resolve(host: str, port: int) -> list[str]:
            if host not in known:
                raise socket.gaierror("unknown")
            return known[host]

        rules = (f"site.example:{site}",) if hosts is None else hosts
        fetcher = Fetcher(
            Fetching(rules, **settings),
            resolve=resolve,
            allowed=lambda address: address == "127.0.0.1" or is_public(address),
        )
        made.append(fetcher)
        url = path if "://" in path else f"http://site.example:{site}{path}"
        return asyncio.run(fetcher.fetch(url))

    yield fetch
    for fetcher in made:
        fetcher.close()


def test_an_image_is_fetched_under_our_name(get: Get) -> None:
    Site.asked.clear()
    assert get("/a.png") == b"the image"
    assert Site.asked[0][0] == "/a.png" and Site.asked[0][1].startswith("picscribe/")
    assert get("/to//a.png") == b"the image"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/to/http://169.254.169.254/latest/meta-data/", "image_url_refused"),
        ("/to/http://[::1]/", "image_url_refused"),
        ("/to/http://2130706433/", "image_url_refused"),
        ("/to/file:///etc/passwd", "image_url_refused"),
        ("/to/http://user@site.example/", "image_url_refused"),
        ("/to///other.example/", "image_url_refused"),
        ("/to/\\\\other.example", "image_url_refused"),
        ("/loop", "image_url_refused"),
        ("/nowhere", "image_url_refused"),
        ("/missing", "image_url_unreachable"),
    ],
)
def test_redirects_are_checked_as_the_first_address_is(get: Get, path: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        get(path)
    assert refused.value.code == code


def test_too_long_and_too_slow_is_given_up(get: Get) -> None:
    with pytest.raises(BadRequest) as refused:
        get("/long", bytes=50_000)
    assert refused.value.code == "image_too_large"
    for path in ("/slow", "/slow-header"):
        started = time.monotonic()
        with pytest.raises(BadRequest):
            get(path, time=0.5)
        assert time.monotonic() - started < 8  # the site would take 10


def test_every_address_of_a_host_must_be_public(get: Get, site: int) -> None:
    for addresses in (["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:10.0.0.1"], ["2002:a00:1::"], []):
        with pytest.raises(BadRequest) as refused:
            get("/a.png", names={"site.example": addresses})
        assert "public" in str(refused.value)


def test_a_host_that_changes_its_address_after_the_check_gains_nothing(site: int) -> None:
    """DNS rebinding: the first look-up is public, a second would not be. There is no second."""
    looked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"] if len(looked) == 1 else ["10.0.0.1"]

    fetcher = Fetcher(
        Fetching((f"site.example:{site}",)), resolve=resolve, allowed=lambda address: address == "127.0.0.1"
    )
    assert asyncio.run(fetcher.fetch(f"http://site.example:{site}/a.png")) == b"the image"
    assert looked == ["site.example"]
    fetcher.close()


def test_only_hosts_and_ports_of_the_list_are_asked(get: Get, site: int) -> None:
    names = {"a.site.example": ["127.0.0.1"], "evilsite.example": ["127.0.0.1"]}
    for url, hosts, answered in (
        (f"http://a.site.example:{site}/", (f".site.example:{site}",), True),
        (f"http://evilsite.example:{site}/", (f".site.example:{site}",), False),
        (f"http://site.example:{site}/", (f".site.example:{site}",), False),
        (f"http://site.example:{site}/", ("site.example",), False),
        (f"http://site.example:{site}/", ("*",), False),
        ("http://site.example:22/", ("*",), False),
        (f"http://site.example:{site}/", (), False),
    ):
        if answered:
            assert get(url, names=names, hosts=hosts) == b"the image"
        else:
            with pytest.raises(BadRequest):
                get(url, names=names, hosts=hosts)


def test_without_a_list_nothing_is_fetched_and_the_error_says_what_to_do() -> None:
    fetcher = Fetcher(Fetching())
    with pytest.raises(BadRequest, match="base64"):
        asyncio.run(fetcher.fetch("http://example.org/a.png"))
    fetcher.close()
    with pytest.raises(ConfigurationError, match="is not a host"):
        Fetching(("http://example.org",))


def test_the_service_fetches_an_image_and_captions_it(
    serve: Callable[..., Any], photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching = Fetching(("photos.example",))
    fetcher = Fetcher(fetching)

    async def fetch(url: str) -> bytes:
        if url == "http://photos.example/a.png":
            return photo
        raise BadRequest("not this one", code="image_url_refused", param="image_url")

    monkeypatch.setattr(fetcher, "fetch", fetch)
    service = serve(fetching=fetching, fetcher=fetcher)
    with service.client() as client:
        alone = client.post("/v1/caption", json={"image_url": "http://photos.example/a.png"}).json()
        both = {"images": ["http://photos.example/a.png", "http://photos.example/b.png"]}
        results = client.post("/v1/caption", json=both).json()["results"]
        assert results[0]["caption"] == alone["caption"]
        assert results[1]["error"]["code"] == "image_url_refused"
        assert client.get("/v1/limits").json()["fetches_urls"] is True
    service.stop()
