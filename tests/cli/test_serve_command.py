"""`picscribe serve` as a user runs it: an address, a caption, an orderly end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import picscribe
from picscribe import checkpoints

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi", reason="needs the extra serve")


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "picscribe", "serve", "--port", "0", "--threads", "1", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came to that")


def address_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"at (http://\S+);", line):
            return found[1]
    raise AssertionError("it did not start")


def test_it_captions_and_ends_in_order(tiny_model: Path, photos: Path) -> None:
    key = "a key that is long enough"
    process = start("--model", f"tiny={tiny_model}", "--alias", "gpt-4o=tiny", PICSCRIBE_API_KEY=key)
    try:
        url = address_of(process)
        with httpx.Client(base_url=url, timeout=300, headers={"authorization": f"Bearer {key}"}) as client:
            answer = client.post("/v1/caption", content=(photos / "photo1.png").read_bytes())
            assert answer.status_code == 200 and answer.json()["caption"]
            assert {one["id"] for one in client.get("/v1/models").json()["data"]} == {"tiny", "gpt-4o"}
            assert client.get("/readyz").json() == {"status": "ready"}
        assert httpx.get(f"{url}/v1/models").status_code == 401
        environment = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if environment.exists():  # no process that it started has the key
            for child in environment.read_text().split():
                try:
                    seen = Path(f"/proc/{child}/environ").read_bytes()
                except PermissionError:
                    continue
                assert key.encode() not in seen
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        assert process.wait(300) == 0
        logged = [json.loads(line) for line in lines if line.startswith("{")]
        assert any(one.get("route") == "/v1/caption" and one["status"] == 200 for one in logged)
        assert not any(key in line or "Traceback" in line for line in lines)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_sighup_loads_the_models_again_and_loses_no_request(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    photo, folder = (photos / "photo1.png").read_bytes(), tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    other = checkpoints.load(tiny_model)
    with torch.no_grad():
        for weight in other.model.image_encoder.parameters():
            weight.add_(0.3)
    checkpoints.save(other, tmp_path / "other")
    captions = [picscribe.load(path).caption(photo).text for path in (folder, tmp_path / "other")]
    assert captions[0] != captions[1]
    process = start("--model", f"tiny={folder}")
    log: list[str] = []
    try:
        url = address_of(process)
        threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True).start()
        answers: list[tuple[int, str]] = []
        enough = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=url, timeout=300) as client:
                while not enough.is_set():
                    answer = client.post("/v1/caption", content=photo)
                    answers.append((answer.status_code, answer.json().get("caption", "")))

        def wait_for(word: str) -> None:
            wait_until(lambda: any(word in line for line in log))

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        try:
            wait_until(lambda: (200, captions[0]) in answers)
            os.rename(folder, tmp_path / "before")
            os.rename(tmp_path / "other", folder)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
            wait_for("is loaded again")
            wait_until(lambda: (200, captions[1]) in answers)
            shutil.rmtree(folder)
            process.send_signal(signal.SIGHUP)
            wait_for("stays as it is")
        finally:
            enough.set()
            for thread in asking:
                thread.join()
        assert {status for status, _ in answers} == {200}
        assert {text for _, text in answers} == set(captions)
        assert httpx.post(f"{url}/v1/caption", content=photo, timeout=300).json()["caption"] == captions[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "no-such-model-anywhere/at-all"], 1, "no-such-model"),
        (["--host", "0.0.0.0"], 2, "--open"),
        (["--alias", "x"], 2, "ALIAS=NAME"),
        (["--alias", "x=y"], 2, "must name one of nano"),
        (["--fetch-from", "http://example.org"], 2, "not a host"),
        (["--key-file", "/no/such/file"], 2, "cannot be read"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: list[str], code: int, message: str) -> None:
    process = start(*arguments, HF_HUB_OFFLINE="1")
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    lines = [line for line in said.splitlines() if line.startswith("picscribe: ")]
    assert len(lines) == 1 and message in lines[0], said
    assert "Traceback" not in said


def test_a_new_key_comes_with_its_line_for_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "picscribe", "serve", "--new-key"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    from picscribe.serving.safety import keys

    assert keys.hash_of(done.stdout.strip()) in done.stderr


def test_a_missing_extra_is_one_sentence() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['picscribe', 'serve']"
    code += "; from picscribe.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "pip install 'picscribe[serve]'" in done.stderr and "Traceback" not in done.stderr
