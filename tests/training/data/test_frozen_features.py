"""Frozen features on disk: what the network computes of the right view, in the right file, whole or not at all."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import EfficientNetLiteConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.training.data import frozen_features
from picscribe.training.data.augmentation import draw_view
from picscribe.training.data.frozen_features import FrozenFeatures
from picscribe.training.recipe import Augmentation

SIZE, BLOCKS = 64, 4
AUGMENTATION = Augmentation(min_area=0.5, max_stretch=1.25, mirror=True)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite(EfficientNetLiteConfig(0, SIZE)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(1)
    examples = []
    for number in range(8):
        pixels = torch.randint(0, 256, (3, 4, 3), generator=generator, dtype=torch.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels.numpy()).resize((48 + 2 * number, 64)).save(path)
        examples.append(Example(path.name, path, (f"a photo of number {number}", "a photo")))
    return examples


@pytest.fixture
def make(encoder: EfficientNetLite, photos: list[Example], tmp_path: Path) -> Any:
    def build(**changes: Any) -> FrozenFeatures:
        settings = {
            "encoder": encoder,
            "blocks": BLOCKS,
            "images": photos,
            "preprocessing": Preprocessing(SIZE, "square"),
            "augmentation": AUGMENTATION,
            "seed": 1,
            "folder": tmp_path / "features",
        }
        return FrozenFeatures(**settings | changes)

    return build


def computed(features: FrozenFeatures, view: int) -> torch.Tensor:
    """The oracle: each image alone, in float32, its view drawn again."""
    rows = []
    for example in features.images:
        draw = random.Random(f"{features.seed}/{example.id}/{view}")
        image = draw_view(open_image(example.image()), SIZE, features.augmentation, draw, can_mirror=True)
        rows.append(features.encoder.encode_until(features.blocks, features.preprocessing(image)[None]))
    return torch.cat(rows)


def test_features_are_those_of_the_views_computed_directly(make: Any) -> None:
    features = make()
    features.prepare(0)
    found, expected = features.read(0, range(8)).float(), computed(features, 0)
    assert found.shape == (8, *features.shape)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0.02, atol=0.01)


def test_images_come_in_the_order_asked_for(make: Any) -> None:
    features = make()
    features.prepare(0)
    everything = features.read(0, range(8))
    assert torch.equal(features.read(0, [5, 2, 2]), everything[[5, 2, 2]])
    assert len({tuple(row.flatten().tolist()) for row in everything}) == 8


def test_more_images_than_a_batch_keep_their_places(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = make(), make(folder=make().folder / "pieces")
    whole.prepare(0)
    monkeypatch.setattr(frozen_features, "BATCH", 3)
    counts: list[int] = []
    pieces.prepare(0, counts.append)
    assert counts == [3, 6, 8]
    torch.testing.assert_close(pieces.read(0, range(8)).float(), whole.read(0, range(8)).float(), rtol=0.05, atol=0.05)


def test_a_view_differs_from_another_and_the_same_seed_gives_it_again(make: Any, tmp_path: Path) -> None:
    features, again = make(), make(folder=tmp_path / "again")
    for view in (0, 1):
        features.prepare(view)
        again.prepare(view)
        assert torch.equal(features.read(view, range(8)), again.read(view, range(8)))
    differs = (features.read(0, range(8)) != features.read(1, range(8))).flatten(1).any(1)
    assert differs.all()


def test_other_words_about_the_same_photos_share_their_views(make: Any, photos: list[Example]) -> None:
    features = make()
    other = [replace(photo, texts=("quite another", "what is it"), split="train") for photo in photos]
    assert make(images=other).key == features.key
    sided = [replace(photos[0], texts=("a dog on the left",)), *photos[1:]]
    assert make(images=sided).key != features.key, "which may not be mirrored"
    assert make(images=photos[::-1]).key != features.key


def test_another_seed_gives_other_views(make: Any) -> None:
    features, other = make(), make(seed=2)
    features.prepare(0)
    other.prepare(0)
    assert (features.read(0, range(8)) != other.read(0, range(8))).flatten(1).any(1).all()


def test_a_full_disk_is_told_of_before_anything_is_computed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frozen_features.os, "posix_fallocate", full, raising=False)
    features = make()
    with pytest.raises(PicscribeError, match=r"no room for a view's features.*No space left"):
        features.prepare(0)
    assert not list(features.folder.iterdir())


def changed_weights(encoder: EfficientNetLite, block: int) -> EfficientNetLite:
    other = EfficientNetLite(encoder.config).requires_grad_(False)
    other.load_state_dict(encoder.state_dict())
    other.blocks[block].project.bias[0] += 1e-3
    return other


def test_whatever_the_features_depend_on_names_another_file(
    make: Any, encoder: EfficientNetLite, photos: list[Example]
) -> None:
    recaptioned = [replace(photos[0], texts=("a dog on the left", "a photo")), *photos[1:]]
    keys = {
        "as it is": make().key,
        "seed": make(seed=2).key,
        "augmentation": make(augmentation=replace(AUGMENTATION, mirror=False)).key,
        "blocks": make(blocks=BLOCKS + 1).key,
        "weights": make(encoder=changed_weights(encoder, BLOCKS - 1)).key,
        "caption": make(images=recaptioned).key,
        "fewer images": make(images=photos[1:]).key,
        "other order": make(images=photos[::-1]).key,
        "preprocessing": make(preprocessing=Preprocessing(SIZE, "square", mean=(0.5, 0.5, 0.5))).key,
    }
    assert len(set(keys.values())) == len(keys), keys


def test_what_they_do_not_depend_on_finds_the_same_file(make: Any, encoder: EfficientNetLite, tmp_path: Path) -> None:
    assert make().key == make(folder=tmp_path / "elsewhere").key
    assert make().key == make(encoder=changed_weights(encoder, BLOCKS)).key, "a trained block's weights do not count"


def test_a_view_on_disk_is_read_and_not_computed_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    first.prepare(0)
    second = make()
    monkeypatch.setattr(second, "read_pixels", lambda *_: pytest.fail("computed again"))
    second.prepare(0)
    assert torch.equal(first.read(0, range(8)), second.read(0, range(8)))


def test_what_was_left_half_done_is_never_taken_for_whole(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_features, "BATCH", 3)
    broken = make()

    def die(done: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.prepare(0, die)
    assert not list(broken.folder.glob("*.bf16"))
    assert not list(broken.folder.iterdir()), "what is half done is cleared away"
    again = make()
    again.prepare(0)
    assert again.read(0, [7]).abs().sum() > 0
    assert [path.name for path in again.folder.iterdir()] == [f"{again.key}-0.bf16"]


def test_a_file_of_another_length_is_computed_again(make: Any) -> None:
    first = make()
    first.prepare(0)
    expected = first.read(0, range(8)).clone()
    path = first.folder / f"{first.key}-0.bf16"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100])
    second = make()
    second.prepare(0)
    assert torch.equal(second.read(0, range(8)), expected)


def test_an_image_that_cannot_be_read_is_named(make: Any, photos: list[Example], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    features = make(images=[*photos, Example("broken.jpg", broken, ("a photo",))])
    features.prepare(0)
    assert [features.is_unreadable(index, 0) for index in range(9)] == [False] * 8 + [True]
    assert "broken.jpg" in features.explain_unreadable(8, 0)


def test_frozen_blocks_that_overflow_are_told_from_photos_that_cannot_be_read(
    make: Any, encoder: EfficientNetLite
) -> None:
    broken = changed_weights(encoder, 0)
    broken.stem.weight.data[:] = torch.inf
    with pytest.raises(PicscribeError, match="frozen blocks of the image encoder give numbers that are not finite"):
        make(encoder=broken).prepare(0)


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("a dog on the left", False),
        ("the Right hand of a man", False),
        ("a right-handed man", False),
        ("a bright sky", True),
        ("he leftist copyright", True),
    ],
)
def test_an_image_whose_captions_name_a_side_is_never_mirrored(
    make: Any, tmp_path: Path, caption: str, mirrored: bool
) -> None:
    path = tmp_path / "half.png"
    image = Image.new("RGB", (SIZE, SIZE))
    image.paste((255, 255, 255), (SIZE // 2, 0, SIZE, SIZE))
    image.save(path)
    features = make(
        images=[Example("half.png", path, ("a photo", caption))],
        augmentation=Augmentation(1.0, 1.0, mirror=True),
    )
    seen = {
        bool(pixels[0, 5, 5] > pixels[0, 5, -5]) for pixels in (features.read_pixels(0, view) for view in range(20))
    }
    assert seen == ({False, True} if mirrored else {False})
