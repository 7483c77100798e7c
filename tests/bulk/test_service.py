"""A service as the engine: results, failures and the journal are those of the local engine."""

# ruff: noqa: F811 - `serve` is a fixture of another folder

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import picscribe
from picscribe import checkpoints
from picscribe.bulk import Options, Run, Summary, Work
from picscribe.bulk.service import Service
from picscribe.cli.main import app
from picscribe.client import Client, ServiceError
from picscribe.errors import ConfigurationError, PicscribeError
from picscribe.serving.safety.keys import hash_of
from picscribe.serving.settings import ModelSpec
from tests.serving.conftest import UNHURRIED, RunningService, Serve, free_port, serve  # noqa: F401

from .conftest import CAPTIONS, Bulk, draw


@pytest.fixture(scope="module")
def tiny(serve: Serve) -> RunningService:
    """A service of the tiny model."""
    return serve()


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Summary]:
    """Runs a job through a service; waits are short."""
    monkeypatch.setattr("picscribe.client.LONGEST_WAIT", 0.02)
    monkeypatch.setattr("picscribe.client.FIRST_WAIT", 0.001)

    def run(server: str, inputs: Path, *outputs: Path | str, work: Work = CAPTIONS, **options: Any) -> Summary:
        how = {name: options.pop(name) for name in ("key", "at_once", "model") if name in options}
        chosen = Options((str(inputs),), tuple(map(str, outputs)), work, **options)

        def load(keep: bool) -> Service:
            model = how.pop("model", "tiny")
            return Service(server, model, chosen.work, chosen.limits, keep_content=keep, **how)

        return Run(chosen, load).go()

    return run


def rows(path: Path) -> list[dict[str, Any]]:
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row["path"])


