"""A job as a whole: each photo exactly once, in every output, whatever is in the folder and whenever it is stopped."""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from picscribe.bulk import Options, Work, status_of
from picscribe.bulk.lease import Lease, is_held
from picscribe.bulk.sinks.photos import PACKET
from picscribe.bulk.sinks.xmp import Packet
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
    outputs = ["txt", f"json:{tmp_path}/tree", f"xmp:{tmp_path}/xmp", tmp_path / "o.jsonl", tmp_path / "o.csv"]
    outputs += [
        f"coco:{tmp_path}/o.json",
        f"sqlite:{tmp_path}/o.sqlite",
        f"parquet:{tmp_path}/p",
        f"webdataset:{tmp_path}/w",
    ]
    outputs += ["inside"] * bool(shutil.which("exiftool"))
    generator, kills = random.Random(seed), 0
    for _ in range(4):
        kills += bulk.killed(generator.randint(1, 20), root, *outputs, shard=17)
    assert kills == 4
    for _ in range(6):  # while it begins, too, and while it ends
        kills += bulk.killed(generator.uniform(0.02, 1), root, *outputs, shard=17)
    bulk(root, *outputs, shard=17)
    calls = bulk.logged()
    assert len(set(calls)) == 100
    assert len(calls) <= 100 + kills  # a kill may fall between a result and its journal, and costs that one
    expected = {str(path): bulk.scribe.caption(path).text for path in root.glob("*.png")}
    assert len(expected) == 110
    for found in (
        bulk.lines(tmp_path / "o.jsonl"),
        list(csv.DictReader((tmp_path / "o.csv").read_text("utf-8").splitlines())),
        samples_of(tmp_path / "w", 17),
        pyarrow.parquet.read_table(tmp_path / "p").to_pylist(),
        rows_of(tmp_path / "o.sqlite"),
    ):
        assert len(found) == 110
        assert {row["path"]: row["caption"] for row in found} == expected
    assert len(json.loads((tmp_path / "o.json").read_bytes())) == 110
    assert texts(root) == {Path(path).stem + ".txt": text + "\n" for path, text in expected.items()}
    trees = {path.stem: json.loads(path.read_bytes())["caption"] for path in (tmp_path / "tree").glob("*.json")}
    assert trees == {Path(path).stem: text for path, text in expected.items()}
    packets = {path.stem: Packet(path.read_bytes()).text("AltText") for path in (tmp_path / "xmp").glob("*.xmp")}
    assert packets == {Path(path).name: text for path, text in expected.items()}
    if "inside" in outputs:
        for path, text in expected.items():
            assert Packet(PACKET.findall(Path(path).read_bytes())[0]).text("Description") == text
    failures = bulk.lines(root / ".picscribe" / "failures.jsonl")
    assert sorted(Path(row["path"]).name for row in failures) == [f"broken2{n:03}.jpg" for n in range(0, 100, 10)]
    assert not list(tmp_path.rglob("*.partial"))


def samples_of(folder: Path, shard: int) -> list[dict[str, Any]]:
    """The samples of WebDataset shards, which are numbered without gaps and as their statistics say."""
    shards = sorted(folder.glob("*.tar"))
    assert [path.name for path in shards] == [f"{number:05}.tar" for number in range(len(shards))]
    samples: dict[str, dict[str, bytes]] = {}
    successes, count = [], 0
    for path in shards:
        told = json.loads(path.with_name(path.stem + "_stats.json").read_bytes())
        successes.append(told["successes"])
        count += told["count"]
        assert told["status_dict"]["success"] == told["successes"] and told["end_time"] >= told["start_time"]
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, ending = member.name.partition(".")
                stream = archive.extractfile(member)
                assert stream is not None and ending not in samples.setdefault(key, {})
                samples[key][ending] = stream.read()
    assert count == 120 and all(shard <= each < 2 * shard + 64 for each in successes[:-1])
    for sample in samples.values():
        assert set(sample) == {"png", "txt", "json"}
        assert sample["txt"].decode() == json.loads(sample["json"])["caption"] + "\n"
        assert sample["png"].startswith(b"\x89PNG")
    return [json.loads(sample["json"]) for sample in samples.values()]


def rows_of(path: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.row_factory = sqlite3.Row
        return [dict(row) for row in base.execute("SELECT * FROM picscribe")]


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
    with pytest.raises(ConfigurationError, match="not a class of failures"):
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
