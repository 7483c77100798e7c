"""The bundled model: it is there, small, complete, and says sensible things of photos it has not seen."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import picscribe
from picscribe.checkpoints.resolve import resolve
from picscribe.datasets import load_examples
from picscribe.evaluation.plan import Evaluation
from picscribe.evaluation.run import run
from picscribe.generation import GenerationOptions
from picscribe.media.images import open_image
from proofs.photo_questions import FLICKR8K, ask_whether, words_of

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.jpg"))


@pytest.fixture(scope="module")
def nano() -> picscribe.Scribe:
    return picscribe.load()


def test_it_is_small_and_says_how_it_came_to_be() -> None:
    folder = resolve("nano")
    assert (folder / "model.safetensors").stat().st_size <= 25e6
    record = json.loads((folder / "training.json").read_text())
    assert record["recipe"]["seed"] >= 0
    assert record["versions"]["torch"]
    assert (folder / "README.md").is_file()


@pytest.mark.skipif(shutil.which("sed") is None, reason="needs sed")
def test_the_cards_commands_make_the_recipes_of_its_record() -> None:
    """The weights of the data sets in the later runs of CIDEr are those that `sed` writes."""
    folder = resolve("nano")
    record = json.loads((folder / "training.json").read_text())
    card = (folder / "README.md").read_text(encoding="utf-8")
    edits = re.findall(r"^    sed '(.+)' (\S+) > \S+$", card, re.MULTILINE)
    for (expression, recipe), step in zip(edits, (record["before"][-2], record["mean_of"][-1]), strict=True):
        made = subprocess.run(["sed", expression, ROOT / recipe], capture_output=True, text=True, check=True).stdout
        sets = yaml.safe_load(made)["data"]["train"]
        recorded = [(one["path"], one["weight"]) for one in step["recipe"]["data"]["train"]]
        assert [(one["path"], one.get("weight", 1.0)) for one in sets] == recorded


def test_it_captions_the_example_photos(nano: picscribe.Scribe) -> None:
    captions = nano.caption(EXAMPLES)
    assert len({caption.text for caption in captions}) == len(EXAMPLES)
    for caption in captions:
        assert len(caption.text.split()) >= 4
        assert 0 < caption.confidence < 1


def test_it_looks_at_the_photo(flickr8k: Path, tmp_path: Path) -> None:
    """Captions fit their own photos, and not each other's; a broken fine-tune says the same of every image."""
    dataset, examples = load_examples(flickr8k, None, "val")
    report, _ = run(Evaluation("nano", dataset, examples[:100]), tmp_path)
    assert report.errors == {}
    assert report.scores["CIDEr"] > 0.4
    assert report.scores["CIDEr"] > 3 * report.scores["CIDEr shuffled"]
    assert report.scores["distinct"] > 0.7


def test_it_answers_questions(nano: picscribe.Scribe, flickr8k: Path) -> None:
    """Whether something is there, right clearly more often than not."""
    _, examples = load_examples(flickr8k, None, "val")
    asked = [
        (e, *pair)
        for e in examples[:60]
        for pair in ask_whether(FLICKR8K, [*map(words_of, e.texts)], random.Random(e.id))
    ]
    said = nano.answers([(open_image(example.image()), [question]) for example, question, _ in asked], beams=1)
    right = sum(one.text == answer for (one,), (_, _, answer) in zip(said, asked, strict=True))
    assert right > 0.65 * len(asked)


@pytest.mark.slow
@pytest.mark.parametrize(("beams", "row"), [(4, "Flickr8k, 4 beams (default)"), (1, "Flickr8k, greedy (`--beams 1`)")])
def test_it_reaches_its_published_figures_to_the_digit(flickr8k: Path, tmp_path: Path, beams: int, row: str) -> None:
    card = (resolve("nano") / "README.md").read_text(encoding="utf-8").splitlines()
    header = next(line for line in card if line.startswith("| photos, search |"))
    published = next(line for line in card if line.startswith(f"| {row} |"))
    dataset, examples = load_examples(flickr8k, None, "val")
    report, _ = run(
        Evaluation("nano", dataset, examples, split="val", options=GenerationOptions(beams=beams)), tmp_path
    )
    names = [cell.strip() for cell in header.split("|")[2:-1]]
    assert len(examples) == 1000
    assert [f"{report.scores[name]:.3f}" for name in names] == [cell.strip() for cell in published.split("|")[2:-1]]
