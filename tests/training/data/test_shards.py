"""WebDataset tars that are never known all at once."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picscribe.datasets import read_dataset
from picscribe.errors import ConfigurationError, InputError
from picscribe.training.data import shards
from picscribe.training.data.mixture import BatchSchedule
from picscribe.training.data.reading import read_data
from picscribe.training.recipe import DataSettings, Source

SIZES = [3, 5, 1, 4, 6, 2]


def write_tar(path: Path, images: int) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(images):
            photo = io.BytesIO()
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(photo, "PNG")
            for ending, content in (("png", photo.getvalue()), ("txt", f"photo {number} of {path.stem}".encode())):
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number, images in enumerate(SIZES):
        write_tar(folder / f"train-{number:04}.tar", images)
    write_tar(folder / "val-0000.tar", 2)
    return folder


def settings(folder: Path, stream: bool = True) -> DataSettings:
    validation = (Source(str(folder), "val"),)
    return DataSettings((Source(str(folder), "train", stream=stream),), validation)


def test_every_image_once_an_epoch_in_an_order_the_seed_decides(folder: Path) -> None:
    data, whole = read_data(settings(folder), 1), read_data(settings(folder, stream=False), 1)
    orders = [
        [data.image(*pair[:2]).texts for pair in data.draw_epoch(seed, epoch).tolist()]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    everything = Counter(image.texts for image in whole.parts[0].images)
    assert all(Counter(order) == everything for order in orders)
    assert sum(everything.values()) == sum(SIZES)
    assert len({tuple(order) for order in orders}) == 3
    again = read_data(settings(folder), 1)
    assert orders[0] == [again.image(*pair[:2]).texts for pair in again.draw_epoch(1, 0).tolist()]


def test_few_tars_are_known_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch goes from window to window, and reads each tar but once."""
    read = Counter[Path]()
    real = shards._read

    def counted(tar: shards.Tar, wanted: frozenset[str] | None) -> object:
        read[tar.path] += 1
        return real(tar, wanted)

    monkeypatch.setattr(shards, "_read", counted)
    tars = [tar for tar in shards.list_tars(folder) if tar.split == "train"]
    paths = [tar.path for tar in tars]
    items = shards.ShardedImages(tars, window=2)
    assert read == Counter(dict.fromkeys(paths, 1))  # to count them
    order = items.draw_order(np.random.default_rng(0))
    seen = [items[index].example.source.path for index in order.tolist()]  # type: ignore[union-attr]
    assert read == Counter(dict.fromkeys(paths, 2))
    by_window = list(dict.fromkeys(seen))
    edges = [sum(SIZES[paths.index(tar)] for tar in by_window[:count]) for count in (2, 4, 6)]
    starts = [0, *edges[:-1]]
    for start, end in zip(starts, edges, strict=True):
        assert len(set(seen[start:end])) == 2
    assert items._read.cache_info().currsize <= 4
    with pytest.raises(IndexError):
        items[len(items)]


def test_processes_share_a_step_without_overlap(folder: Path) -> None:
    schedule = BatchSchedule(read_data(settings(folder), 1), 1, batch_images=4, shares=2)
    seen = []
    for step in range(schedule.steps_an_epoch):
        shares = [schedule.images_of(step)[share::2] for share in range(2)]
        seen += [drawn.image.id for share in shares for drawn in share]
    assert len(seen) == len(set(seen)) >= sum(SIZES) - 3


def test_what_cannot_be_streamed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="so nothing can be held out: set data"):
        read_data(DataSettings((Source(str(folder), "train", stream=True),)), 1)
    with pytest.raises(InputError, match=r"has no images of the split 'test': name another; it has 'train', 'val'"):
        shards.read_shards(folder, "test")
    with pytest.raises(InputError, match=r"has the splits 'train', 'val': name one"):
        shards.read_shards(folder, "")
    with pytest.raises(InputError, match=r"has no \.tar file"):
        shards.read_shards(tmp_path, "")
    (tmp_path / "packed-0.tar.gz").touch()
    with pytest.raises(InputError, match=r"packed-0\.tar\.gz: is a compressed tar"):
        shards.read_shards(tmp_path, "")
    (tmp_path / "packed-0.tar.gz").unlink()
    write_tar(tmp_path / "train-0.tar", 2)
    whole = (tmp_path / "train-0.tar").read_bytes()
    data = DataSettings((Source(str(tmp_path), stream=True),), (Source(str(folder), "val"),))
    (tmp_path / "train-1.tar").write_bytes(whole[:3000])
    assert any("train-1.tar" in place for place in read_data(data, 1).unusable())
    (tmp_path / "train-1.tar").write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"train-1\.tar"):
        read_data(data, 1)


def test_samples_that_cannot_be_used_are_left_out_and_told_of(folder: Path, tmp_path: Path) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (8, 8)).save(photo, "PNG")
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name, content in (
            ("0.png", photo.getvalue()), ("0.txt", b"a photo"), ("1.png", photo.getvalue()),
            ("2.png", photo.getvalue()), ("2.txt", b" \n"), ("3.json", b"no JSON"), ("3.png", photo.getvalue()),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    data = read_data(DataSettings((Source(str(tmp_path), stream=True),), (Source(str(folder), "val"),)), 1)
    assert (data.epoch_size(), len(data.unusable())) == (1, 3)
    assert all("train-0.tar" in place for place in data.unusable())


def test_splits_are_those_of_the_samples(folder: Path, tmp_path: Path) -> None:
    """As without streaming: by what a sample's .json says, and else by the tar's name or its folder's."""
    photo = io.BytesIO()
    Image.new("RGB", (8, 8)).save(photo, "PNG")
    for name, splits in (("mixed", ("train", "test", "train")), ("test", ("test",))):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for number, split in enumerate(splits):
                record = json.dumps({"caption": f"{name} {number}", "split": split}).encode()
                for ending, content in (("png", photo.getvalue()), ("json", record)):
                    member = tarfile.TarInfo(f"{number}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (tmp_path / "val").mkdir()
    write_tar(tmp_path / "val" / "0.tar", 2)
    whole = read_dataset(tmp_path)
    for split, count in (("train", 2), ("test", 2), ("val", 2), ("train + val", 4)):
        items = shards.read_shards(tmp_path, split)
        assert len(items) == len(whole.select(split)) == count
        assert {item.texts for item in items} == {(("", example.texts[0]),) for example in whole.select(split)}
    assert len(shards.read_shards(folder / "train-0000.tar", "")) == SIZES[0], "a single tar"


def test_other_samples_are_other_data(tmp_path: Path) -> None:
    """Tars are padded, so that another one is often as long."""
    write_tar(tmp_path / "a.tar", 4)
    items = shards.read_shards(tmp_path, "")
    before, size = items.digest, (tmp_path / "a.tar").stat().st_size
    write_tar(tmp_path / "a.tar", 3)
    assert (tmp_path / "a.tar").stat().st_size == size
    assert shards.read_shards(tmp_path, "").digest != before
    with pytest.raises(InputError, match=r"a\.tar: has fewer samples than when the run began"):
        items[3]
