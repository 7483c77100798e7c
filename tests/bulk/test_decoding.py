"""Workers that decode: files that hang or kill them, or take too much, cost no other file anything."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from picscribe.bulk import Engine, Limits, Options, Run, Work
from picscribe.bulk.engine import settings_of
from picscribe.bulk.entries import Entry, digest_of
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.decode_worker import Settings
from picscribe.bulk.inputs.decoding import Decoders
from picscribe.errors import PicscribeError

SPOILT = """
import os, signal, time
from picscribe.bulk.inputs import decode_worker

read = decode_worker.Reader.read

def spoilt(self, source, where, content):
    if "hangs" in where:
        time.sleep(1000)
    if "kills" in where:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in where and not os.path.exists(source + ".tried"):
        open(source + ".tried", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if "eats" in where:
        bytearray(4 << 30)
    return read(self, source, where, content)

decode_worker.Reader.read = spoilt
"""
"""A decoder that some names make hang, die, or eat memory."""


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start from now on have such a decoder."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SPOILT, encoding="utf-8")
    here = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), here]))


def entry(path: Path, number: int = 1) -> Entry:
    return Entry(str(path), path.name, str(path), number=number)


def test_pixels_are_those_of_the_scribe(tiny_scribe: Any, folder: Path) -> None:
    with Decoders(settings_of(tiny_scribe, Limits()), 1) as decoders:
        for path in (folder / "0.png", folder / "below" / "5.jpg"):
            found = decoders.decode(entry(path))
            assert torch.equal(found.pixels, tiny_scribe.pixels(path))
            assert found.digest == digest_of(path.read_bytes())
        with pytest.raises(EntryError, match=r"broken6\.jpg") as caught:
            decoders.decode(entry(folder / "broken6.jpg"))
        assert caught.value.kind == "unreadable"
        (folder / "empty.jpg").touch()
        os.mkfifo(folder / "pipe.jpg")
        for name, kind in (
            ("missing.jpg", "missing"),
            ("empty.jpg", "unreadable"),
            ("pipe.jpg", "unreadable"),
            ("below", "unreadable"),
        ):
            with pytest.raises(EntryError, match=name) as caught:
                decoders.decode(entry(folder / name))
            assert caught.value.kind == kind


def test_limits_of_pixels_and_bytes(tiny_scribe: Any, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "large.png")
    (tmp_path / "long.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100_000))
    with Decoders(settings_of(tiny_scribe, Limits(max_pixels=10_000, max_bytes=50_000)), 1) as decoders:
        for name in ("large.png", "long.jpg"):
            with pytest.raises(EntryError, match=f"{name}.*over the limit") as caught:
                decoders.decode(entry(tmp_path / name))
            assert caught.value.kind == "too-large"


@pytest.mark.usefixtures("spoilt")
def test_files_that_hang_kill_or_eat_memory_cost_no_other(tiny_scribe: Any, folder: Path, tmp_path: Path) -> None:
    photo = (folder / "0.png").read_bytes()
    for name in ("hangs", "kills", "once", "eats"):
        (folder / f"{name}.png").write_bytes(photo + name.encode())
    limits = Limits(seconds=3, memory=1 << 30, workers=2)
    options = Options((str(folder),), (str(tmp_path / "out.jsonl"),), limits=limits, batch_size=4)
    summary = Run(options, lambda copies: Engine(tiny_scribe, options.work, limits, 4, copies)).go()
    kinds = {}
    from picscribe.bulk import status_of

    for path, _, kind, _ in status_of(str(tmp_path / "out.jsonl")).list_failures():
        kinds[Path(path).stem] = kind
    assert kinds == {"hangs": "timed-out", "kills": "decoder-died", "eats": "too-large", "broken6": "unreadable"}
    assert summary.counts["done"] == 7 and summary.failures["decoder-died"] == 1


def test_batches_are_full_and_equal_bytes_are_computed_once(
    tiny_scribe: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10, 40):
        (folder / f"{number}.png").write_bytes((folder / f"{number % 5}.png").read_bytes() + bytes([number // 20]))
    sizes: list[int] = []
    results = Work.results

    def counted(self: Work, scribe: Any, batch: Any) -> Any:
        sizes.append(len(batch))
        return results(self, scribe, batch)

    monkeypatch.setattr(Work, "results", counted)
    options = Options((str(folder),), (str(tmp_path / "out.jsonl"),), batch_size=4)
    summary = Run(options, lambda copies: Engine(tiny_scribe, options.work, options.limits, 4, copies)).go()
    assert summary.counts["done"] == 36
    assert sum(sizes) == 16  # six, and five with one byte more, and five with another
    assert sizes == [4, 4, 4, 4]


def test_an_interrupt_finishes_the_current_photos_and_the_next_run_continues(
    tiny_scribe: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    results = Work.results

    def interrupted(self: Work, scribe: Any, batch: Any) -> Any:
        if not calls:
            os.kill(os.getpid(), signal.SIGINT)
        calls.extend(one.path for one, _ in batch)
        return results(self, scribe, batch)

    monkeypatch.setattr(Work, "results", interrupted)
    options = Options((str(folder),), (str(tmp_path / "out.jsonl"), "txt"), batch_size=2)
    summary = Run(options, lambda copies: Engine(tiny_scribe, options.work, options.limits, 2, copies)).go()
    assert summary.interrupted and not summary.complete
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 2 == len(list(folder.rglob("*.txt")))
    summary = Run(options, lambda copies: Engine(tiny_scribe, options.work, options.limits, 2, copies)).go()
    assert not summary.interrupted and len(calls) == len(set(calls)) == 6


def test_a_worker_that_does_not_start_says_why(tiny_scribe: Any, folder: Path) -> None:
    wrong = Settings({"no_such_field": 1}, "tiny")
    with Decoders(wrong, 1) as decoders, pytest.raises(PicscribeError, match=r"did not start.*no_such_field"):
        decoders.decode(entry(folder / "0.png"))


def test_workers_end_with_their_run(tiny_scribe: Any, folder: Path) -> None:
    decoders = Decoders(settings_of(tiny_scribe, Limits()), 1)
    decoders.decode(entry(folder / "0.png"))
    (worker,) = decoders._all
    decoders.close()
    assert worker._process.poll() is not None
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(("picscribe-decoding", "picscribe-watching"))
    ]
