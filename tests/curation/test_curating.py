"""Curating whole data sets: what stays, why the rest went, and runs that were killed or shared out."""

import io
import json
import os
import random
import re
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

import picscribe
from picscribe.cli.main import app
from picscribe.curation import Rules, curate, curating
from picscribe.datasets import load_examples, read_dataset
from picscribe.errors import ConfigurationError, InputError, MissingPackageError, PicscribeError
from picscribe.training import load_recipe
from picscribe.training.data.reading import read_data

for library in ("glin_profanity", "py3langid", "imagehash"):
    pytest.importorskip(library)

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TEXTS = ["a brown dog runs through the grass", "two children play on the beach", "a man climbs a steep rock"]


def picture(number: int) -> Image.Image:
    draw = random.Random(number)
    image = Image.new("RGB", (120, 90), tuple(draw.randrange(256) for _ in range(3)))
    for _ in range(8):
        x, y, r = draw.randrange(120), draw.randrange(90), draw.randrange(10, 40)
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=tuple(draw.randrange(256) for _ in range(3)))
    return image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photos: 0 to 4 are good, the others each have a fault."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(12):
        picture(number).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "captions": [f"{TEXTS[number % 3]} number {number}"]})
    rows[1]["captions"].append("<PERSON> in the garden")  # one of two texts goes
    rows[2]["captions"].append(f"A man climbs a steep ROCK , number {2} !")  # the same words again
    picture(3).resize((100, 75)).save(folder / "5.jpg", quality=60)
    rows[5]["file_name"] = "5.jpg"
    (folder / "6.png").write_bytes((folder / "0.png").read_bytes()[:200])
    picture(7).resize((20, 20)).save(folder / "7.png")
    Image.new("RGB", (100, 100), (9, 9, 9)).save(folder / "8.png")
    rows[9]["captions"] = ["what a sh1t dog in the grass"]
    rows[10]["captions"] = ["ein hund läuft über die grüne wiese"]
    rows[11]["captions"] = ["www.dogs.example a dog in the grass"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(data: Path, output: Path, processes: int = 1, **settings: Any) -> curating.Result:
    dataset = read_dataset(data)
    return curate(dataset, dataset.examples, Rules(**settings), output, processes)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def dropped(folder: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["text"]: line["rule"] for line in lines}


def test_what_stays_and_why_the_rest_went(data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path / "out")
    assert dropped(tmp_path / "out") == {
        "<PERSON> in the garden": "tag",
        "A man climbs a steep ROCK , number 2 !": "text-duplicate",
        f"{TEXTS[2]} number 5": "image-duplicate",
        f"{TEXTS[0]} number 6": "broken",
        f"{TEXTS[1]} number 7": "small",
        f"{TEXTS[2]} number 8": "blank",
        "what a sh1t dog in the grass": "offensive",
        "ein hund läuft über die grüne wiese": "language",
        "www.dogs.example a dog in the grass": "boilerplate",
    }
    assert (result.pairs, result.kept, result.images, result.images_kept) == (14, 5, 12, 5)
    assert sum(result.dropped.values()) == 9
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "metadata.jsonl", "dropped.jsonl", "dropped.html", "report.json",
    }  # fmt: skip
    _, kept = load_examples(tmp_path / "out", data, None)
    assert [example.texts for example in kept] == [(f"{TEXTS[n % 3]} number {n}",) for n in range(5)]
    page = (tmp_path / "out" / "dropped.html").read_text(encoding="utf-8")
    assert "sh1t" not in page
    assert "what a s*** dog" in page
    assert "&lt;PERSON&gt;" in page
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["result"]["photos"] == result.photos == str(data.resolve())
    assert report["plan"]["rules"]["hash_distance"] == 4


def test_a_missing_photo_counts_as_broken(data: Path, tmp_path: Path) -> None:
    (data / "4.png").unlink()
    assert run(data, tmp_path / "out").dropped["broken"] == 2
    assert dropped(tmp_path / "out")[f"{TEXTS[1]} number 4"] == "broken"


def test_a_full_disk_is_named_and_leaves_what_was_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(curating, "_sample", full)
        with pytest.raises(InputError, match="No space left"):
            run(data, tmp_path / "out")
    assert not (tmp_path / "out" / "metadata.jsonl").exists()
    assert run(data, tmp_path / "out").kept == 5


