"""Makes a candidate for the next nano in one go, from ImageNet's weights to its figures.

    pip install --no-deps timm  # the names of ImageNet's classes
    python -m research.next_nano wide/text_only/*.json

Questions and labels; sentences without photos; words; two runs of CIDEr, one core each; the mean of their weights. Then
the validation figures of all three, and what they say of the example photos. A step that has ended is not done again,
and a run that was stopped goes on: give the same command once more. Needs the extra train and the data of the card.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

import picscribe
from proofs.proving import RUNS, evaluate, train

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SENTENCES, WORDS, MEAN = "next-nano-sentences", "next-nano-words", "next-nano"
"""Folders below runs/proofs."""
WORLDS = ("flickr8k", "wide")
EVERYDAY = (0.5, 0.125)
"""How much the photos of the everyday world weigh in each run of CIDEr."""


def recipe_of(name: str, everyday: float = 1.0) -> dict[str, Any]:
    """A recipe of this repository with the photos' labels as questions, everyday photos at a weight of their own."""
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))
    train = recipe["data"]["train"]
    for world in WORLDS:
        labels = RUNS / f"photo-labels-{world}" / "data"
        train.append({"path": str(labels), "images": f"{world}/images", "split": "train"})
    for data in train:
        if everyday != 1 and data["images"] == "wide/images":
            data["weight"] = everyday
    return recipe


def written(recipe: dict[str, Any], name: str) -> str:
    """The file of a recipe, written."""
    RUNS.mkdir(parents=True, exist_ok=True)
    file = RUNS / f"{name}.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return str(file)


def run(module: str, *arguments: str) -> None:
    """Run a module of this repository."""
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def make(texts: Sequence[str]) -> list[Path]:
    """The two runs of CIDEr and their mean."""
    for world in WORLDS:
        run("proofs.photo_questions", "--questions", "--photos", world)
    run("research.photo_labels")
    words, sentences, mean = written(recipe_of("nano-wide.yaml"), WORDS), RUNS / SENTENCES, RUNS / MEAN / "mean"
    if not (sentences / "training.json").exists():
        run("research.text_only_decoder", words, *texts, "--output", str(sentences))
    best = train(WORDS, words, f"start={sentences}", "network={}")

    def optimise(everyday: float) -> Path:
        name = f"next-nano-cider-{everyday}"
        return train(name, written(recipe_of("nano-wide-cider.yaml", everyday), name), f"start={best}")

    os.environ["OMP_NUM_THREADS"] = "1"  # a core for each run
    with ThreadPoolExecutor(len(EVERYDAY)) as runs:
        made = list(runs.map(optimise, EVERYDAY))
    del os.environ["OMP_NUM_THREADS"]
    run("research.average_runs", *map(str, made), "--output", str(mean))
    return [*made, mean]


def report(model: Path) -> None:
    """Figures of both validation sets, and captions of the example photos."""
    for world in WORLDS:
        data = Path(world, f"dataset_{world}.json")
        name = f"{model.parent.parent.name}-{world}" if model.name == "best" else world
        evaluate(MEAN, model, data, name, "--images", f"{world}/images", "--beams", "4", split="val")
    photos = sorted(EXAMPLES.glob("*.jpg"))
    for photo, caption in zip(photos, picscribe.load(str(model)).captions(photos), strict=True):
        print(f"{photo.name}: {caption.text}")


def main() -> None:
    """Make it, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", help="JSON objects of lists of sentences")
    arguments = parser.parse_args()
    for model in make(arguments.texts):
        report(model)


if __name__ == "__main__":
    main()
