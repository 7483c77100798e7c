"""Commands and programs that ask a service instead of loading a model: the same words, and clear errors."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import picscribe
from picscribe.cli.main import app
from picscribe.client import Busy, Client, Refused, ServiceError, Unreachable, Upload
from picscribe.errors import ConfigurationError, InputError
from picscribe.serving.safety.keys import hash_of
from picscribe.serving.settings import ModelSpec

from .conftest import EXAMPLES, RunningService

CAT, DOG = EXAMPLES / "cat.jpg", EXAMPLES / "camera.jpg"


@pytest.fixture(scope="module")
def nano(serve: Any) -> RunningService:
    """A service of nano."""
    return serve(models=(ModelSpec("nano", "nano"),))


@pytest.fixture(scope="module")
def scribe() -> picscribe.Scribe:
    return picscribe.load("nano")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, scribe: picscribe.Scribe) -> Iterator[Callable[..., Result]]:
    """Runs a command, without a service and with one; a model that is loaded here is loaded once for all tests."""
    for name in ("PICSCRIBE_SERVER", "PICSCRIBE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    loaded: list[str] = []

    def load(name: str, **_: object) -> picscribe.Scribe:
        loaded.append(name)
        assert name == "nano"
        return scribe

    monkeypatch.setattr("picscribe.scribe.load", load)

    def invoke(*arguments: object, server: str = "", key: str = "", content: bytes | None = None) -> Result:
        loaded.clear()
        given = {"PICSCRIBE_SERVER": server, "PICSCRIBE_API_KEY": key}
        environment = {name: value for name, value in given.items() if value}
        result = CliRunner().invoke(app, [*map(str, arguments)], input=content, env=environment)
        result.loaded = list(loaded)  # type: ignore[attr-defined]
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        yield invoke


def words_and_numbers(text: str) -> tuple[str, list[float]]:
    """The text with a mark for each number, and the numbers: the last digits depend on threads and batches."""
    numbers = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)
    return re.sub(r"-?\d+\.\d+(?:e-?\d+)?", "#", text), [float(number) for number in numbers]


def assert_same(here: Result, there: Result) -> None:
    assert words_and_numbers(there.stdout)[0] == words_and_numbers(here.stdout)[0]
    for one, other in ((here.stdout, there.stdout), (here.stderr, there.stderr)):
        text, numbers = words_and_numbers(one)
        other_text, other_numbers = words_and_numbers(other)
        assert sorted(other_text.splitlines()) == sorted(text.splitlines())
        assert other_numbers == pytest.approx(numbers, rel=2e-3, abs=2e-4)
    assert there.exit_code == here.exit_code


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad photos."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copy(CAT, folder / "cat 1.jpg")
    shutil.copy(DOG, folder / "kaméra.jpg")
    (folder / "broken.jpg").write_bytes(CAT.read_bytes()[:300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.jpg").write_text("words, not pixels")
    (folder / "labels.txt").write_text("a cat\na dog\n\na cat\na person with a camera\nqzxv dog\n")
    images = ("cat 1.jpg", "none.jpg", "cat 1.jpg")
    rows = [{"image": image, "question": "what is it?", "text": "a cat"} for image in images]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


# Commands


@pytest.mark.parametrize(
    "arguments",
    [
        "caption {cat}",
        "caption --json {folder} {folder}/none.jpg",
        "caption {cat} {camera} --num-captions 3 --beams 5 --max-words 9 --min-words 3 --length-penalty 1.5",
        "caption {cat} --json --temperature 0.8 --top-k 20 --top-p 0.9 --seed 7 --num-captions 2",
        "caption {cat} --repetition-penalty 1.3",
        "caption {cat} --require zebra --ban person --min-confidence 0.99",
        "caption {cat} --beams 4 --beam-groups 2 --prompt 'a qzxv photo of'",
        "caption {cat} --stream --max-words 6",
        "caption {cat} --stream --temperature 0.7 --seed 3",
        "caption {cat} --stream --beams 3",
        "caption {cat} --beams 0",
        "caption {cat} --start 3",
        "caption {cat} --prompt [SEP]",
        "ask {cat} 'what animal is it?' 'what qzxv color?' --min-confidence 0.9",
        "ask --json --beams 2 --max-words 4 {cat} 'what animal is it?'",
        "ask --questions {folder}/rows.jsonl",
        "ask --questions {folder}/rows.jsonl --json",
        "classify --labels {folder}/labels.txt {cat} --top-k 3",
        "classify --labels {folder}/labels.txt {folder} --json --prompt 'a photo of'",
        "score {cat} 'a cat' 'a dog' 'a qzxv' qzxv",
        "score --json --tokens {cat} 'a cat' 'a dog' --prompt 'this is'",
        "score --pairs {folder}/rows.jsonl --min-confidence 0.001",
    ],
)
def test_a_command_says_the_same_with_a_service(
    run: Callable[..., Result], nano: RunningService, mixed: Path, arguments: str
) -> None:
    import shlex

    given = shlex.split(arguments.format(cat=CAT, camera=DOG, folder=mixed))
    here = run(*given)
    there = run(*given, server=nano.url)
    assert there.loaded == []  # type: ignore[attr-defined]
    assert_same(here, there)
    assert here.stdout or here.exit_code, "nothing was said: a blind test"


def test_standard_input_goes_to_the_service(run: Callable[..., Result], nano: RunningService) -> None:
    there = run("caption", "-", server=nano.url, content=CAT.read_bytes())
    assert_same(run("caption", "-", content=CAT.read_bytes()), there)
    assert there.loaded == []  # type: ignore[attr-defined]


def test_with_a_service_neither_torch_nor_numpy_is_imported(nano: RunningService) -> None:
    code = (
        "import sys\nfrom picscribe.cli.main import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'numpy', 'PIL', 'fastapi'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = os.environ | {"PICSCRIBE_SERVER": nano.url, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for command in (["caption", "--json"], ["ask"], ["score"]):
        texts = [] if command[0] == "caption" else ["a cat"]
        done = subprocess.run(
            [sys.executable, "-c", code, *command, str(CAT), *texts],
            capture_output=True, text=True, env=environment, check=True,
        )  # fmt: skip
        assert done.stderr == "[]\n"
        assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--resize", "square"], "--resize"),
        (["--dtype", "bfloat16", "--quantize", "int8"], "--dtype, --quantize"),
    ],
)
def test_what_no_service_does_is_done_here_and_said(
    run: Callable[..., Result], nano: RunningService, arguments: list[str], why: str
) -> None:
    result = run("caption", CAT, *arguments, server=nano.url)
    assert result.loaded == ["nano"]  # type: ignore[attr-defined]
    assert result.stdout == run("caption", CAT).stdout
    assert result.stderr == f"picscribe: PICSCRIBE_SERVER is not used: {why} needs a model that is loaded here\n"


def test_a_model_that_is_not_served_is_loaded_here(run: Callable[..., Result], service: RunningService) -> None:
    result = run("caption", CAT, server=service.url)
    assert result.loaded == ["nano"]  # type: ignore[attr-defined]
    assert result.stdout == run("caption", CAT).stdout
    assert f"{service.url} does not serve nano, only tiny, gpt-4o-mini: nano is loaded here" in result.stderr


def test_what_is_over_the_services_limits_is_an_error_with_the_remedy(
    run: Callable[..., Result], nano: RunningService
) -> None:
    result = run("caption", CAT, "--beams", 40, server=nano.url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "beams must be at most 16, not 40" in result.stderr and "leave PICSCRIBE_SERVER out" in result.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://[::1]:9/prefix", "https://127.0.0.1:9"])
def test_a_service_that_does_not_answer_is_an_error_that_names_the_variable(
    run: Callable[..., Result], address: str
) -> None:
    result = run("caption", CAT, server=address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"picscribe: PICSCRIBE_SERVER={address} does not answer (")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["localhost:8000", "ftp://localhost", "http://", "http://user:word@localhost", "http://localhost/?a=1",
     "http://localhost:99999", "http://local host"],
)  # fmt: skip
def test_an_address_that_is_none_is_wrong_usage(run: Callable[..., Result], address: str) -> None:
    result = run("caption", CAT, server=address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "PICSCRIBE_SERVER" in result.stderr and "write http://host:port" in result.stderr


def test_a_key_comes_from_the_environment(run: Callable[..., Result], serve: Any) -> None:
    key = "ps_a-key-that-is-long-enough"
    guarded = serve(models=(ModelSpec("nano", "nano"),), key_hashes=(hash_of(key),))
    assert run("caption", CAT, server=guarded.url, key=key).stdout == run("caption", CAT).stdout
    for wrong in ("", "ps_another-key-that-is-long"):
        result = run("caption", CAT, server=guarded.url, key=wrong)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "PICSCRIBE_API_KEY" in result.stderr and key not in result.stderr
    guarded.stop()


# The client


def test_results_are_the_librarys_own_objects(nano: RunningService, scribe: picscribe.Scribe) -> None:
    client = Client(nano.url)
    upload = Upload(CAT.read_bytes(), "cat.jpg")
    found = client.caption(upload, options={"num_captions": 2})
    expected = scribe.caption(CAT, num_captions=2)
    for one, other in zip((found.found, *found.found.alternatives), (expected, *expected.alternatives), strict=True):
        assert (one.text, one.tokens, one.decoded) == (other.text, other.tokens, other.decoded)
        assert one.log_probabilities == pytest.approx(other.log_probabilities, rel=1e-3, abs=1e-4)
    assert found.fingerprint == scribe.fingerprint() == client.models()["nano"].fingerprint
    texts = [f"text {number}" for number in range(70)]  # more than one request holds
    scores = client.score(upload, texts).found
    for one, other in zip(scores, scribe.score(CAT, texts), strict=True):
        assert (one.text, one.tokens) == (other.text, other.tokens)
    ranked = client.classify(upload, ["a cat", "a dog"], top_k=1).found
    assert ranked.label == scribe.classify(CAT, ["a cat", "a dog"]).label and len(ranked.ranking) == 1
    client.close()


def test_a_bad_photo_is_refused_under_its_own_name(nano: RunningService) -> None:
    client = Client(nano.url)
    with pytest.raises(Refused, match=r"^a/b\.jpg is not an image"):
        client.caption(Upload(b"words, not pixels", "a/b.jpg"))
    with pytest.raises(Refused, match=r"^big\.mp4 is \d+ bytes long, over the service's limit") as caught:
        client.caption(Upload(bytes(40 * 2**20), "big.mp4"))
    assert caught.value.code == "request_too_large"
    with pytest.raises(ServiceError, match="is not served here"):
        client.caption(Upload(CAT.read_bytes(), "cat.jpg"), model="other")
    with pytest.raises(ConfigurationError, match="invalid characters"):
        client.caption(Upload(CAT.read_bytes(), "cat.jpg"), prompt="\udc80")


def test_a_service_that_comes_back_is_found_by_the_same_client(serve: Any, free_port: int) -> None:
    first = serve(port=free_port)
    client = Client(first.url, tries=1)
    assert list(client.models()) == ["tiny"]
    first.stop()
    with pytest.raises(Unreachable):
        client.models()
    again = serve(port=free_port)
    assert list(client.models()) == ["tiny"]
    again.stop()


Reply = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def replying(*replies: Reply) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these replies one after the other, and then the last; what it was asked."""
    asked: list[str] = []
    left = list(replies)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            (left.pop(0) if len(left) > 1 else left[0])(self)

        do_GET = do_POST = _reply

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def answer(status: int, content: bytes, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def break_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


SERVED = answer(200, json.dumps({"data": [{"id": "nano", "fingerprint": "f", "frames": 0}]}).encode())
BUSY = json.dumps({"error": {"message": "the queue is full"}}).encode()


def test_a_busy_service_is_asked_again_when_it_says_so() -> None:
    waits: list[float] = []
    replies = (answer(429, BUSY, Retry_After="7"), answer(503, BUSY, Retry_After="999"), answer(503, BUSY), SERVED)
    with replying(*replies) as (address, asked):
        assert list(Client(address, wait=waits.append, patience=1000).models()) == ["nano"]
    assert (waits, len(asked)) == ([7, 60, 1], 4)
    with replying(answer(429, BUSY, Retry_After="7")) as (address, _), pytest.raises(Busy, match="the queue is full"):
        Client(address, wait=waits.append, patience=5).models()
    with replying(answer(429, BUSY, Retry_After="1")) as (address, asked), pytest.raises(Busy):
        Client(address, wait=lambda _: True).models()
    assert len(asked) == 1


def test_a_request_that_breaks_off_is_sent_again_with_longer_and_longer_waits() -> None:
    waits: list[float] = []
    with replying(hang_up, hang_up, SERVED) as (address, asked):
        assert list(Client(address, tries=4, wait=waits.append).models()) == ["nano"]
    assert (waits, len(asked)) == ([0.5, 1], 3)
    with replying(hang_up) as (address, asked), pytest.raises(Unreachable):
        Client(address, tries=2, wait=waits.append).models()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer(302, b"", Location="http://169.254.169.254/"), "redirects to another address"),
        (answer(200, b"<html>"), "does not answer like this version of picscribe serve"),
        (answer(200, b"[" * 100_000), "does not answer like this version of picscribe serve"),
        (answer(200, b'{"data": [{"id": 1}]}'), "does not answer like this version of picscribe serve"),
        (answer(404, b"not here"), "it says 404"),
        (answer(500, b'{"error": {"message": "it\\nfell over"}}'), "it fell over"),
        (break_off, "does not answer"),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_ours(reply: Reply, message: str) -> None:
    with replying(reply) as (address, asked), pytest.raises(ServiceError, match=message):
        Client(address).models()
    assert len(asked) == 1


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picscribe.client.LARGEST_ANSWER", 1000)
    with replying(answer(200, b" " * 5000)) as (address, _), pytest.raises(ServiceError, match="over 1000 bytes"):
        Client(address).models()


def test_a_stream_that_breaks_off_is_an_error() -> None:
    pieces = b'data: {"chunk": "a ", "completed": false}\n\n: still here\n\n'
    with replying(answer(200, pieces)) as (address, _):
        stream = Client(address).stream(Upload(b"photo", "photo.jpg"))
        assert next(stream) == "a "
        with pytest.raises(Unreachable, match="before the caption was complete"):
            next(stream)


def test_errors_are_of_our_family() -> None:
    assert issubclass(Refused, InputError) and issubclass(Busy, ServiceError) and issubclass(Unreachable, ServiceError)
