"""Who may ask: keys on every route, hosts, origins, sizes, times; and what answers and logs say of it."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from picscribe.errors import ConfigurationError
from picscribe.serving.safety import keys, sessions
from picscribe.serving.safety.protection import HEALTH
from picscribe.serving.settings import ModelSpec, ServiceLimits, Settings

from .conftest import PATIENCE, UNHURRIED

KEY = "ps_a_key_of_a_test_1234"


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Any]) -> Any:
    limits = replace(UNHURRIED, body_bytes=200_000, image_bytes=150_000)
    return serve(key_hashes=(keys.hash_of("another key, as there are two"), keys.hash_of(KEY)), limits=limits)


@pytest.fixture(scope="module")
def impatient(serve: Callable[..., Any]) -> Any:
    return serve(limits=replace(UNHURRIED, body_time=1.0, header_time=1.0), decoders=1)


def routes(service: Any) -> list[tuple[str, str]]:
    """Every method and path that the application answers, parameters filled in."""
    found = []
    todo = list(service.app.routes)
    while todo:
        route = todo.pop()
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner:
            todo += inner
        elif isinstance(route, Route):
            path = route.path.replace("{model:path}", "tiny").replace("{path:path}", "plain.css")
            found += [(method, path) for method in route.methods or ()]
    return found


def test_every_route_but_health_needs_the_key(guarded: Any) -> None:
    every = routes(guarded)
    paths = {path for _, path in every}
    assert {"/v1/caption", "/api/generate", "/v1/chat/completions", "/metrics", "/docs", "/", "/openapi.json"} <= paths
    assert len(paths) > 30
    wrong = ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {KEY}x"}, {"x-api-key": ""})
    with guarded.client() as client:
        for method, path in [*every, ("GET", "/nothing"), ("POST", "/"), ("OPTIONS", "/v1/caption")]:
            for headers in wrong:
                status = client.request(method, path, headers=headers).status_code
                assert status == 401 or path in HEALTH, (method, path, headers, status)
            status = client.request(method, path, headers={"authorization": f"Bearer {KEY}"}).status_code
            assert status not in (401, 403), (method, path)
            client.cookies.clear()  # of /sign-in


def test_a_key_comes_in_every_way_that_clients_send_it(guarded: Any) -> None:
    with guarded.client() as client:
        for headers in (
            {"authorization": f"Bearer {KEY}"},
            {"Authorization": f"bearer  {KEY}"},
            {"x-api-key": KEY},
            {"X-Moondream-Auth": KEY},
        ):
            assert client.get("/v1/models", headers=headers).status_code == 200, headers
        assert client.get("/", auth=("anybody", KEY)).status_code == 200
        refused = client.get("/v1/models")
    assert refused.headers["www-authenticate"].startswith("Bearer"), "Basic would make browsers ask in a box of theirs"
    assert refused.json()["error"]["type"] == "authentication_error"


HTML = {"accept": "text/html,*/*;q=0.8"}


def test_a_browser_is_asked_for_the_key_by_a_page_of_ours(guarded: Any) -> None:
    with guarded.client() as client:
        for path in ("/", "/docs", "/nothing?a=<b>&c=1"):
            answer = client.get(path, headers=HTML)
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"].startswith("text/html") and 'action="/sign-in"' in answer.text
            assert "unsafe" not in answer.headers["content-security-policy"] and "<b>" not in answer.text
        assert "refresh" not in answer.headers
        assert client.get("/", headers=HTML | {"sec-fetch-site": "cross-site"}).headers["refresh"] == "0"
        for path in ("/v1/models", "/assets/page.css"):
            assert client.get(path).json()["error"]["code"] == "invalid_api_key"


def test_a_key_is_changed_for_a_cookie(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded.client() as client:
        answer = client.post("/sign-in", data={"key": KEY, "after": "/docs?a=1"}, headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs?a=1")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie and KEY not in cookie
        assert keys.hash_of(KEY) not in cookie
        assert client.get("/docs").status_code == 200
        assert client.get("/docs", headers={"authorization": "Bearer wrong"}).status_code == 401, "a key counts first"
        foreign = {"origin": "http://127.0.0.1:1", "sec-fetch-site": "same-site"}
        assert client.post("/v1/score", headers=foreign).status_code == 403, "pages of other ports have the cookie too"
        monkeypatch.setattr("time.time", lambda: time.monotonic() + 2 * 10**9 + sessions.SECONDS)
        assert client.get("/docs").status_code == 401, "a day later"
        monkeypatch.undo()
        assert client.get("/docs").status_code == 200
        gone = client.post("/sign-out")
        assert gone.status_code == 204 and "Max-Age=0" in gone.headers["set-cookie"]
        assert client.get("/docs").status_code == 401


def test_no_other_cookie_stands_for_a_key(guarded: Any) -> None:
    settings = guarded.service.settings
    host = guarded.url.removeprefix("http://")
    real = sessions.token(KEY, settings)
    assert real is not None
    until, signature = real.split(".")
    elsewhere = Settings(key_hashes=settings.key_hashes)
    assert real.encode() not in repr(settings).encode() and settings.session_secret.hex() not in repr(settings)
    made_up = (
        "", "x", f"{until}.{'0' * 64}", f"{int(until) + 1}.{signature}", sessions.token(KEY, elsewhere), f"{until}.",
        f"{real};", "\N{DIGIT ONE}" * 5000,
    )  # fmt: skip
    assert sessions.holds(f"{sessions.name(host)}={real}", host, settings)
    assert not sessions.holds(f"{sessions.name(host)}={real}", host, Settings(key_hashes=settings.key_hashes[:1]))
    for value in made_up[:-2]:
        assert not sessions.holds(f"{sessions.name(host)}={value}", host, settings), value
    assert not sessions.holds(f"picscribe-1={real}", host, settings), "of another port"
    assert sessions.token("not a key of this service", settings) is None


def test_signing_in_refuses_what_is_no_key(guarded: Any) -> None:
    with guarded.client() as client:
        refused = client.post("/sign-in", data={"key": "wrong", "after": "/docs"}, headers=HTML)
        assert refused.status_code == 401 and "does not know this key" in refused.text and '"/docs"' in refused.text
        assert "set-cookie" not in refused.headers
        assert client.post("/sign-in", data={"key": "wrong"}).json()["error"]["code"] == "invalid_api_key"
        assert client.post("/sign-in", content=b"x" * 9000).status_code == 413, "nobody without a key sends more"
        assert client.post("/sign-in", content=b"&".join([b"a=1"] * 9)).status_code == 400
        foreign = {"origin": "https://evil.example"}
        assert client.post("/sign-in", data={"key": KEY}, headers=foreign).status_code == 403
        for after in ("//evil.example", "https://evil.example", "/\\evil.example", "", "/\r\nset-cookie: a=b"):
            found = client.post("/sign-in", data={"key": KEY, "after": after}, headers=HTML).headers
            assert found["location"] in ("/", "/%0D%0Aset-cookie:%20a=b"), after
            assert list(found).count("set-cookie") == 1
        own = {"origin": guarded.url.replace("http:", "https:")}
        assert "; Secure" in client.post("/sign-in", data={"key": KEY}, headers=own).headers["set-cookie"]


def test_keys_are_kept_as_hashes_only(guarded: Any) -> None:
    assert KEY not in repr(guarded.service.settings)
    key = keys.new_key()
    assert len(key) > 40
    assert keys.is_known(key, [keys.hash_of(key)])
    assert not keys.is_known(key + "x", [keys.hash_of(key)])
    with pytest.raises(ConfigurationError, match="--new-key"):
        keys.hash_of("short")


def test_a_key_file_holds_hashes_and_notes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{keys.hash_of('k' * 20)} the page\n\n{keys.hash_of('l' * 20)}\n")
    assert keys.read_hashes(file) == (keys.hash_of("k" * 20), keys.hash_of("l" * 20))
    file.write_text("a plain key that somebody wrote\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        keys.read_hashes(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.read_hashes(tmp_path / "missing")


def test_other_machines_are_served_only_with_a_key_or_by_an_explicit_word() -> None:
    with pytest.raises(ConfigurationError, match="--open"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", open=True)
    assert Settings(host="0.0.0.0", key_hashes=("0" * 64,))
    assert Settings(host="127.0.0.5")


def test_on_loopback_other_hosts_are_not_answered_for(service: Any) -> None:
    with service.client() as client:
        for host in (
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::ffff:1]",
        ):
            answer = client.get("/v1/models", headers={"host": host})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host"), host
        for host in ("localhost", "127.0.0.1:80", "[::1]:8000", "LOCALHOST:1"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200, host


def test_pages_of_other_sites_may_not_call(service: Any) -> None:
    with service.client() as client:
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"origin": "http://["},
            {"sec-fetch-site": "cross-site"},
        ):
            answer = client.post("/v1/caption", content=b"x", headers=headers)
            assert answer.status_code == 403, headers
            assert "access-control-allow-origin" not in answer.headers
        assert client.get("/v1/models", headers={"origin": service.url}).status_code == 200


def test_an_allowed_site_may_call(serve: Callable[..., Any]) -> None:
    friendly = serve(origins=("https://friend.example",))
    with friendly.client() as client:
        asked = {"origin": "https://friend.example", "access-control-request-method": "POST"}
        assert client.options("/v1/caption", headers=asked).headers["access-control-allow-origin"] == asked["origin"]
        answer = client.get("/v1/models", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert client.get("/v1/models", headers={"origin": "https://other.example"}).status_code == 403
    friendly.stop()


def test_every_answer_has_the_headers_that_keep_browsers_out(service: Any) -> None:
    with service.client() as client:
        for path in ("/", "/docs", "/status", "/v1/models", "/nothing", "/assets/plain.css", "/v1/caption"):
            headers = client.get(path, headers={"accept": "text/html"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'") and "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-request-id"]


def test_too_much_is_refused(guarded: Any) -> None:
    with guarded.client(headers={"x-api-key": KEY}) as client:
        answer = client.post("/v1/caption", content=b"x" * 300_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        answer = client.post("/v1/caption", content=iter([b"x" * 100_000] * 3))  # no length is declared
        assert answer.status_code == 413
        answer = client.post("/v1/caption", content=b"\x89PNG" + b"x" * 160_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_what_comes_too_slowly_is_cut(impatient: Any) -> None:
    head = "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    for sent, answered in ((head[:40], b""), (head + "\r\n", b"408"), (head + "\r\n" + "x" * 100, b"408")):
        with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(sent.encode())
            received = b""
            while part := connection.recv(4096):
                received += part
        assert answered in received.split(b"\r\n")[0], (sent, received)


def test_a_drip_of_bytes_does_not_hold_a_connection(impatient: Any) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
        connection.settimeout(0.1)
        for letter in "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + "y" * 200:
            try:
                connection.sendall(letter.encode())
                if connection.recv(10) == b"":
                    return
            except TimeoutError:
                time.sleep(0.01)
            except ConnectionError:
                return
    raise AssertionError("the connection was held")


def test_the_log_holds_ids_and_neither_images_nor_keys_nor_queries(
    guarded: Any, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "picscribe.serving.access"), guarded.client() as client:
        headers = {"x-api-key": KEY, "x-request-id": "of-this-test"}
        answer = client.post("/v1/caption?prefix=secret", content=photo, headers=headers)
        client.post("/v1/caption", content=photo, headers={"x-api-key": "a wrong one"})
        guarded.wait_until(lambda: "invalid_api_key" in caplog.text)
    assert answer.headers["x-request-id"] == "of-this-test"
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("picscribe"))
    assert '"request": "of-this-test"' in logged
    assert '"failure": "invalid_api_key"' in logged
    for secret in (KEY, "secret", "a wrong one", "PNG", "base64"):
        assert secret not in logged


def test_files_of_the_page_are_all_that_is_given_out(service: Any) -> None:
    with service.client() as client:
        assert client.get("/assets/plain.css").headers["content-type"].startswith("text/css")
        for path in ("..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "/etc/passwd", ".", "", "index.html/", "a%00.css"):
            assert client.get(f"/assets/{path}").status_code == 404, path


def test_settings_that_contradict_each_other_are_refused() -> None:
    model = ModelSpec("nano", "nano")
    for wrong, message in (
        ({"models": ()}, "needs a model"),
        ({"models": (model, model)}, "two models"),
        ({"aliases": (("x", "none"),)}, "must name one of nano"),
        ({"aliases": (("nano", "nano"),)}, "cannot be an alias"),
        ({"workers": 0}, "workers"),
        ({"port": 70000}, "port"),
        ({"key_hashes": ("abc",)}, "64 hexadecimal"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Settings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="queue_images"):
        ServiceLimits(images=100, queue_images=10)
    with pytest.raises(ConfigurationError, match="deadline"):
        ServiceLimits(deadline=0)
    with pytest.raises(ConfigurationError, match="cannot be called"):
        ModelSpec("two words", "nano")
