"""A loaded Scribe in other processes and threads: what each of them says is what one process says alone."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import picscribe

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PHOTOS = [str(EXAMPLES / name) for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")]
PATIENCE = 300

# Run apart from pytest: two threads, whose pool a fork used to lose, and nothing that pytest left behind.
PROGRAM = """
import functools, multiprocessing, os, sys
import torch
import picscribe

def short(scribe, photo):
    return scribe.caption(photo, beams=1, max_new_tokens=5).text

def put_caption(scribe, photo, queue):
    queue.put(short(scribe, photo))

class Captions(torch.utils.data.Dataset):
    def __init__(self, scribe, photos):
        self.scribe, self.photos = scribe, photos
    def __len__(self):
        return len(self.photos)
    def __getitem__(self, number):
        return short(self.scribe, self.photos[number])

def in_process(scribe, photos, context):
    queue, found = context.Queue(), []
    for photo in photos:
        process = context.Process(target=put_caption, args=(scribe, photo, queue))
        process.start()
        found.append(queue.get())
        process.join()
    return found

def in_pool(scribe, photos, context):
    with context.Pool(2) as pool:
        assert [caption.text for caption in pool.map(scribe.caption, photos)]
        return pool.map(functools.partial(short, scribe), photos)

def in_loader(scribe, photos, context):
    captions = Captions(scribe, photos)
    return list(torch.utils.data.DataLoader(captions, batch_size=None, num_workers=2, multiprocessing_context=context))

def in_server(scribe, photos, context):
    "As a server that forks its workers after it has loaded, each of which answers on a pipe."
    found = []
    for photo in photos:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, short(scribe, photo).encode())
            os._exit(torch.get_num_threads() != 2)
        os.close(writing)
        with open(reading) as pipe:
            found.append(pipe.read())
        assert os.wait()[1] == 0
    return found

if __name__ == "__main__":
    torch.set_num_threads(2)
    method, quantize, ways, *photos = sys.argv[1:]
    scribe = picscribe.load("nano", quantize=quantize or None)
    expected = [short(scribe, photo) for photo in photos]
    for way in ways.split(","):
        assert globals()[way](scribe, photos, multiprocessing.get_context(method)) == expected, way
        assert [short(scribe, photo) for photo in photos] == expected, way
    print("as alone")
"""


@pytest.mark.parametrize(
    ("method", "quantize", "ways"),
    [
        ("fork", "", "in_process,in_pool,in_loader,in_server"),
        ("fork", "int8", "in_pool"),
        ("spawn", "", "in_process"),
        ("spawn", "int8", "in_process"),
        ("forkserver", "", "in_pool"),
    ],
)
def test_another_process_says_the_same(tmp_path: Path, method: str, quantize: str, ways: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    program = tmp_path / "program.py"  # a file, which spawned processes import
    program.write_text(PROGRAM)
    command: list[Any] = [sys.executable, program, method, quantize, ways, *PHOTOS[:2]]
    waiting = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # threads that wait leave the processor to others
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=waiting)
    assert done.stdout.strip() == "as alone", done.stderr


def test_eight_threads_share_a_scribe() -> None:
    scribe = picscribe.load("nano")
    expected = [scribe.caption(photo, beams=2) for photo in PHOTOS]
    wrong: list[Any] = []

    def caption(first: int) -> None:
        places = [(first + k) % 3 for k in range(2)]
        found = scribe.caption([PHOTOS[place] for place in places], beams=2)
        wrong.extend((a, expected[p]) for a, p in zip(found, places, strict=True) if a.tokens != expected[p].tokens)

    threads = [threading.Thread(target=caption, args=(k,), daemon=True) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_a_child_computes_in_one_thread_where_openmp_cannot_end_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from picscribe.acceleration import forking

    class Busy:
        def omp_pause_resource_all(self, kind: int) -> int:
            return -1

    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    for library, expected in ((Busy(), [1]), (object(), [1, 1])):
        monkeypatch.setattr(forking.ctypes, "CDLL", lambda name, library=library: library)
        forking._end_threads()
        forking._compute_alone()
        assert used == expected
