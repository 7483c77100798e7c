"""Ray: the same outputs as on one machine, though actors and nodes die meanwhile."""

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk import Limits, Options, Run
from picscribe.bulk.cluster import Actors, Cluster, Piece
from picscribe.bulk.entries import Entry, Outcome
from picscribe.errors import MissingPackageError, PicscribeError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one CPU each, and a head that computes nothing, all on this machine."""
    from ray.cluster_utils import Cluster as Nodes

    here = str(Path(__file__).resolve().parents[2])
    try:
        found = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        found.add_node(num_cpus=1)
        found.add_node(num_cpus=1)
        ray.init(address=found.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": here}})
    except Exception as error:  # Ray gives up where its processes do not come up within half a minute
        pytest.skip(f"Ray does not start on this machine: {error}")
    yield found
    ray.shutdown()
    found.shutdown()


def job(folder: Path, out: Path) -> Options:
    return Options((str(folder),), (str(out), f"txt:{out.parent}/texts"), limits=Limits(workers=1), batch_size=4)


class Deadly:
    """Kills what `kill` kills after the first outcomes."""

    def __init__(self, kill: Any) -> None:
        self.kill: Any = kill
        self.settled_in_all = 0

    def planned(self, counts: Any) -> None: ...

    def note(self, text: str) -> None: ...

    def settled(self, outcomes: list[Outcome]) -> None:
        self.settled_in_all += len(outcomes)
        if self.kill is not None:
            self.kill()
            self.kill = None


@pytest.mark.parametrize("what", ["actor", pytest.param("node", marks=pytest.mark.slow)])
def test_what_dies_midway_loses_and_repeats_nothing(
    nodes: Any, bulk: Any, tiny_model: Path, tmp_path: Path, what: str
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(80):
        bulk.draw(root / f"{number:03}.png", number)
    (root / "broken.png").write_bytes(b"no photo")
    expected = {str(path): bulk.scribe.caption(path).text for path in root.glob("[0-9]*.png")}
    actors: list[Actors] = []
    options = job(root, tmp_path / "out.jsonl")

    def load(copies: bool) -> Actors:
        actors.append(Actors(Cluster(), str(tiny_model), {}, options.work, options.limits, 4, copies))
        return actors[-1]

    def kill() -> None:
        if what == "actor":
            ray.kill(actors[-1].seats[0].actor)
        else:
            nodes.add_node(num_cpus=1)  # where its actor's successor can be
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

    summary = Run(options, load, Deadly(kill)).go()
    assert len(actors[-1].seats) == 2
    assert (summary.counts["done"], summary.failures) == (80, {"unreadable": 1})
    rows = bulk.lines(tmp_path / "out.jsonl")
    assert len(rows) == 80 and {row["path"]: row["caption"] for row in rows} == expected
    assert len(list((tmp_path / "texts").iterdir())) == 80


def test_a_file_that_ends_every_actor_is_found_and_left(
    nodes: Any, bulk: Any, folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    options = job(folder, tmp_path / "out.jsonl")
    actors = Actors(Cluster(actors=1), str(tiny_model), {}, options.work, options.limits, 4)
    first = actors.seats[0].actor
    pid = ray.get(first.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    assert len(actors.seats) == 1

    again: deque[Piece] = deque()
    entries = [Entry(f"/{n}", f"{n}", f"{n}", number=n) for n in range(1, 4)]
    failed: list[Outcome] = []
    again.append(Piece(entries))
    while again:  # entry 2 ends whatever has it
        piece = again.popleft()
        if any(entry.number == 2 for entry in piece.entries):
            failed += [outcome for some in actors._after_death(piece, again) for outcome in some]
    assert [(outcome.entry.number, outcome.failure and outcome.failure.kind) for outcome in failed] == [
        (2, "decoder-died")
    ]
    summary = Run(options, lambda copies: actors).go()
    assert summary.counts["done"] == 6


def test_a_model_that_does_not_load_there_is_named(nodes: Any, tmp_path: Path) -> None:
    options = job(tmp_path, tmp_path / "out.jsonl")
    with pytest.raises(PicscribeError, match="does not load in Ray"):
        Actors(Cluster(actors=1), str(tmp_path / "nothing"), {}, options.work, options.limits)


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    options = job(tmp_path, tmp_path / "out.jsonl")
    with pytest.raises(PicscribeError, match=r"Ray at 10\.0\.0\.1:6379 cannot be used: nobody answers"):
        Actors(Cluster("10.0.0.1:6379"), "nano", {}, options.work, options.limits)


def test_without_ray_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    options = job(tmp_path, tmp_path / "out.jsonl")
    with pytest.raises(MissingPackageError, match=r'pip install "picscribe\[ray\]"'):
        Actors(Cluster(), "nano", {}, options.work, options.limits)
