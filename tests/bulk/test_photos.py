"""Texts inside photos: read back by ExifTool, pixels and everybody else's metadata as they were."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from picscribe.errors import MissingPackageError

pytestmark = pytest.mark.skipif(shutil.which("exiftool") is None, reason="ExifTool is not installed")

FOREIGN = [
    "-EXIF:Artist=Ana", "-EXIF:GPSLatitude=48.2", "-EXIF:GPSLatitudeRef=N", "-EXIF:Orientation#=6",
    "-IPTC:Keywords=sea", "-IPTC:City=Wien",
    "-XMP-dc:Subject=boat", "-XMP-xmp:Rating=4", "-XMP-photoshop:Headline=Harbour", "-XMP-dc:Title-de=Hafen",
]  # fmt: skip


def photo(path: Path) -> None:
    """A photo in the form that its name says, with metadata of a person's."""
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((128, 96))
    if path.suffix == ".heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(image).save(path)
    else:
        image.save(path, **({"icc_profile": b"no profile"} if path.suffix == ".none" else {}))
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-m", *FOREIGN, path], check=True)


def metadata(path: Path) -> dict[str, Any]:
    """All that ExifTool reads, but for what is of the file and not of the photo."""
    done = subprocess.run(["exiftool", "-j", "-a", "-G1", "-n", "-struct", path], capture_output=True, check=True)
    return {
        name: value
        for name, value in json.loads(done.stdout)[0].items()
        if not name.startswith(("System:", "SourceFile", "ExifTool:", "File:"))
        and "Offset" not in name
        and name != "QuickTime:MediaDataSize"  # metadata is a part of it
    }


def pixels(path: Path) -> list[bytes]:
    if path.suffix == ".heic":
        from picscribe.media import open_image

        return [open_image(path).tobytes()]
    with Image.open(path) as image:
        return [image.mode.encode(), image.tobytes()]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".heic", ".gif"])
def test_a_text_is_written_and_everything_else_stays(bulk: Any, tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    path = root / f"one{suffix}"
    photo(path)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    before, picture = metadata(path), pixels(path)
    summary = bulk(root, "inside")
    assert summary.complete, summary.failures
    text = bulk.scribe.caption(path).text
    after = metadata(path)
    assert after["XMP-iptcCore:AltTextAccessibility"] == after["XMP-dc:Description"] == text
    assert after["XMP-tiff:ImageDescription"] == text
    assert {name: after.get(name) for name in before} == before
    assert pixels(path) == picture
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 1_500_000_000_123_456_789)
    assert sorted(os.listdir(root)) == [".picscribe", path.name]
    content = path.read_bytes()
    bulk(root, "inside", new=True)  # a person's text now, as far as a job without --existing machine knows
    assert path.read_bytes() == content


