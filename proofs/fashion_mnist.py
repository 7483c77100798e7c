"""Classification by generating the class name: Fashion-MNIST, 60,000 pictures of clothes to learn, 10,000 to name.

    python -m proofs.fashion_mnist

Reads the files of Debian's package dataset-fashion-mnist, or of the folder that FASHION_MNIST names. Reported are free
generation, and generation that can write nothing but a class name.
"""

import gzip
import os
from pathlib import Path

import numpy as np
from PIL import Image

from proofs.proving import evaluate, make_data, train, write_lines

NAME = "fashion-mnist"
SOURCE = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def read_idx(file: Path, header: int) -> np.ndarray:
    """The bytes of an IDX file after its header."""
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


def write(folder: Path) -> None:
    """A PNG each in train/ and test/, and the name of its class."""
    if not SOURCE.is_dir():
        raise SystemExit(f"{SOURCE} is not there: apt install dataset-fashion-mnist, or name it in FASHION_MNIST")
    rows = []
    for split, stem in (("train", "train"), ("test", "t10k")):
        photos = read_idx(SOURCE / f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = read_idx(SOURCE / f"{stem}-labels-idx1-ubyte.gz", 8)
        (folder / split).mkdir()
        for number, (photo, label) in enumerate(zip(photos, labels.tolist(), strict=True)):
            Image.fromarray(photo).save(folder / split / f"{number}.png")
            rows.append({"file_name": f"{split}/{number}.png", "label": CLASSES[label], "split": split})
    write_lines(folder / "metadata.jsonl", rows)
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")


if __name__ == "__main__":
    data = make_data(NAME, write)
    best = train(NAME)
    evaluate(NAME, best, data, "free", "--beams", "1", "--batch-size", "100")
    evaluate(NAME, best, data, "among-labels", "--labels", str(data / "names.txt"), "--batch-size", "100")
