"""The fine-tune that a person would do: 200 pictures with captions in a folder, one command, nano as the start.

    python -m proofs.own_photos

The pictures are of a world that nano has not seen: products of Fashion-MNIST, enlarged, 20 of each class, described by
rules ("a dark gray pullover with long sleeves"). Scored before and after are 200 other products: CIDEr, and the share
of captions that name the product. Reads the files that proofs.fashion_mnist reads.
"""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from proofs.fashion_mnist import CLASSES, SOURCE, read_idx
from proofs.proving import RUNS, evaluate, make_data, train, write_lines

NAME = "own-photos"
EACH, SIDE = 20, 224
"""Products of a class for learning, and as many for scoring; pixels of a side, from 28."""
PHRASES = {
    "trousers": "pair of trousers",
    "pullover": "pullover with long sleeves",
    "coat": "coat with long sleeves",
}
BLANK = 20
"""Pixels up to this bright are background."""
SETTINGS = ("image.sizes=[128]", "optimisation.learning_rate=1e-3", "optimisation.encoder_learning_rate=3e-4")


def describe(product: np.ndarray, name: str) -> list[str]:
    """Two captions of a product, (28, 28) greys: how bright it is, and what."""
    bright = float(product[product > BLANK].mean())
    shade = "dark gray" if bright < 100 else "gray" if bright < 170 else "white"
    thing = PHRASES.get(name, name)
    return [f"a {shade} {thing}", f"a {shade} {thing} on a black background"]


def write(folder: Path) -> None:
    """photos/: a text file beside each picture, a caption a line; others/: pictures, and metadata.jsonl beside them."""
    if not SOURCE.is_dir():
        raise SystemExit(f"{SOURCE} is not there: apt install dataset-fashion-mnist, or name it in FASHION_MNIST")
    rows = []
    for part, stem in (("photos", "train"), ("others", "t10k")):
        (folder / part).mkdir()
        products = read_idx(SOURCE / f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = read_idx(SOURCE / f"{stem}-labels-idx1-ubyte.gz", 8)
        for label, name in enumerate(CLASSES):
            for number in np.flatnonzero(labels == label)[:EACH].tolist():
                file = folder / part / f"{number}.png"
                Image.fromarray(products[number]).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file)
                captions = describe(products[number], name)
                if part == "photos":
                    file.with_suffix(".txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
                else:
                    rows.append(
                        {"file_name": file.name, "captions": captions, "split": "test", "id": f"{name}/{number}"}
                    )
    write_lines(folder / "others" / "metadata.jsonl", rows)


def share_named(figure: str) -> float:
    """The share of an evaluation's captions that name the product; its id begins with the name."""
    items = json.loads((RUNS / NAME / f"evaluation-{figure}" / "items.json").read_text(encoding="utf-8"))
    return sum(is_named(item["id"].partition("/")[0], item["prediction"]) for item in items) / len(items)


def is_named(name: str, caption: str) -> bool:
    """Whether a caption has the name as a word of its own: "shirt" is not in "t - shirt"."""
    return bool(re.search(rf"(?<![\w-]){name}", caption.replace(" - ", "-")))


if __name__ == "__main__":
    data = make_data(NAME, write)
    best = train(NAME, "--data", str(data / "photos"), "--from", "nano", *SETTINGS)
    for figure, model in (("before", Path("nano")), ("after", best)):
        scores = evaluate(NAME, model, data / "others", figure)
        print(f"{figure}: CIDEr {scores['CIDEr']:.3f}, products named {share_named(figure):.3f}")