def test_a_curation_killed_anywhere_ends_with_the_same_result(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curating, "CHUNK", 3)
    run(data, tmp_path / "whole")
    whole = contents(tmp_path / "whole")

    class Killed(Exception):
        pass

    for at in range(4):
        out, done = tmp_path / f"killed{at}", 0
        real = curating._inspect_chunk

        def chunk(*arguments: Any, real: Any = real, at: int = at) -> int:
            nonlocal done
            done += 1
            if done > at:
                raise Killed
            return int(real(*arguments))

        monkeypatch.setattr(curating, "_inspect_chunk", chunk)
        with pytest.raises(Killed):
            run(data, out)
        assert len(list((out / "work").glob("*.jsonl"))) == at
        monkeypatch.setattr(curating, "_inspect_chunk", real)
        run(data, out)
        assert contents(out) == whole
    with monkeypatch.context() as patch:  # while it is decided
        patch.setattr(curating, "dropped_page", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(data, tmp_path / "late")
    run(data, tmp_path / "late")
    assert contents(tmp_path / "late") == whole
    run(data, tmp_path / "late")  # all is there: nothing is done
    assert contents(tmp_path / "late") == whole


def test_processes_make_no_difference(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curating, "CHUNK", 5)
    run(data, tmp_path / "one")
    run(data, tmp_path / "two", processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_curation_in_the_folder_is_left_alone(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ConfigurationError, match="another curation"):
        run(data, tmp_path / "out", smallest_side=10)
    assert contents(tmp_path / "out") == before


def test_photos_in_tars_stay_in_tars(data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    members = {}
    for number, row in enumerate(rows):
        members[f"{number:04}.{row['file_name'][-3:]}"] = (data / row["file_name"]).read_bytes()
        members[f"{number:04}.txt"] = "\n".join(row["captions"]).encode()
    write_tar(tmp_path / "train-0.tar", members)
    dataset = read_dataset(tmp_path / "train-0.tar")
    curate(dataset, dataset.examples, Rules(), tmp_path / "out")
    assert "kept-00000.tar" in contents(tmp_path / "out")
    _, kept = load_examples(tmp_path / "out" / "kept-00000.tar", None, "train")
    assert [example.texts for example in kept] == [(f"{TEXTS[n % 3]} number {n}",) for n in range(5)]
    assert kept[0].image() == (data / "0.png").read_bytes()
    again = CliRunner().invoke(app, ["curate", str(tmp_path / "train-0.tar"), str(tmp_path / "out")])
    (setting,) = re.findall(r"data\.train='(.*)'", again.output)
    recipe = load_recipe(RECIPES / "fine-tune.yaml", [f"data.train={setting}"])
    assert sum(len(part.images) for part in read_data(recipe.data, 1).parts) == 3


def test_photos_keep_the_ending_of_their_kind_in_tars(data: Path, tmp_path: Path) -> None:
    members = {}
    for number, kind in enumerate(["png", "jpeg", "gif", "bmp", "tiff", "webp"]):
        stream = io.BytesIO()
        picture(number).save(stream, kind)
        members[f"{number:04}.jpg"] = stream.getvalue()
        members[f"{number:04}.txt"] = f"{TEXTS[number % 3]} number {number}".encode()
    write_tar(tmp_path / "some.tar", members)
    dataset = read_dataset(tmp_path / "some.tar")
    curate(dataset, dataset.examples, Rules(skip=("image-duplicate",)), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "kept-00000.tar") as tar:
        endings = [name.rpartition(".")[2] for name in tar.getnames() if not name.endswith(".json")]
    assert endings == ["png", "jpg", "gif", "bmp", "tif", "webp"]
    assert len(read_dataset(tmp_path / "out").examples) == 6


def test_a_report_that_no_curation_wrote_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("[")
    dataset = read_dataset(data)
    with pytest.raises(ConfigurationError, match=r"report\.json: is not valid JSON .* name another folder"):
        curate(dataset, dataset.examples, Rules(), tmp_path / "out")


@pytest.mark.parametrize("split", ["v1.0", "../../x"])
def test_a_split_of_any_name_stays_in_its_tar(split: str, data: Path, tmp_path: Path) -> None:
    members = {}
    for number in range(4):
        said = {"caption": f"{TEXTS[number % 3]} number {number}", "split": split}
        members[f"{number:04}.png"] = (data / f"{number}.png").read_bytes()
        members[f"{number:04}.json"] = json.dumps(said).encode()
    write_tar(tmp_path / "some.tar", members)
    dataset = read_dataset(tmp_path / "some.tar")
    assert curate(dataset, dataset.examples, Rules(), tmp_path / "out").kept == 4
    with tarfile.open(tmp_path / "out" / "kept-00000.tar") as tar:
        assert all("/" not in name for name in tar.getnames())
    assert len(read_dataset(tmp_path / "out").examples) == 4


def test_a_photo_with_a_row_for_each_text_stays_with_all(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(3):
        picture(number).save(folder / f"{number}.png")
        said = [f"{TEXTS[k]} number {number}" for k in range(3)] + [f"{TEXTS[0].upper()} , number {number} ."]
        rows += [{"file_name": f"{number}.png", "id": f"{number}-{k}", "caption": text} for k, text in enumerate(said)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(folder, tmp_path / "out").dropped == {"text-duplicate": 3}
    apart = [rows[k] for k in (0, 4, 8, 1, 5, 9)]  # not one after the other
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in apart))
    assert run(folder, tmp_path / "apart").dropped == {}


def test_class_names_are_kept(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "data" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    assert run(tmp_path / "data", tmp_path / "out").kept == 8


def test_nobody_elses_files_are_touched(data: Path, tmp_path: Path) -> None:
    before = contents(data)
    for place in (data, data / "curated"):
        with pytest.raises(ConfigurationError, match="part of it"):
            run(data, place)
    other = tmp_path / "other"
    other.mkdir()
    (other / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(ConfigurationError, match="other files"):
        run(data, other)
    assert contents(data) == before and contents(other) == {"metadata.jsonl": b"{}\n"}
    (other / "report.json").write_text("no JSON")
    with pytest.raises(ConfigurationError, match=r"report\.json"):
        run(data, other)


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
@pytest.mark.parametrize("name", [b"at 10:30.png", b"caf\xe9.png"])
def test_a_file_name_that_no_list_can_have_is_an_error(name: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    picture(1).save(folder / os.fsdecode(name))
    (folder / os.fsdecode(name)).with_suffix(".txt").write_text(TEXTS[0])
    with pytest.raises(PicscribeError, match=r"rename|UTF-8"):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_kill_at_the_very_end_left_is_removed(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "work").mkdir()
    (tmp_path / "out" / "work" / "000000.jsonl").write_text("")
    assert run(data, tmp_path / "out").kept == 5
    assert contents(tmp_path / "out") == before


def test_a_library_that_is_not_needed_need_not_be_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise curating.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(curating.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert run(data, tmp_path / "out", skip=("image-duplicate",)).kept == 6
    with pytest.raises(MissingPackageError, match="ImageHash"):
        run(data, tmp_path / "other")


def test_no_pairs_and_no_such_model(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photo with a text"):
        curate(read_dataset(data), (), Rules(), tmp_path / "out")
    with pytest.raises(PicscribeError, match="nowhere"):
        run(data, tmp_path / "out", model="nowhere", least_score=-4.0)
    assert not (tmp_path / "out").exists()


def test_texts_said_of_many_photos_stay_with_few(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(6):
        picture(number).save(folder / f"{number}.png")
        rows.append(
            {"file_name": f"{number}.png", "caption": "A dog, in the grass." if number % 2 else "a dog in the grass"}
        )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(folder, tmp_path / "out", text_repeats=2).dropped == {"text-duplicate": 4}
    assert run(folder, tmp_path / "all", skip=("text-duplicate",)).dropped == {}


def test_texts_that_do_not_fit_their_photo_go(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    """The mean log-probability is that of `score`; what the model finds less likely than the least goes."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = ["a dog runs on the red grass", "the cat of man sits"]
    rows = []
    for number in (1, 2, 3):
        picture(number).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "captions": names})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scribe = picscribe.load(tiny_model)
    scores = {}
    for number in (1, 2, 3):
        for text, score in zip(names, scribe.score(folder / f"{number}.png", names), strict=True):
            scores[f"{number}.png", text] = score.log_likelihood / len(score.log_probabilities)
    middle = sorted(scores.values())[3] - 1e-6
    run(folder, tmp_path / "out", model=str(tiny_model), least_score=middle, skip=("image-duplicate", "language"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert {(line["id"], line["text"]) for line in lines} == {pair for pair, score in scores.items() if score < middle}


def test_questions_are_not_curated(tmp_path: Path, data: Path) -> None:
    rows = [{"file_name": "0.png", "question": "what is it", "answer": "a dog"}]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigurationError, match="for captions and classes, not for questions"):
        run(data, tmp_path / "out")


# The command


def test_the_command(data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["curate", str(data), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "5 of 14 pairs stay, of 5 of 12 photos" in result.output
    assert run(data, tmp_path / "python").kept == 5
    (setting,) = re.findall(r"data\.train='(.*)'", result.output)
    recipe = load_recipe(RECIPES / "fine-tune.yaml", [f"data.train={setting}"])
    assert [len(part.images) for part in read_data(replace(recipe.data, held_out=0.2), 1).parts] == [3]
    assert contents(tmp_path / "out") == contents(tmp_path / "python")
    (tmp_path / "words.txt").write_text("steep\n")
    own = runner.invoke(app, ["curate", str(data), str(tmp_path / "own"), "--words", str(tmp_path / "words.txt")])
    assert own.exit_code == 0, own.output
    assert dropped(tmp_path / "own")[f"{TEXTS[2]} number 2"] == "offensive"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--skip", "tags"], 2, "unknown rule 'tags'"),
        (["--language", "xx"], 2, "'xx'"),
        (["--language", "english", "--skip", "offensive"], 2, "'english'"),
        (["--model", "nano", "--least-score", "nan"], 2, "must be a number"),
        (["--words", os.devnull], 1, "holds no words"),
        (["--model", "nano"], 2, "needs a model"),
        (["--split", "train"], 1, "has no images of the split"),
        (["--words", "nowhere.txt"], 1, "nowhere.txt"),
        (["--format", "karpaty"], 2, "karpathy"),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, words: str, data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["curate", str(data), str(tmp_path / "out"), *arguments])
    assert result.exit_code == code
    assert words in result.output
    assert not (tmp_path / "out").exists()
