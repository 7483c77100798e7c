"""`picscribe caption`, in this process, against captions asked for one by one in Python."""

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import picscribe
import picscribe.cli.caption as command_file
from picscribe.cli.main import app
from picscribe.generation.options import GenerationOptions
from picscribe.inference import Inference
from picscribe.scribe import Scribe


@pytest.fixture(scope="module")
def scribe(tiny_model: Path) -> Scribe:
    return picscribe.load(str(tiny_model))


@pytest.fixture
def caption(runner: CliRunner, tiny_model: Path) -> Any:
    def run(*arguments: object, **settings: Any) -> Result:
        return runner.invoke(app, ["caption", "--model", str(tiny_model), *map(str, arguments)], **settings)

    return run


def one_by_one(scribe: Scribe, photos: list[Path], **options: Any) -> list[str]:
    return [scribe.caption(photo, **options).text for photo in photos]


# What is printed


def test_one_photo_prints_its_caption_and_nothing_else(caption: Any, scribe: Scribe, photos: Path) -> None:
    result = caption(photos / "photo1.png")
    assert result.exit_code == 0
    assert result.stdout == scribe.caption(photos / "photo1.png").text + "\n"
    assert result.stderr == ""


def test_several_photos_print_path_tab_caption_in_the_order_given(caption: Any, scribe: Scribe, photos: Path) -> None:
    asked = [photos / f"photo{number}.png" for number in (3, 1, 2)]
    result = caption(*asked)
    assert result.exit_code == 0
    expected = one_by_one(scribe, asked)
    assert len(set(expected)) == 3, "the oracle could not see two photos swapped"
    assert result.stdout == "".join(f"{path}\t{text}\n" for path, text in zip(asked, expected, strict=True))


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_a_folder_comes_in_natural_order_whatever_the_batch_size(
    caption: Any, scribe: Scribe, photos: Path, batch_size: int
) -> None:
    expected = [photos / f"photo{number}.png" for number in range(1, 13)]
    result = caption(photos, "--batch-size", batch_size)
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [path for path, _ in lines] == [str(path) for path in expected]
    assert [text for _, text in lines] == one_by_one(scribe, expected)


def test_json_lines_hold_path_caption_score_and_confidence(caption: Any, scribe: Scribe, photos: Path) -> None:
    result = caption("--json", photos / "photo1.png", photos / "photo2.png")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(line) for line in lines] == [["path", "caption", "score", "confidence"]] * 2
    for line, name in zip(lines, ("photo1.png", "photo2.png"), strict=True):
        expected = scribe.caption(photos / name)
        assert line["path"] == str(photos / name)
        assert line["caption"] == expected.text
        assert line["score"] == pytest.approx(expected.score, rel=1e-4)
        assert line["confidence"] == pytest.approx(expected.confidence, rel=1e-4)
        assert 0 < line["confidence"] <= 1


def test_several_captions_of_a_photo_in_json(caption: Any, photos: Path) -> None:
    result = caption("--json", "--num-captions", 3, photos / "photo1.png")
    line = json.loads(result.stdout)
    assert [list(entry) for entry in line["captions"]] == [["caption", "score", "confidence"]] * 3
    assert line["captions"][0] == {name: line[name] for name in ("caption", "score", "confidence")}
    scores = [entry["score"] for entry in line["captions"]]
    assert scores == sorted(scores, reverse=True)
    assert len({entry["caption"] for entry in line["captions"]}) == 3


def test_several_captions_of_a_photo_in_plain_lines(caption: Any, scribe: Scribe, photos: Path) -> None:
    photo = photos / "photo1.png"
    texts = [entry.text for entry in scribe.caption(photo, num_captions=2).alternatives]
    assert caption("--num-captions", 2, photo).stdout.splitlines() == texts
    several = caption("--num-captions", 2, photo, photos / "photo2.png").stdout.splitlines()
    assert several[:2] == [f"{photo}\t{text}" for text in texts]
    assert len(several) == 4


# Options


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--beams", "1"], {"beams": 1}),
        (["--max-words", "3"], {"max_new_tokens": 3}),
        (["--min-words", "15", "--max-words", "18"], {"min_new_tokens": 15, "max_new_tokens": 18}),
        (["--prompt", "a red dog"], {"prompt": "a red dog"}),
    ],
)
def test_each_option_reaches_the_search(
    caption: Any, scribe: Scribe, photos: Path, flags: list[str], options: dict[str, Any]
) -> None:
    expected = one_by_one(scribe, sorted(photos.iterdir()), **options)
    assert expected != one_by_one(scribe, sorted(photos.iterdir())), "the option changes nothing here: a blind test"
    result = caption(*sorted(photos.iterdir()), *flags)
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == expected


def test_length_penalty_reaches_the_score(caption: Any, scribe: Scribe, photos: Path) -> None:
    photo = photos / "photo1.png"
    expected = scribe.caption(photo, length_penalty=-2.0).score
    assert expected != pytest.approx(scribe.caption(photo).score)
    score = json.loads(caption("--json", "--length-penalty", -2, photo).stdout)["score"]
    assert score == pytest.approx(expected, rel=1e-4)


