"""Inputs of every kind: which entries are found, under which names, and what the run says of files it leaves out."""

import csv
import http.server
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk import Work
from picscribe.bulk.entries import Entry
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.fetching import content_of
from picscribe.bulk.inputs.selection import Selection, find_entries
from picscribe.errors import ConfigurationError, InputError


def names(*inputs: Any, **selection: Any) -> list[str]:
    return [entry.name for entry in find_entries([os.fsdecode(one) for one in inputs], Selection(**selection))]


def test_folders_with_patterns_and_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.jpg").touch()
    (folder / ".b.jpg").touch()
    (folder / "notes.txt").touch()
    (folder / "below" / "loop").symlink_to(folder)
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    notes: list[str] = []
    found = names(folder, note=notes.append)
    assert found == ["0.png", "1.png", "2.png", "3.png", "4.png", "broken6.jpg", "circle.jpg", "below/5.jpg"]
    assert notes == [f"{folder}: 1 links to folders are not followed"]
    assert names(folder, include=("*.png",), exclude=("2*", "below/*")) == ["0.png", "1.png", "3.png", "4.png"]
    assert names(folder, include=("below/*",)) == ["below/5.jpg"]
    assert names(folder / "0.png", folder / "below") == ["0.png", "5.jpg"]
    (tmp_path / "empty").mkdir()
    assert names(tmp_path / "empty", note=notes.append) == [] and "no photos or videos" in notes[-1]
    with pytest.raises(InputError, match=r"nothing does not exist"):
        names(tmp_path / "nothing")
    with pytest.raises(InputError, match="is not a photo, a video"):
        (tmp_path / "a.doc").touch()
        names(tmp_path / "a.doc")


def test_lists_of_paths(folder: Path, tmp_path: Path) -> None:
    (folder / "list.txt").write_bytes(
        b"\xef\xbb\xbf0.png\r\n# a remark\n\nbelow/5.jpg\nno \xff such.png\nhttps://example.org/a/b.jpg?x=1\n"
    )
    assert names(folder / "list.txt") == [
        "0.png",
        "below/5.jpg",
        os.fsdecode(b"no \xff such.png"),
        "example.org/a/b.jpg",
    ]
    (tmp_path / "zeros.txt").write_bytes(f"{folder}/0.png\0two\nlines.png\0".encode())
    found = list(find_entries([str(tmp_path / "zeros.txt")], Selection()))
    assert [entry.source for entry in found] == [str(folder / "0.png"), str(tmp_path / "two\nlines.png")]
    assert next(find_entries([str(folder / "list.txt")], Selection(root="/other"))).source == "/other/0.png"


