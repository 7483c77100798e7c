"""One list of suffixes for the command line, folders of frames, and every kind of data set."""

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from picscribe.cli.options.photos import find_photos
from picscribe.datasets import read_dataset
from picscribe.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_images
from picscribe.media.video import read_frames


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(stream, "PNG")
    return stream.getvalue()


def test_lower_case_with_a_dot_and_in_one_list_only() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tiff", ".avif", ".bmp", ".ppm"} <= IMAGE_SUFFIXES
    assert {".heic", ".heif", ".jxl"} <= IMAGE_SUFFIXES
    assert {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"} <= set(VIDEO_SUFFIXES)
    assert not IMAGE_SUFFIXES & set(VIDEO_SUFFIXES)
    assert all(s == s.lower() and s.startswith(".") for s in [*IMAGE_SUFFIXES, *VIDEO_SUFFIXES])


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_photo_is_a_photo_everywhere(suffix: str, tmp_path: Path) -> None:
    """What it is called is no matter for opening it, so a PNG may stand for each."""
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        (tmp_path / name).write_bytes(png())
    assert [Path(photo.path).name for photo in find_photos([str(tmp_path)])] == [f"a{suffix}", f"b{suffix.upper()}"]
    assert len(read_frames(tmp_path)) == 2
    for stem in "ab":
        (tmp_path / f"{stem}.txt").write_text("a red square")
    assert len(read_dataset(tmp_path).examples) == 2
    shard = tmp_path.with_name(f"tar{tmp_path.name}") / "00000.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        for path in find_images(tmp_path).files:
            archive.add(path, path.name)
    assert [example.texts for example in read_dataset(shard.parent).examples] == [("a red square",)] * 2


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_a_video_is_a_video_in_data_sets(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"not opened to list it")
    (tmp_path / "a.txt").write_text("a red square moves")
    found = read_dataset(tmp_path)
    assert (found.medium, len(found.examples)) == ("videos", 1)