def test_help_tells_the_real_defaults(runner: CliRunner) -> None:
    text = " ".join(runner.invoke(app, ["caption", "--help"]).stdout.split())
    defaults = GenerationOptions()
    for flag, value in (
        ("--beams", defaults.beams),
        ("--max-words", defaults.max_new_tokens),
        ("--min-words", defaults.min_new_tokens),
        ("--length-penalty", defaults.length_penalty),
        ("--num-captions", defaults.num_captions),
    ):
        told = text.split(f"{flag} <")[1].split("[default: ")[1].split("]")[0]
        assert told.split(",")[0] == str(value)  # of --beams: 4, or --num-captions where that is more


def test_more_captions_than_beams_by_default_take_as_many_beams(caption: Any, scribe: Scribe, photos: Path) -> None:
    photo = photos / "photo1.png"
    expected = [entry.text for entry in scribe.caption(photo, num_captions=6, beams=6).alternatives]
    assert caption("--num-captions", 6, photo).stdout.splitlines() == expected


# Standard input


def test_dash_reads_one_image_from_standard_input(caption: Any, scribe: Scribe, photos: Path) -> None:
    content = (photos / "photo4.png").read_bytes()
    assert caption("-", input=content).stdout == scribe.caption(photos / "photo4.png").text + "\n"
    line = json.loads(caption("--json", "-", input=content).stdout)
    assert line["path"] == "-"


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_standard_input_that_is_no_image_is_an_error(caption: Any, photos: Path, content: bytes) -> None:
    result = caption("-", photos / "photo1.png", input=content)
    assert result.exit_code == 1
    assert result.stderr.startswith("picscribe: ")
    assert result.stdout.startswith(f"{photos / 'photo1.png'}\t")


def test_standard_input_twice_is_wrong_usage(caption: Any) -> None:
    result = caption("-", "-", input=b"")
    assert result.exit_code == 2
    assert "only once" in result.stderr


# Photos that cannot be used