def test_a_list_or_table_that_is_something_else_says_what_it_is(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name in ("list.txt", "photos.csv", "photos.jsonl", "photos.parquet"):
        (tmp_path / name).write_bytes(pointer)
        with pytest.raises(InputError, match=rf"{name}: is a Git LFS pointer.*`git lfs pull`"):
            names(tmp_path / name)
    (tmp_path / "photos.tsv").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(InputError, match=r"photos.tsv: is a web page"):
        names(tmp_path / "photos.tsv")


def test_a_row_that_is_not_a_json_object_is_noted(tmp_path: Path) -> None:
    (tmp_path / "photos.jsonl").write_bytes(b'{"path": "a.jpg"}\n{"path"\n[1]\n\xff\n{"path": "b.jpg"}\n')
    notes: list[str] = []
    assert names(tmp_path / "photos.jsonl", note=notes.append) == ["a.jpg", "b.jpg"]
    assert [note.partition("photos.jsonl: ")[2].partition(" (")[0] for note in notes] == [
        "row 2: is not valid JSON",
        "row 3: is not a JSON object",
        "row 4: is not UTF-8 text",
    ]


def test_tables_with_questions_of_their_own(bulk: Any, folder: Path, tmp_path: Path) -> None:
    rows = [("0.png", "the dog"), ("0.png", "the cat"), ("1.png", "the man"), ("0.png", "the dog"), ("2.png", "")]
    with (folder / "asked.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("path", "question"), *rows])
        stream.write("too,many,cells\n")
    work = Work("ask", column="question")
    summary = bulk(folder / "asked.csv", tmp_path / "o.jsonl", work=work)
    found = {
        (Path(r["path"]).name, r["answers"][0]["question"]): r["answers"][0]["answer"]
        for r in bulk.lines(tmp_path / "o.jsonl")
    }
    assert found == {
        (name, question): bulk.scribe.ask(folder / name, [question])[0].text for name, question in rows[:3]
    }
    assert summary.notes == 2 and any("3 cells" in note for note in bulk.notes)
    (folder / "listed.jsonl").write_text(
        json.dumps({"image": "0.png", "question": ["the dog", "the cat"], "id": 7}) + "\nno JSON\n"
    )
    bulk(folder / "listed.jsonl", tmp_path / "p.jsonl", work=work)
    (row,) = bulk.lines(tmp_path / "p.jsonl")
    assert [one["question"] for one in row["answers"]] == ["the dog", "the cat"] and row["id"] == 7
    with pytest.raises(InputError, match="no column 'text'"):
        names(folder / "listed.jsonl", column="text")
    with pytest.raises(InputError, match="--path-column"):
        (folder / "odd.csv").write_text("a,b\n1,2\n")
        names(folder / "odd.csv")
    scores = Work("score", column="question")
    bulk(folder / "asked.csv", tmp_path / "s.jsonl", work=scores)
    assert len(bulk.lines(tmp_path / "s.jsonl")) == 3


def test_parquet_of_paths_and_of_photos(bulk: Any, folder: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    content = [{"bytes": (folder / f"{n}.png").read_bytes(), "path": None} for n in range(5)]
    table = pyarrow.table({"image": content, "caption": [f"mine {n}" for n in range(5)]})
    pyarrow.parquet.write_table(table, tmp_path / "photos.parquet", row_group_size=2)
    pyarrow.parquet.write_table(pyarrow.table({"path": ["0.png", "1.png"]}), folder / "paths.parquet")
    bulk([tmp_path / "photos.parquet", folder / "paths.parquet"], tmp_path / "o.jsonl", f"txt:{tmp_path}/t")
    rows = bulk.lines(tmp_path / "o.jsonl")
    assert len(rows) == 7 and len(bulk.calls) == 5  # equal bytes, once from the table and once from files
    said = {row["path"].rpartition("#")[2]: (row["caption"], row.get("original_caption")) for row in rows[:5]}
    assert said["1/0"] == (bulk.scribe.caption(folder / "2.png").text, "mine 2")
    assert (tmp_path / "t" / "photos" / "00001-0000000.txt").exists()


def make_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_tars_in_and_webdataset_out(bulk: Any, folder: Path, tmp_path: Path) -> None:
    photos = [(folder / f"{n}.png").read_bytes() for n in range(5)]
    members = []
    for number, photo in enumerate(photos):
        members += [(f"a.b/{number}.png", photo), (f"a.b/{number}.cls", b"%d" % number)]
    members += [("a.b/4.txt", b"mine\n"), ("a.b/4.json", b'{"caption": "mine too", "width": 40}')]
    make_tar(tmp_path / "in.tar", members)
    make_tar(tmp_path / "cut.tar", [("x.png", photos[0]), ("y.png", photos[1] * 50)])
    with (tmp_path / "cut.tar").open("r+b") as stream:
        stream.truncate(3000)
    summary = bulk(
        [tmp_path / "in.tar", tmp_path / "cut.tar"], f"webdataset:{tmp_path}/out", tmp_path / "o.jsonl", shard=2
    )
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 6
    assert summary.notes + sum(summary.failures.values()) == 1  # the member that is cut short is told of
    webdataset = pytest.importorskip("webdataset")
    shards = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(found) == 6 and len({one["__key__"] for one in found}) == 6
    by_path = {one["json"]["path"]: one for one in found}
    last = by_path[f"{tmp_path}/in.tar#a.b/4.png"]
    assert last["txt"] == "mine\n" and last["cls"] == 4
    assert (last["json"]["original_caption"], last["json"]["width"]) == ("mine too", 40)
    assert last["json"]["caption"] == bulk.scribe.caption(photos[4]).text
    assert last["png"].size == (40, 30) and all("." not in one["__key__"] for one in found)
    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset("webdataset", data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(one["path"] for one in read["json"]) == sorted(by_path)


class Server(http.server.BaseHTTPRequestHandler):
    """Photos, some of which come at the third try, half, or not at all."""

    photo = b""
    tries: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.tries[name] = self.tries.get(name, 0) + 1
        if name.startswith("gone"):
            self.send_error(404)
        elif name.startswith("refused"):
            self.send_error(403)
        elif name.startswith("down") or (name.startswith("late") and self.tries[name] < 3):
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.photo)))
            self.end_headers()
            self.wfile.write(self.photo[:20] if name.startswith("half") else self.photo)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """The address of a server of one photo."""
    Server.photo, Server.tries = (folder / "0.png").read_bytes(), {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


def test_addresses_are_tried_again_and_failures_have_their_class(server: str, folder: Path) -> None:
    waits: list[float] = []

    def get(name: str) -> bytes:
        return content_of(Entry(f"{server}/{name}", name, name), 1 << 20, waits.append)

    photo = (folder / "0.png").read_bytes()
    assert get("a.png") == photo and waits == []
    assert get("late.png") == photo and waits == [0.5, 1.0]
    for name, kind in (
        ("gone.png", "missing"),
        ("refused.png", "forbidden"),
        ("down.png", "network"),
        ("half.png", "network"),
    ):
        with pytest.raises(EntryError, match=name) as caught:
            get(name)
        assert caught.value.kind == kind
    assert Server.tries["gone.png"] == 1 and Server.tries["down.png"] == 4
    with pytest.raises(EntryError) as caught:
        content_of(Entry("http://127.0.0.1:9/a.png", "a", "a"), 1 << 20, waits.append)
    assert caught.value.kind == "network"


def test_addresses_in_outputs(bulk: Any, server: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{server}/a/b.png\n{server}/c.png?size=2\n", encoding="utf-8")
    bulk(tmp_path / "list.txt", f"txt:{tmp_path}/t", f"webdataset:{tmp_path}/w", tmp_path / "o.jsonl")
    assert len(bulk.calls) == 1 and len(bulk.lines(tmp_path / "o.jsonl")) == 2
    assert sum(Server.tries.values()) == 2  # what was fetched is not fetched again for the shard
    assert sorted(path.name for path in (tmp_path / "t").rglob("*.txt")) == ["b.txt", "c.txt"]


def test_file_systems_of_fsspec(bulk: Any, folder: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe(f"/bucket/photos/{number}.png", (folder / f"{number}.png").read_bytes())
    memory.pipe("/bucket/list.txt", b"photos/0.png\n")
    make_tar(tmp_path / "in.tar", [("3.png", (folder / "3.png").read_bytes())])
    memory.pipe("/bucket/in.tar", (tmp_path / "in.tar").read_bytes())
    inputs = ["memory://bucket/photos", "memory://bucket/list.txt", "memory://bucket/in.tar"]
    bulk(inputs, tmp_path / "o.jsonl", f"txt:{tmp_path}/t")
    said = {row["path"]: row["caption"] for row in bulk.lines(tmp_path / "o.jsonl")}
    expected = {f"memory://bucket/photos/{n}.png": bulk.scribe.caption(folder / f"{n}.png").text for n in range(3)}
    assert said == {**expected, "memory://bucket/in.tar#3.png": bulk.scribe.caption(folder / "3.png").text}
    with pytest.raises(InputError, match="cannot be used"):
        names("nosuch://bucket/photos")


def test_names_of_any_bytes_in_every_output(bulk: Any, tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/photos"
    os.mkdir(root)
    odd = [
        b"a b.png",
        b"two\nlines.png",
        "Schloß 🏰.png".encode(),
        b"\xff\xfe.png",
        b"x...png",
        b"-x.png",
        b"c.d.e.png",
        b'q"<&>.png',
    ]
    for number, name in enumerate(odd):
        bulk.draw(root + b"/" + name, number)
    outputs = [
        "txt",
        "xmp",
        tmp_path / "o.jsonl",
        tmp_path / "o.csv",
        tmp_path / "o.sqlite",
        f"parquet:{tmp_path}/p",
        f"webdataset:{tmp_path}/w",
    ]
    summary = bulk(os.fsdecode(root), *outputs)
    assert summary.complete
    rows = bulk.lines(tmp_path / "o.jsonl")
    assert len(rows) == 8
    import base64

    (unnamable,) = [row for row in rows if "path_base64" in row]
    assert base64.b64decode(unnamable["path_base64"]) == root + b"/\xff\xfe.png"
    for name in odd:
        assert os.path.exists(root + b"/" + os.path.splitext(name)[0] + b".txt")
        assert os.path.exists(root + b"/" + name + b".xmp")
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 8
    bulk(os.fsdecode(root), *outputs)
    assert bulk.calls == []


def test_an_output_that_cannot_be_written_fails_alone(bulk: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "below").touch()  # where a folder would have to be
    summary = bulk(folder, f"txt:{tmp_path}/t", tmp_path / "o.jsonl")
    assert summary.failures == {"unreadable": 1, "unwritable": 1}
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 6 and len(list((tmp_path / "t").glob("*.txt"))) == 5
    (tmp_path / "t" / "below").unlink()
    assert bulk(folder, f"txt:{tmp_path}/t", tmp_path / "o.jsonl", retry=("unwritable",)).failures == {"unreadable": 1}
    assert (tmp_path / "t" / "below" / "5.txt").exists() and len(bulk.lines(tmp_path / "o.jsonl")) == 6
    if os.geteuid() != 0:  # root may write anywhere
        (folder / "below").chmod(0o555)
        failures = bulk(folder, "txt").failures
        (folder / "below").chmod(0o755)
        assert failures == {"unreadable": 1, "unwritable": 1}


def test_members_of_tars_stay_within_the_output(bulk: Any, folder: Path, tmp_path: Path) -> None:
    photo = (folder / "0.png").read_bytes()
    make_tar(tmp_path / "in.tar", [("../../evil.png", photo), ("/etc/worse.png", photo), ("a/./b.png", photo)])
    bulk(tmp_path / "in.tar", f"txt:{tmp_path}/out/deep")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt"))
    assert found == ["out/deep/a/b.txt", "out/deep/etc/worse.txt", "out/deep/evil.txt"]


def test_photos_and_videos_together(bulk: Any, folder: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    import numpy as np

    from picscribe.media.video import Video

    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for number in range(20):
            frame = np.full((48, 64, 3), (number * 12, 255 - number * 12, 90), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    bulk(folder, tmp_path / "o.jsonl", f"webdataset:{tmp_path}/w")
    said = {row["path"]: row["caption"] for row in bulk.lines(tmp_path / "o.jsonl")}
    assert len(said) == 7
    assert said[str(folder / "clip.mp4")] == bulk.scribe.caption(Video(folder / "clip.mp4", frames=1)).text
    with tarfile.open(tmp_path / "w" / "00000.tar") as archive:
        assert sum(name.endswith(".mp4") for name in archive.getnames()) == 1


def test_a_file_cannot_be_an_input_and_an_output(bulk: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "list.jsonl").write_text('{"path": "0.png"}\n')
    with pytest.raises(ConfigurationError, match="is an input and an output"):
        bulk(folder / "list.jsonl", folder / "list.jsonl", existing="overwrite")
    with pytest.raises(ConfigurationError, match="is named twice"):
        bulk(folder, f"jsonl:{tmp_path}/o", f"csv:{tmp_path}/o")
    (folder / "o.jsonl.picscribe" / "photos").mkdir(parents=True)
    bulk.draw(folder / "o.jsonl.picscribe" / "photos" / "1.jpg", 4)
    bulk(folder, folder / "o.jsonl")
    assert len(bulk.lines(folder / "o.jsonl")) == 6
