"""Sidecars: what they are called, and what becomes of a text that is there already."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk import Work
from picscribe.errors import ConfigurationError, InputError


def texts(root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): file.read_text("utf-8") for file in sorted(root.rglob("*.txt"))}


def test_photos_of_one_stem_keep_their_suffix(bulk: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for number, name in enumerate(["a.jpg", "a.png", "b.jpg", "a.jpg.jpg", "c.d.png", "c.d"]):
        bulk.draw(tmp_path / "photo.png", number)
        os.replace(tmp_path / "photo.png", root / name)
    bulk(root, "txt")
    assert list(texts(root)) == ["a.jpg.jpg.txt", "a.jpg.txt", "a.png.txt", "b.txt", "c.d.txt"]
    (root / "b.png").write_bytes((root / "a.png").read_bytes())
    bulk(root, "txt")
    assert sorted(set(texts(root)) - {"a.jpg.jpg.txt", "a.jpg.txt", "a.png.txt"}) == ["b.png.txt", "b.txt", "c.d.txt"]
    photos = {"b.txt": "b.jpg", "c.d.txt": "c.d.png"}
    for name, text in texts(root).items():
        photo = root / photos.get(name, name.removesuffix(".txt"))
        assert text == bulk.scribe.caption(photo).text + "\n"


def test_a_collision_stops_the_run_before_its_first_caption(bulk: Any, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        bulk.draw(tmp_path / folder / "a.jpg", 1)
    (tmp_path / "one" / "a.png").write_bytes((tmp_path / "one" / "a.jpg").read_bytes())
    with pytest.raises(
        ConfigurationError, match=r"a\.jpg and .*a\.png would both be written to .*a\.txt: --names full"
    ):
        bulk(tmp_path / "one", "txt", names="stem")
    with pytest.raises(ConfigurationError, match="would both be written to"):
        bulk(tmp_path / "one", "xmp", full_xmp=False)
    with pytest.raises(ConfigurationError, match=r"one/a\.jpg and .*two/a\.jpg .*the folder that holds both"):
        bulk([tmp_path / "one", tmp_path / "two"], f"txt:{tmp_path}/out", names="full")
    assert bulk.calls == []
    bulk(tmp_path / "one", "txt", names="full")
    assert list(texts(tmp_path / "one")) == ["a.jpg.txt", "a.png.txt"]


def test_a_mirrored_tree(bulk: Any, folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o555)
    bulk(folder, f"caption:{tmp_path}/out", f"json:{tmp_path}/out")
    folder.chmod(0o755)
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.caption"))
    assert names == ["0.caption", "1.caption", "2.caption", "3.caption", "4.caption", "below/5.caption"]
    said = json.loads((tmp_path / "out" / "below" / "5.json").read_bytes())
    assert said["path"] == str(folder / "below" / "5.jpg")


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ("skip", "mine\n"),
        ("machine", "mine\n"),
        ("overwrite", "{0}\n"),
        ("append", "mine, {0}\n"),
        ("prepend", "{0}, mine\n"),
    ],
)
def test_what_becomes_of_a_person_s_text(bulk: Any, folder: Path, tmp_path: Path, existing: str, expected: str) -> None:
    (folder / "0.txt").write_text("mine\n", encoding="utf-8")
    (folder / "1.txt").write_text(" \n", encoding="utf-8")  # says nothing
    summary = bulk(folder, "txt", existing=existing, separator=", ")
    captions = {n: bulk.scribe.caption(folder / f"{n}.png").text for n in (0, 1)}
    assert texts(folder)["0.txt"] == expected.format(captions[0])
    assert texts(folder)["1.txt"] == captions[1] + "\n"
    assert summary.skipped == (existing in ("skip", "machine"))
    assert len(bulk.calls) == 6 - summary.skipped
    before = texts(folder)
    bulk(folder, "txt", existing=existing, separator=", ")
    assert texts(folder) == before and len(bulk.calls) == 0


def test_a_photo_is_skipped_only_where_every_output_has_it(bulk: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "0.txt").write_text("mine\n", encoding="utf-8")
    bulk(folder, "txt", tmp_path / "out.jsonl")
    assert texts(folder)["0.txt"] == "mine\n"
    assert len(bulk.lines(tmp_path / "out.jsonl")) == 6


def test_another_choice_takes_in_what_was_skipped(bulk: Any, folder: Path) -> None:
    (folder / "0.txt").write_text("mine\n", encoding="utf-8")
    assert bulk(folder, "txt").skipped == 1
    assert bulk(folder, "txt", existing="append").settled == 1
    assert texts(folder)["0.txt"] == f"mine\n{bulk.scribe.caption(folder / '0.png').text}\n"


def test_an_edit_between_kill_and_resume_is_kept(bulk: Any, folder: Path) -> None:
    """The journal says that a text was to be written, and the outputs' positions do not know of it yet."""
    from picscribe.bulk.journal import Journal

    (folder / "0.txt").write_text("mine\n", encoding="utf-8")
    bulk(folder, "txt", existing="append")
    written = texts(folder)
    journal = Journal(folder / ".picscribe" / "journal.sqlite")
    with journal.transaction():
        journal.place("txt", {"upto": 0})
    journal.close()
    (folder / "1.txt").write_text(written["1.txt"] + "and mine\n", encoding="utf-8")
    bulk(folder, "txt", existing="append")
    assert texts(folder) == written | {"1.txt": written["1.txt"] + "and mine\n"}
    assert bulk.calls == []


