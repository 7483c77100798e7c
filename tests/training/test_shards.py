"""WebDataset tars that are never known all at once."""

import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picscribe.errors import ConfigurationError, InputError
from picscribe.training import shards
from picscribe.training.mixture import Batches, read_data, share_of
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
        [data.item(*pair[:2]).texts for pair in data.epoch(seed, epoch).tolist()]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    everything = Counter(item.texts for item in whole.parts[0].items)
    assert all(Counter(order) == everything for order in orders)
    assert sum(everything.values()) == sum(SIZES)
    assert len({tuple(order) for order in orders}) == 3
    again = read_data(settings(folder), 1)
    assert orders[0] == [again.item(*pair[:2]).texts for pair in again.epoch(1, 0).tolist()]


def test_few_tars_are_known_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch goes from window to window, and reads each tar but once."""
    read = Counter[Path]()
    real = shards._read

    def counted(shard: Path) -> object:
        read[shard] += 1
        return real(shard)

    monkeypatch.setattr(shards, "_read", counted)
    paths = shards.shards_of(folder, "train")
    items = shards.ShardItems(paths, window=2)
    assert read == Counter(dict.fromkeys(paths, 1))  # to count them
    order = items.order(np.random.default_rng(0))
    tars = [items[index].example.source.path for index in order.tolist()]  # type: ignore[union-attr]
    assert read == Counter(dict.fromkeys(paths, 2))
    by_window = list(dict.fromkeys(tars))
    edges = [sum(SIZES[paths.index(tar)] for tar in by_window[:count]) for count in (2, 4, 6)]
    starts = [0, *edges[:-1]]
    for start, end in zip(starts, edges, strict=True):
        assert len(set(tars[start:end])) == 2
    assert items._read.cache_info().currsize <= 4
    with pytest.raises(IndexError):
        items[len(items)]


def test_processes_share_a_step_without_overlap(folder: Path) -> None:
    batches = Batches(read_data(settings(folder), 1), 1, batch=4, shares=2)
    seen = []
    for step in range(batches.steps_an_epoch):
        _, items = batches.of_step(step)
        shares = [share_of(items, share, 2) for share in range(2)]
        seen += [item.id for share in shares for item, _ in share]
    assert len(seen) == len(set(seen)) >= sum(SIZES) - 3


def test_what_cannot_be_streamed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name the data to validate on"):
        read_data(DataSettings((Source(str(folder), "train", stream=True),)), 1)
    with pytest.raises(InputError, match=r"no \.tar file of split 'test'"):
        shards.shards_of(folder, "test")
    with pytest.raises(InputError, match=r"has no \.tar file"):
        shards.shards_of(tmp_path, "")
    write_tar(tmp_path / "train-0.tar", 2)
    whole = (tmp_path / "train-0.tar").read_bytes()
    data = DataSettings((Source(str(tmp_path), stream=True),), (Source(str(folder), "val"),))
    (tmp_path / "train-1.tar").write_bytes(whole[:3000])
    assert any("train-1.tar" in place for place in read_data(data, 1).odd())
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
    assert (data.epoch_size(), len(data.odd())) == (1, 3)
    assert all("train-0.tar" in place for place in data.odd())