def close(value: Any, other: Any) -> bool:
    """Whether two results are the same but for the last digits of numbers."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(close(value[name], other[name]) for name in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(close, value, other))
    if isinstance(value, float):
        return other == pytest.approx(value, rel=1e-3, abs=1e-4)
    return bool(value == other)


@pytest.mark.parametrize(
    "work",
    [
        Work(),
        Work("caption", "a red", {"num_captions": 2, "max_new_tokens": 5}),
        Work("ask", options={"beams": 1}, questions=("a red dog?", "a cat")),
        Work("classify", labels=("a dog", "a cat", "", "a red dog"), top_k=2),
        Work("score", texts=("a dog", "zzzz", "a cat")),
    ],
)
def test_results_and_failures_are_those_of_the_local_engine(
    bulk: Bulk, tiny: RunningService, through: Callable[..., Summary], folder: Path, tmp_path: Path, work: Work
) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.jpg").write_text("words, not pixels")
    draw(folder / "thin.png", 9, size=(3000, 2))
    here = bulk(folder, tmp_path / "here.jsonl", work=work)
    there = through(tiny.url, folder, tmp_path / "there.jsonl", work=work)
    assert (there.counts, there.failures) == (here.counts, here.failures)
    assert there.failures["unreadable"] == 3 and there.failures["too-large"] == 1
    expected = rows(tmp_path / "here.jsonl")
    assert len(expected) == 6
    for row, other in zip(expected, rows(tmp_path / "there.jsonl"), strict=True):
        assert close(row, other), (row, other)
    failures = [Path(summary.folder, "failures.jsonl").read_text().splitlines() for summary in (here, there)]
    assert sorted(failures[0]) == sorted(failures[1])


def test_the_local_engine_continues_the_job_of_a_service(
    bulk: Bulk, tiny: RunningService, through: Callable[..., Summary], folder: Path, tmp_path: Path
) -> None:
    through(tiny.url, folder, tmp_path / "out.jsonl", limit=3)
    summary = bulk(folder, tmp_path / "out.jsonl")
    assert summary.counts["done"] == 6 and len(bulk.calls) < 6
    assert len({row["path"] for row in rows(tmp_path / "out.jsonl")}) == len(rows(tmp_path / "out.jsonl")) == 6


def test_each_photo_is_asked_about_once(
    tiny: RunningService, through: Callable[..., Summary], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    caption = Client.caption

    def count(self: Client, upload: Any, **how: Any) -> Any:
        asked.append(upload.name)
        return caption(self, upload, **how)

    monkeypatch.setattr(Client, "caption", count)
    for number in range(4):
        shutil.copy(folder / "0.png", folder / f"copy{number}.png")
    through(tiny.url, folder, tmp_path / "out.jsonl", at_once=2)
    assert len(asked) == 7, "six photos and a broken one"
    through(tiny.url, folder, tmp_path / "out.jsonl")
    assert len(asked) == 7
    found = rows(tmp_path / "out.jsonl")
    assert len(found) == 10
    assert len({row["caption"] for row in found if "copy" in row["path"] or row["path"].endswith("0.png")}) == 1


def test_a_busy_service_is_asked_until_it_has_time(
    serve: Serve,
    through: Callable[..., Summary],
    tmp_path: Path,
) -> None:
    busy = serve(limits=replace(UNHURRIED, queue_images=1, images=1, cache_bytes=0), decoders=1)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        draw(photos / f"{number}.png", number)
    with ThreadPoolExecutor(1) as thread, busy.client() as client:
        with busy.held():
            running = thread.submit(through, busy.url, photos, tmp_path / "out.jsonl", at_once=8)
            busy.wait_until(lambda: 'failures_total{reason="queue_full"}' in client.get("/metrics").text)
        summary = running.result()
    assert summary.complete and summary.counts["done"] == 20
    busy.stop()


def test_a_lost_service_is_a_network_failure_and_the_job_continues_later(
    serve: Serve,
    through: Callable[..., Summary],
    tmp_path: Path,
    free_port: int,
) -> None:
    gone = serve(port=free_port)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        draw(photos / f"{number}.png", number)
    through(gone.url, photos, tmp_path / "out.jsonl", limit=4)
    client, pick = Client(gone.url), []
    fingerprint = client.models()["tiny"]
    client.close()
    gone.stop()

    class Later(Service):
        """Has loaded the model's name before the service went away."""

        def __init__(self, *given: Any, **how: Any) -> None:
            models, largest = Client.models, Client.largest
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Client, "models", lambda _: {"tiny": fingerprint})
                patch.setattr(Client, "largest", lambda _: 1 << 20)
                super().__init__(*given, **how)
            pick.append((models, largest))

    options = Options((str(photos),), (str(tmp_path / "out.jsonl"),))
    run = Run(options, lambda keep: Later(gone.url, "tiny", options.work, options.limits, at_once=2))
    with pytest.raises(ServiceError, match="--retry-failed=network"):
        run.go()
    again = serve(port=free_port)
    part = through(again.url, photos, tmp_path / "out.jsonl")
    assert part.failures["network"] >= 4
    summary = through(again.url, photos, tmp_path / "out.jsonl", retry=("network",))
    assert summary.complete and summary.counts["done"] == 12
    assert len({row["path"] for row in rows(tmp_path / "out.jsonl")}) == len(rows(tmp_path / "out.jsonl")) == 12
    again.stop()


