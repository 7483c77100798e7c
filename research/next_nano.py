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

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUNS = Path("runs")
WORDS, CIDER = RUNS / "words", RUNS / "cider"
WORLDS = ("flickr8k", "wide")
EVERYDAY = (0.5, 0.125)
"""How much the photos of the everyday world weigh in each run of CIDEr."""
VALIDATION = {
    "everyday": ["wide/dataset_wide.json", "--images", "wide/images"],
    "flickr8k": ["flickr8k/dataset_flickr8k.json", "--images", "flickr8k/images"],
}


def recipe_of(name: str, everyday: float = 1.0) -> dict[str, Any]:
    """A recipe of this repository with the photos' labels as questions, everyday photos at a weight of their own."""
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / name).read_text(encoding="utf-8"))
    train = recipe["data"]["train"]
    for world in WORLDS:
        labels = RUNS / "proofs" / f"photo-labels-{world}" / "data"
        train.append({"path": str(labels), "images": f"{world}/images", "split": "train"})
    for data in train:
        if everyday != 1 and data["images"] == "wide/images":
            data["weight"] = everyday
    return recipe


def run(*command: str, threads: int | None = None) -> None:
    """Run a module of this repository, and show it."""
    print("$ python -m", *command, flush=True)
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    subprocess.run([sys.executable, "-m", *command], check=True, env=environment)


def train(recipe: dict[str, Any], output: Path, *settings: str, threads: int | None = None) -> Path:
    """Train to the end, or go on; the best checkpoint."""
    ended = output / "trained"
    if not ended.exists():
        file = output.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        resume = ["--resume"] if (output / "states").exists() else []
        run("picscribe", "train", str(file), *settings, "--output", str(output), *resume, threads=threads)
        ended.touch()
    return output / "best"


def make(texts: Sequence[str], *, steps: Sequence[str] = (), cider: Sequence[str] = ()) -> list[Path]:
    """The two runs of CIDEr and their mean. steps, cider: more settings of the words and of both runs."""
    RUNS.mkdir(exist_ok=True)
    for world in WORLDS:
        run("proofs.photo_questions", "--questions", "--photos", world)
    run("research.photo_labels")
    words = recipe_of("nano-wide.yaml")
    if not (RUNS / "text-only" / "training.json").exists():
        file = RUNS / "text-only.yaml"
        file.write_text(yaml.safe_dump(words, sort_keys=False), encoding="utf-8")
        run("research.text_only_decoder", str(file), *texts, "--output", str(RUNS / "text-only"))
    best = train(words, WORDS, f"start={RUNS / 'text-only'}", "network={}", *steps)

    def optimise(everyday: float) -> Path:
        recipe = recipe_of("nano-wide-cider.yaml", everyday)
        return train(recipe, CIDER.with_name(f"cider-{everyday}"), f"start={best}", *cider, threads=1)

    with ThreadPoolExecutor(len(EVERYDAY)) as runs:
        made = list(runs.map(optimise, EVERYDAY))
    mean = RUNS / "mean"
    run("research.average_runs", *map(str, made), "--output", str(mean))
    return [*made, mean]


def report(model: Path) -> None:
    """Figures of both validation sets, and captions of the example photos."""
    for name, data in VALIDATION.items():
        output = RUNS / "figures" / f"{model.parent.name}-{model.name}-{name}"
        run("picscribe", "evaluate", str(model), *data, "--split", "val", "--beams", "4", "--output", str(output))
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
