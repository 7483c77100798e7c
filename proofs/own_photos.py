"""The fine-tune a person would do: 200 photos with captions in a folder, one command, nano as the start.

    python -m proofs.own_photos

The photos are 200 of Flickr8k's validation split, which nano did not learn from; the other 800 say what it gave.
"""

import json
import shutil
from pathlib import Path

from picscribe.datasets import load_examples
from proofs.proving import evaluate, make_data, train

NAME = "own-photos"
CAPTIONS, PHOTOS = Path("../shared/data/flickr8k/dataset_flickr8k.json"), Path("../shared/data/flickr8k/images")
COUNT = 200


def write(folder: Path) -> None:
    """photos/: a text file beside each photo, a caption a line; test.json: the others, in Karpathy's form."""
    examples = load_examples(CAPTIONS, PHOTOS, "val")[1]
    (folder / "photos").mkdir()
    (folder / "images").mkdir()
    entries = []
    for number, example in enumerate(examples):
        assert isinstance(example.source, Path)
        learned = number % 5 == 0 and number < 5 * COUNT
        shutil.copy(example.source, folder / ("photos" if learned else "images") / example.source.name)
        if learned:
            text = "\n".join(example.texts) + "\n"
            (folder / "photos" / example.source.name).with_suffix(".txt").write_text(text, encoding="utf-8")
        else:
            sentences = [{"raw": text} for text in example.texts]
            entries.append({"filename": example.source.name, "split": "test", "sentences": sentences})
    (folder / "dataset.json").write_text(json.dumps({"images": entries}), encoding="utf-8")


if __name__ == "__main__":
    data = make_data(NAME, write)
    best = train(NAME, "--data", str(data / "photos"), "--from", "nano")
    images = ("--images", str(data / "images"))
    before = evaluate(NAME, Path("nano"), data / "dataset.json", "before", *images)
    after = evaluate(NAME, best, data / "dataset.json", "after", *images)
    print(f"CIDEr of the other {1000 - COUNT} photos: {before['CIDEr']:.4f} before, {after['CIDEr']:.4f} after")