def test_what_a_person_wrote_is_kept_and_the_machine_s_replaced(bulk: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("xmp", "iptc", "exif", "camera", "none"):
        bulk.draw(root / f"{name}.jpg", len(name) + ord(name[0]))
    for name, field in (
        ("xmp", "-XMP-dc:Description=mine"),
        ("iptc", "-IPTC:Caption-Abstract=mine"),
        ("exif", "-EXIF:ImageDescription=mine"),
        ("camera", "-EXIF:ImageDescription=OLYMPUS DIGITAL CAMERA         "),
    ):
        subprocess.run(["exiftool", "-q", "-overwrite_original", field, root / f"{name}.jpg"], check=True)
    bulk(root, "inside")
    said = {name: metadata(root / f"{name}.jpg") for name in ("xmp", "iptc", "exif", "camera", "none")}
    assert said["xmp"]["XMP-dc:Description"] == "mine"
    assert "XMP-dc:Description" not in said["iptc"] and said["iptc"]["IPTC:Caption-Abstract"] == "mine"
    assert "XMP-dc:Description" not in said["exif"] and said["exif"]["IFD0:ImageDescription"] == "mine"
    assert said["camera"]["XMP-dc:Description"] == bulk.scribe.caption(root / "camera.jpg").text
    assert all("XMP-iptcCore:AltTextAccessibility" in one for one in said.values())
    from picscribe.bulk import Work

    bulk(root, "inside", new=True, existing="machine", work=Work(prompt="the"))
    assert metadata(root / "xmp.jpg")["XMP-dc:Description"] == "mine"
    expected = bulk.scribe.caption(root / "none.jpg", prompt="the").text
    assert metadata(root / "none.jpg")["XMP-dc:Description"] == expected


def test_names_that_no_command_line_takes(bulk: Any, tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/odd\nfolder \xff"
    os.mkdir(root)
    names = [
        b"-delete.jpg",
        b"two\nlines.jpg",
        b"\xff\xfe.jpg",
        "ein Schloß 🏰.jpg".encode(),
        b" .jpg",
        b"#[CSTR]a.jpg",
        b"a" * 250 + b".jpg",
    ]
    for number, name in enumerate(names):
        bulk.draw(root + b"/" + name, number)
    summary = bulk(os.fsdecode(root), "inside", f"jsonl:{tmp_path}/o.jsonl")
    assert summary.complete, list(summary.failures)
    assert len(bulk.lines(tmp_path / "o.jsonl")) == len(names)
    for name in names:
        with open(root + b"/" + name, "rb") as stream:
            assert b"AltTextAccessibility" in stream.read()


def test_links_stay_and_hard_links_give_a_warning(bulk: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    bulk.draw(tmp_path / "elsewhere.jpg", 1)
    (root / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    bulk.draw(root / "a.jpg", 2)
    os.link(root / "a.jpg", tmp_path / "other.jpg")
    bulk(root, "inside")
    assert (root / "link.jpg").is_symlink()
    assert b"AltText" in (tmp_path / "elsewhere.jpg").read_bytes()
    assert b"AltText" in (root / "a.jpg").read_bytes() and b"AltText" not in (tmp_path / "other.jpg").read_bytes()
    assert [note for note in bulk.notes if "hard links" in note]


def test_lossless_webp_with_transparency_is_refused_by_an_exiftool_that_spoils_it(bulk: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "alpha.webp", lossless=True)
    before = (root / "alpha.webp").read_bytes()
    summary = bulk(root, "inside")
    after = (root / "alpha.webp").read_bytes()
    if subprocess.run(["exiftool", "-ver"], capture_output=True, check=True).stdout.strip() == b"12.57":
        assert summary.failures == {"unwritable": 1}
    if summary.failures:
        assert after == before
        assert "transparency" in next(iter(bulk.lines(summary.folder / "failures.jsonl")))["reason"]
    else:
        assert after[20] & 0x10


def test_a_suffix_that_lies_and_a_kind_that_holds_no_metadata(bulk: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(stream, "PNG")
    (root / "really.jpg").write_bytes(stream.getvalue())
    Image.new("RGB", (40, 40), "blue").save(root / "old.bmp")
    summary = bulk(root, "inside")
    assert summary.failures == {"unwritable": 1}
    assert b"AltText" in (root / "really.jpg").read_bytes()
    (failure,) = bulk.lines(summary.folder / "failures.jsonl")
    assert failure["path"].endswith("old.bmp") and "--to xmp" in failure["reason"]


def test_without_exiftool_the_package_is_named(bulk: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingPackageError, match="libimage-exiftool-perl"):
        bulk(folder, "inside")
    bulk(folder, "xmp")


KILLED = """
import os, signal, sys
from pathlib import Path
from picscribe.bulk.sinks.exiftool import ExifTool
tool = ExifTool(Path(sys.argv[1]))
tool.run("-ver")
os.write(1, str(tool._process.pid).encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_exiftool_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    pid = int(killed.stdout.read())  # until nobody holds the other end, ExifTool among them
    assert killed.wait() == -signal.SIGKILL
    line = Path(f"/proc/{pid}/cmdline")
    for _ in range(600):
        if not line.exists() or b"stay_open" not in line.read_bytes():
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("ExifTool outlived the run that started it")