@pytest.fixture(scope="module")
def other_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one other weight."""
    checkpoint = checkpoints.load(tiny_model)
    with torch.no_grad():
        next(checkpoint.model.parameters()).add_(1)
    folder = tmp_path_factory.mktemp("other") / "model"
    checkpoints.save(checkpoint, folder)
    return folder


def test_another_model_under_the_same_name_is_noticed(
    tiny: RunningService,
    serve: Serve,
    through: Callable[..., Summary],
    other_model: Path,
    folder: Path,
    tmp_path: Path,
) -> None:
    through(tiny.url, folder, tmp_path / "out.jsonl", limit=2)
    other = serve(models=(ModelSpec("tiny", str(other_model)),))
    with pytest.raises(ConfigurationError, match="weights was"):
        through(other.url, folder, tmp_path / "out.jsonl")
    other.stop()


def test_a_model_that_changes_midway_stops_the_run(
    serve: Serve, through: Callable[..., Summary], tiny_model: Path, other_model: Path, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    changing = serve()
    caption, swapped = Client.caption, []

    def swap_first(self: Client, upload: Any, **how: Any) -> Any:
        if not swapped:
            swapped.append(True)
            changing.call(changing.service.engine.load(ModelSpec("tiny", str(other_model))))
        return caption(self, upload, **how)

    monkeypatch.setattr(Client, "caption", swap_first)
    with pytest.raises(PicscribeError, match="another model under the name tiny"):
        through(changing.url, folder, tmp_path / "out.jsonl", at_once=1)
    changing.stop()


def test_what_would_be_wrong_with_every_photo_stops_the_run(
    tiny: RunningService,
    serve: Serve,
    through: Callable[..., Summary],
    folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match="does not serve nano, only tiny: name one of them with --model"):
        through(tiny.url, folder, tmp_path / "a.jsonl", model="nano")
    with pytest.raises(ConfigurationError, match="beams must be at most 16"):
        through(tiny.url, folder, tmp_path / "b.jsonl", work=Work(options={"beams": 30}))
    with pytest.raises(ConfigurationError, match="own_draws"):
        through(tiny.url, folder, tmp_path / "c.jsonl", work=Work(options={"temperature": 1.0, "own_draws": True}))
    key = "ps_a-key-that-is-long-enough"
    guarded = serve(key_hashes=(hash_of(key),))
    with pytest.raises(ServiceError, match="PICSCRIBE_API_KEY"):
        through(guarded.url, folder, tmp_path / "d.jsonl")
    assert through(guarded.url, folder, tmp_path / "d.jsonl", key=key).counts["done"] == 6
    guarded.stop()


def test_a_row_with_too_many_questions_fails_alone(
    tiny: RunningService, through: Callable[..., Summary], folder: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.jsonl"
    texts = ["a dog", "a " * 3000, "a cat"]
    lines = [json.dumps({"path": str(folder / f"{n}.png"), "text": text}) for n, text in enumerate(texts)]
    listed.write_text("\n".join(lines) + "\n")
    summary = through(tiny.url, listed, tmp_path / "out.jsonl", work=Work("score", column="text"))
    assert (summary.counts["done"], dict(summary.failures)) == (2, {"not-fitting": 1})


def test_a_run_that_is_told_to_stop_leaves_what_a_busy_service_did_not_take(
    tiny: RunningService, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options((str(folder),), (str(tmp_path / "out.jsonl"),))
    run = Run(options, lambda keep: Service(tiny.url, "tiny", options.work, options.limits))

    def busy(self: Client, *_: Any, **__: Any) -> Any:
        run.stopping = True
        assert self.wait(60) is True, "it waited for a busy service although the run is to stop"
        raise picscribe.client.Busy("busy", 429)

    monkeypatch.setattr(Client, "caption", busy)
    summary = run.go()
    assert summary.interrupted and not summary.failures
    assert summary.counts["pending"] == 7


def test_the_command_takes_a_server(
    tiny: RunningService, bulk: Bulk, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["bulk", str(folder), "--to", str(tmp_path / "there.jsonl"), "--server", tiny.url, "--model", "tiny"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 1, "one photo is broken"
    bulk(folder, tmp_path / "here.jsonl")
    for row, other in zip(rows(tmp_path / "here.jsonl"), rows(tmp_path / "there.jsonl"), strict=True):
        assert close(row, other)
    for more, message in (
        (["--ray"], "--server and --ray"),
        (["--device", "cuda"], "--device is for a model that is loaded here"),
        (["--dtype", "bfloat16", "--resize", "square"], "--dtype, --resize"),
    ):
        result = CliRunner().invoke(app, [*given, *more])
        assert result.exit_code == 2 and message in result.stderr
    result = CliRunner().invoke(app, [*given[:-4], "--server", "http://127.0.0.1:9"])
    assert result.exit_code == 1 and "the service http://127.0.0.1:9 does not answer" in result.stderr


def test_the_reasons_of_a_service_are_classes_of_failures(tiny: RunningService) -> None:
    from picscribe.bulk.failures import CLASSES
    from picscribe.bulk.service import CODES

    assert set(CODES.values()) <= set(CLASSES)


@pytest.fixture(autouse=True)
def no_thread_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    import threading

    yield
    assert not [one.name for one in threading.enumerate() if one.name.startswith("picscribe-service")]
