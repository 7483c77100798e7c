"""A job as a whole: each photo exactly once, in every output, whatever is in the folder and whenever it is stopped."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk import Options, Work, status_of
from picscribe.bulk.lease import Lease, is_held
from picscribe.errors import ConfigurationError, InputError


def texts(root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): file.read_text("utf-8") for file in sorted(root.rglob("*.txt"))}


def test_a_folder_is_captioned_once_in_every_output(bulk: Any, folder: Path, tmp_path: Path) -> None:
    summary = bulk(folder, "txt", tmp_path / "out.jsonl", tmp_path / "out.csv", f"coco:{tmp_path}/coco.json")
    assert len(bulk.calls) == 6
    assert (summary.settled, summary.counts["done"], summary.failures) == (7, 6, {"unreadable": 1})
    rows = bulk.lines(tmp_path / "out.jsonl")
    said = {row["path"]: row["caption"] for row in rows}
    assert sorted(said) == sorted(str(path) for path in folder.rglob("*.*g") if path.name != "broken6.jpg")
    captions = {str(path): bulk.scribe.caption(path).text for path in map(Path, said)}
    assert said == captions
    assert {str(folder / name).removesuffix(".txt"): text for name, text in texts(folder).items()} == {
        path.rpartition(".")[0]: caption + "\n" for path, caption in captions.items()
    }
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["path"]: row["caption"] for row in csv.DictReader(stream)} == captions
    results = json.loads((tmp_path / "coco.json").read_bytes())
    assert sorted(results, key=lambda row: row["image_id"]) == [
        {"image_id": int(Path(path).stem), "caption": captions[path]}
        for path in sorted(captions, key=lambda p: Path(p).stem)
    ]
    failures = bulk.lines(summary.folder / "failures.jsonl")
    assert [(row["path"], row["class"]) for row in failures] == [(str(folder / "broken6.jpg"), "unreadable")]


def test_a_second_run_does_what_is_new_alone(bulk: Any, folder: Path, tmp_path: Path) -> None:
    bulk(folder, "txt", tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    bulk.draw(folder / "below" / "new.png", 9)
    summary = bulk(folder, "txt", tmp_path / "out.jsonl")
    assert bulk.calls == [str(folder / "below" / "new.png")]
    assert summary.settled == 1
    assert (tmp_path / "out.jsonl").read_bytes().startswith(before)
    assert len(bulk.lines(tmp_path / "out.jsonl")) == 7


def test_equal_bytes_are_computed_once(bulk: Any, folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        (folder / f"copy{number}.png").write_bytes((folder / "1.png").read_bytes())
    bulk(folder, tmp_path / "out.jsonl")
    assert len(bulk.calls) == 6
    rows = bulk.lines(tmp_path / "out.jsonl")
    assert len(rows) == 26
    assert len({row["caption"] for row in rows if Path(row["path"]).name.startswith(("1.", "copy"))}) == 1


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_nothing_is_lost_or_repeated(bulk: Any, tmp_path: Path, seed: int) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(100):
        bulk.draw(root / f"{number:03}.png", number)
    for number in range(0, 100, 10):
        (root / f"copy1{number:03}.png").write_bytes((root / f"{number:03}.png").read_bytes())
        (root / f"broken2{number:03}.jpg").write_bytes(b"no photo")
    outputs = ["txt", f"json:{tmp_path}/tree", tmp_path / "o.jsonl", tmp_path / "o.csv", f"coco:{tmp_path}/o.json"]
    generator, kills = random.Random(seed), 0
    for _ in range(10):
        kills += bulk.killed(generator.uniform(0.02, 0.5), root, *outputs)
    assert kills >= 3
    bulk(root, *outputs)
    calls = bulk.logged()
    assert len(set(calls)) == 100
    assert len(calls) <= 100 + kills  # a kill may fall between a result and its journal, and costs that one
    expected = {str(path): bulk.scribe.caption(path).text for path in root.glob("*.png")}
    assert {row["path"]: row["caption"] for row in bulk.lines(tmp_path / "o.jsonl")} == expected
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 110
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 110 and {row["path"]: row["caption"] for row in rows} == expected
    assert len(json.loads((tmp_path / "o.json").read_bytes())) == 110
    assert texts(root) == {Path(path).stem + ".txt": text + "\n" for path, text in expected.items()}
    trees = {path.stem: json.loads(path.read_bytes())["caption"] for path in (tmp_path / "tree").glob("*.json")}
    assert trees == {Path(path).stem: text for path, text in expected.items()}
    failures = bulk.lines(root / ".picscribe" / "failures.jsonl")
    assert sorted(Path(row["path"]).name for row in failures) == [f"broken2{n:03}.jpg" for n in range(0, 100, 10)]
    assert not list(tmp_path.rglob("*.partial"))


def test_an_output_that_comes_later_gets_what_was_found_before(bulk: Any, folder: Path, tmp_path: Path) -> None:
    bulk(folder, "txt")
    bulk(folder, "txt", tmp_path / "later.jsonl")
    assert bulk.calls == []
    assert len(bulk.lines(tmp_path / "later.jsonl")) == 6


def test_changed_options_are_refused_with_both(bulk: Any, folder: Path) -> None:
    bulk(folder, "txt")
    with pytest.raises(ConfigurationError, match=r'prompt was null, is "a photo of".*--new'):
        bulk(folder, "txt", work=Work(prompt="a photo of"))
    with pytest.raises(ConfigurationError, match="beams was 4, is 2"):
        bulk(folder, "txt", work=Work(options={"beams": 2}))
    bulk(folder, "txt", batch_size=3)
    assert bulk.calls == []


def test_new_begins_again_and_still_knows_what_picscribe_wrote(bulk: Any, folder: Path) -> None:
    bulk(folder, "txt")
    (folder / "0.txt").write_text("a person's words\n", encoding="utf-8")
    summary = bulk(folder, "txt", work=Work(prompt="the"), new=True, existing="machine")
    assert (summary.settled, summary.skipped) == (6, 1)
    assert texts(folder)["0.txt"] == "a person's words\n"
    assert texts(folder)["1.txt"] == bulk.scribe.caption(folder / "1.png", prompt="the").text + "\n"


def test_failures_are_tried_again_by_class(bulk: Any, folder: Path, tmp_path: Path) -> None:
    bulk(folder, tmp_path / "out.jsonl")
    bulk.draw(folder / "mended.png", 8)
    os.replace(folder / "mended.png", folder / "broken6.jpg")
    bulk(folder, tmp_path / "out.jsonl")
    assert bulk.calls == []
    bulk(folder, tmp_path / "out.jsonl", retry=("network",))
    assert bulk.calls == []
    summary = bulk(folder, tmp_path / "out.jsonl", retry=("unreadable",))
    assert bulk.calls == [str(folder / "broken6.jpg")]
    assert summary.complete and len(bulk.lines(tmp_path / "out.jsonl")) == 7
    with pytest.raises(ConfigurationError, match="no class of failures"):
        Options((str(folder),), ("txt",), retry=("sleepy",))


def test_one_run_a_job_at_a_time(bulk: Any, folder: Path) -> None:
    job = folder / ".picscribe"
    job.mkdir()
    with Lease(job), pytest.raises(InputError, match=f"process {os.getpid()} on "):
        bulk(folder, "txt")
    bulk(folder, "txt")
    assert len(bulk.calls) == 6


def test_a_lease_dies_with_its_holder(bulk: Any, folder: Path) -> None:
    job = folder / ".picscribe"
    job.mkdir()
    code = f"""