@pytest.fixture
def mixed(tmp_path: Path, photos: Path) -> Path:
    """A folder with two good photos, one of them in a folder below, two broken ones, and files that are no images."""
    folder = tmp_path / "mixed"
    (folder / "below").mkdir(parents=True)
    shutil.copy(photos / "photo1.png", folder / "a.png")
    shutil.copy(photos / "photo2.png", folder / "below" / "good.PNG")
    (folder / "b.jpg").write_text("words, not pixels")
    (folder / "c.png").write_bytes((photos / "photo3.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("words")
    (folder / "LICENSE").write_text("words")
    return folder


def test_a_bad_photo_fails_alone(caption: Any, scribe: Scribe, mixed: Path) -> None:
    result = caption(mixed)
    assert result.exit_code == 1
    good = [mixed / "a.png", mixed / "below" / "good.PNG"]
    expected = [f"{path}\t{text}" for path, text in zip(good, one_by_one(scribe, good), strict=True)]
    assert sorted(result.stdout.splitlines()) == sorted(expected)
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    assert all(line.startswith("picscribe: ") for line in errors)
    assert sum("b.jpg" in line for line in errors) == sum("c.png" in line for line in errors) == 1
    assert "skipped 2 files without an image's suffix" in errors[0]


def test_a_bad_photo_has_its_line_in_json(caption: Any, mixed: Path) -> None:
    result = caption("--json", "--batch-size", 1, mixed / "b.jpg", mixed / "a.png", mixed / "no such file.jpg")
    assert result.exit_code == 1
    broken, good, missing = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(broken) == list(missing) == ["path", "error"]
    assert broken["path"] == str(mixed / "b.jpg")
    assert "no such file.jpg" in missing["error"]
    assert "caption" in good
    assert len(result.stderr.splitlines()) == 2


def test_a_file_that_is_named_is_never_left_out(caption: Any, mixed: Path) -> None:
    result = caption(mixed / "notes.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "notes.txt" in result.stderr


@pytest.mark.parametrize("content", [[], ["notes.txt"], ["one.csv", "two.csv"]])
def test_a_folder_without_images_is_an_error_and_the_rest_goes_on(
    caption: Any, photos: Path, tmp_path: Path, content: list[str]
) -> None:
    folder = tmp_path / "nothing here"
    folder.mkdir()
    for name in content:
        (folder / name).write_text("words")
    result = caption("--json", folder, photos / "photo1.png")
    assert result.exit_code == 1
    failed, good = [json.loads(line) for line in result.stdout.splitlines()]
    assert failed["path"] == str(folder)
    assert "nothing here" in failed["error"]
    assert "caption" in good
    assert caption(folder).exit_code == 1


def test_what_of_a_folder_cannot_be_read_or_is_left_out_is_told(
    caption: Any, scribe: Scribe, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "holiday"
    (folder / "closed").mkdir(parents=True)
    shutil.copy(photos / "photo1.png", folder / "a.png")
    (folder / "notes.txt").write_text("words")
    (folder / "elsewhere").symlink_to(photos)
    scandir = os.scandir

    def refuse_closed(path: Any = ".") -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_closed)
    result = caption(folder)
    assert result.exit_code == 1
    assert result.stdout == f"{folder / 'a.png'}\t{scribe.caption(folder / 'a.png').text}\n"
    assert result.stderr.splitlines() == [
        f"picscribe: {folder}: skipped 1 file without an image's suffix and 1 link to a folder",
        f"picscribe: folder {folder / 'closed'} cannot be read (Permission denied): check its name and permissions",
    ]


def test_photos_that_nothing_here_reads_are_told_of_in_a_folder(caption: Any, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "photo1.png", tmp_path / "a.png")
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "c.jxl").write_bytes(b"\xff\x0a\x4a\x12")
    result = caption(tmp_path)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    heic, jxl = result.stderr.splitlines()
    assert "b.HEIC is damaged or incomplete" in heic or "pip install" in heic
    assert "a JPEG XL photo; convert it to JPEG" in jxl


def test_an_address_is_told_to_be_one(caption: Any) -> None:
    result = caption("--json", "http://example.org/photo.jpg")
    assert result.exit_code == 1
    assert result.stderr == "picscribe: http://example.org/photo.jpg does not exist: download it first\n"
    assert json.loads(result.stdout)["path"] == "http://example.org/photo.jpg"


def test_an_empty_name_is_told_to_be_empty(caption: Any) -> None:
    result = caption("")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "picscribe: a photo's name is empty: name a file, a folder or -\n"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_text_comes_out_as_it_is(caption: Any, photos: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9 \xe2\x82\xac.png"
    shutil.copy(photos / "photo1.png", odd)
    plain = caption(os.fsdecode(odd), photos / "photo2.png")
    assert plain.exit_code == 0
    assert plain.stdout_bytes.splitlines()[0].split(b"\t")[0] == odd
    line = json.loads(caption("--json", os.fsdecode(odd)).stdout)
    assert os.fsencode(line["path"]) == odd


# Memory and time


def test_no_more_than_a_batch_is_computed_before_it_is_printed(
    caption: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_compute, real_write = Inference.compute, command_file.write_line

    def counted(self: Inference, items: Any) -> Any:
        events.append(f"compute {len(items)}")
        return real_compute(self, items)

    def noted(text: str) -> None:
        events.append("print")
        real_write(text)

    monkeypatch.setattr(Inference, "compute", counted)
    monkeypatch.setattr(command_file, "write_line", noted)
    assert caption("--batch-size", 5, photos).exit_code == 0
    assert events == ["compute 5", *["print"] * 5, "compute 5", *["print"] * 5, "compute 2", *["print"] * 2]


# Wrong usage and models that cannot be used


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["photo.png", "--beams", "0"],
        ["photo.png", "--beams", "many"],
        ["photo.png", "--num-captions", "5", "--beams", "4"],
        ["photo.png", "--revision", "v2"],
        ["photo.png", "--min-words", "9", "--max-words", "3"],
        ["photo.png", "--length-penalty", "nan"],
        ["photo.png", "--batch-size", "0"],
        ["photo.png", "--no-such-option"],
    ],
)
def test_wrong_usage_exits_with_2(caption: Any, arguments: list[str]) -> None:
    result = caption(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


@pytest.mark.parametrize(
    "model", ["no-such-model", "a folder that is not there/model", "", "~nosuchuser/model", "x" * 5000]
)
def test_an_unknown_model_is_one_line(
    runner: CliRunner, photos: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = runner.invoke(app, ["caption", "--model", model, str(photos / "photo1.png")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("picscribe: ")
    assert len(result.stderr) < 2000


@pytest.mark.parametrize(
    "device", ["no-such-device", "cuda:99", "mps:7", "meta", "hpu", "privateuseone", "mkldnn", "", "cpu:0:0"]
)
def test_a_device_that_is_not_there_is_one_line(caption: Any, photos: Path, device: str) -> None:
    result = caption("--device", device, photos / "photo1.png")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert device in result.stderr


def test_a_broken_model_is_one_line(runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    for damaged, damage in (
        ("model.safetensors", b"\x00" * 100),
        ("config.json", b"{"),
        ("preprocessor_config.json", b"[]"),
    ):
        folder = tmp_path / damaged
        shutil.copytree(tiny_model, folder)
        (folder / damaged).write_bytes(damage)
        result = runner.invoke(app, ["caption", "--model", str(folder), str(photos / "photo1.png")])
        assert result.exit_code == 1, damaged
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert damaged in result.stderr


def test_a_photo_of_odd_mode_from_memory(caption: Any) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (40, 30), (10, 200, 30, 5)).save(buffer, "JPEG")
    assert caption("-", input=buffer.getvalue()).exit_code == 0