def test_a_growing_file_that_is_there_already(bulk: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(b'{"mine": 1}')
    with pytest.raises(InputError, match=r"exists already.*append"):
        bulk(folder, out)
    assert out.read_bytes() == b'{"mine": 1}'
    bulk(folder, out, existing="append")
    assert out.read_bytes().startswith(b'{"mine": 1}\n{"path"') and len(bulk.lines(out)) == 7
    bulk(folder, out, existing="append")
    assert len(bulk.lines(out)) == 7
    bulk(folder, out, existing="machine", new=True, work=Work(prompt="a"))
    assert len(bulk.lines(out)) == 6


def test_rows_that_a_stranger_added_are_kept_aside(bulk: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    bulk(folder, out)
    ours = out.read_bytes()
    with out.open("ab") as stream:
        stream.write(b'{"mine": 1}\n')
    bulk.draw(folder / "new.png", 9)
    bulk(folder, out)
    assert len(bulk.lines(out)) == 7 and out.read_bytes().startswith(ours)
    (kept,) = (tmp_path / "out.jsonl.picscribe").glob("out.jsonl.from-*")
    assert kept.read_bytes() == b'{"mine": 1}\n' and "were moved" in bulk.notes[0]
    out.write_bytes(ours.replace(b"path", b"htap"))
    with pytest.raises(InputError, match="has changed since this job wrote it"):
        bulk(folder, out)
    out.unlink()
    with pytest.raises(InputError, match="is missing"):
        bulk(folder, out)


def test_columns_of_the_input_are_kept_under_other_names_if_needed(bulk: Any, folder: Path, tmp_path: Path) -> None:
    rows = [
        {"file_name": "0.png", "caption": "mine", "tag": 7},
        {"file_name": "below/5.jpg", "tag": 8},
        {"file_name": "../x.png"},
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    bulk(folder, tmp_path / "o.jsonl")
    found = {row["path"]: row for row in bulk.lines(tmp_path / "o.jsonl")}
    assert len(found) == 6
    first = found[str(folder / "0.png")]
    assert (first["original_caption"], first["tag"]) == ("mine", 7)
    assert first["caption"] == bulk.scribe.caption(folder / "0.png").text
    assert found[str(folder / "below" / "5.jpg")]["tag"] == 8
    assert any("is not in this folder" in note for note in bulk.notes)
    with pytest.raises(InputError, match="exists already"):
        bulk(folder, f"metadata:{folder}/metadata.jsonl", job=str(tmp_path / "job"))


def test_image_folder_metadata_is_read_by_datasets(bulk: Any, folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (folder / "broken6.jpg").unlink()
    bulk(folder, folder / "metadata.jsonl")
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(found["caption"]) == sorted(bulk.scribe.caption(path).text for path in folder.rglob("*.*g"))


def test_a_name_too_long_for_a_sidecar_is_named(bulk: Any, folder: Path, tmp_path: Path) -> None:
    bulk.draw(folder / ("a" * 250 + ".png"), 9)
    summary = bulk(folder, f"txt:{tmp_path}/out", tmp_path / "o.jsonl", names="full")
    assert summary.failures == {"unreadable": 1, "unwritable": 1}  # 258 bytes, where file systems take 255
    assert "File name too long" in (summary.folder / "failures.jsonl").read_text("utf-8")
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 7
