"""`picscribe compare` on what `picscribe evaluate` wrote and on results files: what it prints and writes."""

import json
import random
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from picscribe.cli.main import app
from picscribe.evaluation.comparison import compare as compare_runs
from picscribe.evaluation.comparison import read_side

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "grass", "in", "red", "with", "and", "of"]
METRICS = ["CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "named things"]
METRICS += ["distinct", "vocabulary", "CIDEr shuffled"]


@pytest.fixture(scope="module")
def runs(photos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and the evaluations a/ (greedy) and b/ (4 beams) of 8 photos."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(photos, folder / "data" / "images")
    words = random.Random(2)
    entries = [
        {
            "filename": f"photo{number}.png",
            "cocoid": 1000 + number,
            "split": "val" if number <= 8 else "test",
            "sentences": [{"raw": " ".join(words.sample(WORDS, 6))} for _ in range(5)],
        }
        for number in range(1, 13)
    ]
    (folder / "data" / "dataset.json").write_text(json.dumps({"images": entries}))
    for name, beams in (("a", 1), ("b", 4)):
        command = ["evaluate", str(tiny_model), str(folder / "data"), "--split", "val", "--beams", str(beams)]
        result = CliRunner().invoke(app, [*command, "--output", str(folder / name)])
        assert result.exit_code == 0, result.output
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_scores_counts_settings_and_examples_are_printed(runs: Path) -> None:
    result = run(runs / "a", runs / "b" / "report.json", "--examples", 1, "--samples", 200)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    lines = result.stdout.splitlines()
    assert re.split(r"  +", lines[0]) == ["score", "A", "B", "B − A", "95 % interval", "p"]
    assert [line[:14].strip() for line in lines[1:11]] == METRICS
    expected = compare_runs(read_side(runs / "a"), read_side(runs / "b"))
    scores = json.loads((runs / "a" / "report.json").read_text())["scores"]
    for line, score in zip(lines[1:11], expected.scores, strict=True):
        cells = re.split(r"  +", line)
        assert float(cells[1]) == pytest.approx(scores[score.metric], abs=6e-5)
        assert cells[2:4] == [f"{score.second:.4f}", f"{score.difference:+.4f}"]
    assert re.fullmatch(r"8 examples, \d with the same text; by CIDEr A is better in \d, B in \d", lines[11])
    assert lines[12] == "Generation: beams: A 1, B 4"
    assert any(line.startswith("B furthest ") for line in lines[13:])
    assert sum(line.startswith("  reference ") for line in lines) <= 2


def test_the_seed_makes_the_samples(runs: Path) -> None:
    seeds = [run(runs / "a", runs / "b", "--samples", 50, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_results_files_are_compared_against_a_data_set(runs: Path) -> None:
    files = [runs / name / "predictions.json" for name in "ab"]
    plain = run(*files, "--references", runs / "data", "--split", "val")
    assert plain.exit_code == 0, plain.output
    with_reports = run(runs / "a", runs / "b").stdout.splitlines()
    with_reports.remove("Generation: beams: A 1, B 4")
    assert plain.stdout.splitlines() == with_reports
    mixed = run(runs / "a", files[1])
    assert mixed.stdout == plain.stdout


def test_all_of_it_is_written_as_json(runs: Path, tmp_path: Path) -> None:
    assert run(runs / "a", runs / "b", "--output", tmp_path / "x.json").exit_code == 0
    written = json.loads((tmp_path / "x.json").read_text())
    assert (written["first"], written["second"]) == (str(runs / "a"), str(runs / "b"))
    assert [score["metric"] for score in written["scores"]] == METRICS
    assert written["settings"] == [["Generation: beams", "1", "4"]]
    changed = written["better"] + written["worse"]
    assert len(changed) == min(5, written["first_better"]) + min(5, written["second_better"]) > 0
    predictions = {
        str(row["image_id"]): row["caption"] for row in json.loads((runs / "b/predictions.json").read_text())
    }
    assert all(predictions[change["id"]] == change["second"] for change in changed)


@pytest.mark.parametrize("with_data", [False, True])
def test_the_page_shows_the_photos_that_are_still_there(runs: Path, tmp_path: Path, with_data: bool) -> None:
    files = [runs / "a", runs / "b"]
    if with_data:
        files = [file / "predictions.json" for file in files]
    data = ["--references", runs / "data", "--split", "val"] if with_data else []
    result = run(*files, *data, "--output", tmp_path / "x.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    shown = page.count('<p class="small" dir="auto">')
    assert page.count("<img ") == shown > 0
    assert page.count('<ul aria-label="References">') == shown


def test_photos_that_have_gone_are_left_out(runs: Path, tmp_path: Path) -> None:
    for name in "ab":
        shutil.copytree(runs / name, tmp_path / name)
        items = json.loads((tmp_path / name / "items.json").read_text())
        (tmp_path / name / "items.json").write_text(json.dumps([{**item, "image": "gone.png"} for item in items]))
    assert run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "x.html").exit_code == 0
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<img " not in page
    assert "no picture" in page


def test_what_would_steer_the_terminal_is_spelled_out(runs: Path, tmp_path: Path) -> None:
    rows = json.loads((runs / "a" / "predictions.json").read_text())
    (tmp_path / "x.json").write_text(json.dumps([{**row, "caption": "a\x1b[31m dog\n\u202e"} for row in rows]))
    result = run(runs / "a", tmp_path / "x.json")
    assert result.exit_code == 0, result.output
    assert r"'a\x1b[31m dog\n\u202e'" in result.stdout
    assert "\x1b" not in result.stdout and "\u202e" not in result.stdout


def test_the_command_on_the_page_of_an_evaluation_makes_it_again(runs: Path, tmp_path: Path) -> None:
    page = (runs / "b" / "report.html").read_text(encoding="utf-8")
    (command,) = re.findall(r"<code>(picscribe evaluate .*?)</code>", page)
    words = shlex.split(unescape(command))
    again = CliRunner().invoke(app, [*words[1:], "--output", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    reports = [json.loads((folder / "report.json").read_text()) for folder in (runs / "b", tmp_path / "again")]
    for report in reports:
        del report["seconds"]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a", "nowhere.json"], 1, "nowhere.json: cannot be read"),
        (["a", "data"], 1, "report.json: cannot be read"),
        (["a/predictions.json", "b/predictions.json"], 2, "name the data set"),
        (["a", "b", "--references", "data"], 1, "has the splits 'test', 'val': name one"),
        (["a", "b", "--references", "data", "--split", "test"], 1, "not the same examples"),
        (["a", "b", "--split", "val"], 2, "--images, --format and --split are those of --references"),
        (["a", "b", "--metric", "distinct"], 2, "metric must be one of CIDEr, "),
        (["a", "b", "--output", "x.pdf"], 2, "name a file that ends in .html or .json"),
        (["a", "b", "--output", "nowhere/x.html"], 2, "there is no folder"),
        (["a", "b", "--seed", "-1"], 2, "--seed"),
    ],
)
def test_what_cannot_be_done_is_named(
    runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(runs)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert result.stdout == ""