from pathlib import Path
from picscribe.bulk.lease import Lease
lease = Lease(Path({str(job)!r}))
print("held", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(job)
        with pytest.raises(InputError, match=f"process {holder.pid} on "):
            bulk(folder, "txt")
        holder.send_signal(signal.SIGKILL)
    bulk(folder, "txt")
    assert len(bulk.calls) == 6


def test_a_limit_and_then_the_rest(bulk: Any, folder: Path, tmp_path: Path) -> None:
    assert bulk(folder, tmp_path / "out.jsonl", limit=2).settled == 2
    assert bulk(folder, tmp_path / "out.jsonl").settled == 5
    assert len(bulk.lines(tmp_path / "out.jsonl")) == 6


def test_the_status_of_a_job(bulk: Any, folder: Path, tmp_path: Path) -> None:
    bulk(folder, "txt", tmp_path / "out.jsonl", limit=3)
    found = status_of(str(folder))
    assert (found.counts["pending"], found.running, found.identity["task"]) == (4, False, "caption")
    assert found.outputs == {"txt": 3, f"jsonl:{tmp_path}/out.jsonl": 3}
    with pytest.raises(InputError, match="no journal"):
        status_of(str(tmp_path))


def test_every_kind_of_work(bulk: Any, folder: Path, tmp_path: Path) -> None:
    photo = folder / "0.png"
    for number, work in enumerate(
        [
            Work("caption", options={"beams": 2, "num_captions": 2}),
            Work("ask", questions=("the dog", "the cat")),
            Work("classify", labels=("dog", "cat", "red dog"), top_k=2),
            Work("score", texts=("a dog", "a cat")),
        ]
    ):
        bulk(photo, tmp_path / f"{number}.jsonl", tmp_path / f"{number}.csv", f"txt:{tmp_path}/{number}", work=work)
    (captions,) = bulk.lines(tmp_path / "0.jsonl")
    assert len(captions["captions"]) == 2 and captions["captions"][0]["caption"] == captions["caption"]
    assert len((tmp_path / "0" / "0.txt").read_text("utf-8").splitlines()) == 2
    (answers,) = bulk.lines(tmp_path / "1.jsonl")
    assert [one["question"] for one in answers["answers"]] == ["the dog", "the cat"]
    assert [one["answer"] for one in answers["answers"]] == [
        one.text for one in bulk.scribe.ask(photo, ["the dog", "the cat"])
    ]
    (classes,) = bulk.lines(tmp_path / "2.jsonl")
    assert classes["label"] == bulk.scribe.classify(photo, ["dog", "cat", "red dog"]).label
    assert len(classes["labels"]) == 2
    (scores,) = bulk.lines(tmp_path / "3.jsonl")
    expected = [one.log_likelihood for one in bulk.scribe.score(photo, ["a dog", "a cat"])]
    assert [one["log_likelihood"] for one in scores["scores"]] == pytest.approx(expected, rel=1e-4)


def test_work_that_contradicts_itself_is_refused() -> None:
    for wrong in (
        {"kind": "ask"},
        {"kind": "caption", "labels": ("dog",)},
        {"kind": "ask", "questions": ("why",), "column": "question"},
        {"kind": "caption", "column": "question"},
        {"kind": "ask", "questions": ("why",), "prompt": "a"},
    ):
        with pytest.raises(ConfigurationError):
            Work(**wrong)  # type: ignore[arg-type]
