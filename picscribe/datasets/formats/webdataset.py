"""Reads WebDataset tars: the members that share a name up to a dot are one photo and what was said of it."""

import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.columns import captions_of, find_columns
from picscribe.datasets.dataset import Dataset, Task
from picscribe.datasets.examples import Example, FileSlice
from picscribe.datasets.folder_tree import LONGEST_TEXT, decode_short, first_files, split_of_path
from picscribe.datasets.formats.class_folders import class_names
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import as_object
from picscribe.datasets.media_folder import composed
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, inside
from picscribe.errors import InputError
from picscribe.media.folders import files_below
from picscribe.media.suffixes import IMAGE_SUFFIXES
from picscribe.text_files import parse_json, require_own_content, split_lines

IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
CAPTIONS = ("txt", "caption")
LABEL = "cls"
RECORD = "json"
TEXTS = (*CAPTIONS, LABEL, RECORD)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
BLOCK = 512
"""Bytes that a tar is counted in; one of zeros says that it ends."""
CHUNK = 1 << 20
"""Bytes behind the end that are looked at at once."""


IMAGE_WORDS = ("image", "img", "photo", "picture")
"""What precedes the ending of the photo if a sample has several pictures: 0001.image.jpg and a mask."""


@dataclass
class Sample:
    """The members of one key by what follows the key: images, short texts, and None for anything else."""

    key: str
    members: dict[str, FileSlice | bytes | None] = field(default_factory=dict)

    def images(self) -> list[FileSlice]:
        """Those with an ending alone; else those with a word for a photo before it; else all."""
        found = {ending: member for ending, member in self.members.items() if isinstance(member, FileSlice)}
        plain = [member for ending, member in found.items() if "." not in ending]
        named = [member for ending, member in found.items() if ending.partition(".")[0] in IMAGE_WORDS]
        return plain or named or list(found.values())

    def texts(self) -> dict[str, bytes]:
        """The texts by their last ending; of two, the one that has only this ending."""
        found = {ending: member for ending, member in self.members.items() if isinstance(member, bytes)}
        by_last = {ending.rpartition(".")[2]: member for ending, member in reversed(list(found.items()))}
        return by_last | {ending: member for ending, member in found.items() if "." not in ending}

    def parted(self) -> "Iterator[Sample]":
        """The sample, or several where its key ends at a dot within names, as in "photo v2.0 (1).jpg".

        A longer name is one of its own where it has an image and a caption, or any text where no image has a plain
        ending.
        """
        longer: dict[str, Sample] = {}
        for ending, member in self.members.items():
            rest, dot, last = ending.rpartition(".")
            key = f"{self.key}.{rest}" if dot else self.key
            longer.setdefault(key, Sample(key)).members[last] = member
        has_plain = any(isinstance(member, FileSlice) for member in longer.get(self.key, Sample("")).members.values())
        own = [one for key, one in longer.items() if key != self.key and one.is_whole(CAPTIONS if has_plain else TEXTS)]
        taken = {f"{one.key.removeprefix(self.key)[1:]}.{last}" for one in own for last in one.members}
        left = {ending: member for ending, member in self.members.items() if ending not in taken}
        if left:
            yield Sample(self.key, left)
        yield from own

    def is_whole(self, endings: Collection[str]) -> bool:
        """Whether it has an image, and a text of one of the endings."""
        return any(isinstance(member, FileSlice) for member in self.members.values()) and any(
            ending in self.members for ending in endings
        )


def fits(path: Path) -> bool:
    """Whether it is a tar, packed or not, or a folder of tars."""
    if path.is_dir():
        return any(map(_is_tar, first_files(path)))
    return _is_tar(path) and path.is_file()


def read(path: Path, images: Path | None) -> Dataset:
    """Every sample of every tar below a folder, by name, with texts from .txt or .caption (each line is a caption),
    .json (the keys that `columns` lists) or .cls (a label, named by labels.json or classes.txt next to the tar). A key
    ends at a name's first dot, unless there are photos with captions of longer names: see `Sample.parted`. A caption in
    a .json goes before the lines of a .txt that has several.

    A sample's id is that of its .json, else the tar's name and the key: train-0001/00017. A split is a word in the name
    of the tar or its folder. Nothing is unpacked: photos stay where they are. `images` has no use here.
    Raises InputError for a packed tar, in which nothing can be found without reading all before it.
    """
    shards = [file for file in files_below(path) if _is_tar(file)] if path.is_dir() else [path]
    if images is not None:
        raise InputError(f"{path}: a WebDataset tar contains its images: leave out {images}")
    rows = Rows()
    tasks: dict[Task, str] = {}
    for shard in shards:
        name = shard.relative_to(path) if path.is_dir() else PurePosixPath(shard.name)
        split = split_of_path(name)
        classes = class_names(shard.parent)
        for where, sample in _samples(shard, rows, split):
            with rows.reading(where, split):
                task, example = _example(
                    sample, f"{name.with_suffix('').as_posix()}/{sample.key}", classes, split, where
                )
                if task not in tasks and tasks:
                    known, first = next(iter(tasks.items()))
                    raise InputError(f"has {task}, but {first} has {known}: put them into separate tars")
                tasks.setdefault(task, where)
                rows.add(example)
    return rows.dataset(path, WEBDATASET.name, next(iter(tasks), "captions"))


def _example(sample: Sample, name: str, classes: dict[str, str], split: str, where: str) -> tuple[Task, Example]:
    images, texts = sample.images(), sample.texts()
    if len(images) != 1:
        found = f"{len(images)} images" if images else f"no image, only {', '.join(sample.members)}"
        raise InputError(f"has {found}: give each sample one, such as a jpg, png or webp")
    image = images[0]
    record = _record(texts[RECORD]) if RECORD in texts else {}
    text = next((texts[ending] for ending in CAPTIONS if ending in texts), None)
    if "question" not in record and text is not None:
        lines = [line for line in split_lines(decode_short(text, "its text")) if line.strip()]
        if not lines:
            raise InputError("its text is empty: write at least one line of words, or remove the sample")
        # img2dataset writes a caption of many lines to both: in the .json it is whole.
        whole = captions_of(record) if len(lines) > 1 else ()
        captions = whole or tuple(caption(line, "a line of its text") for line in lines)
        return "captions", Example(name, image, captions, split=split, where=where)
    if LABEL in texts and "question" not in record:
        label = decode_short(texts[LABEL], "its .cls").strip()
        columns, record = find_columns(["label"], where), {"label": label}
    elif record:
        columns = find_columns(record, "its .json")
    else:
        raise InputError("has no text: add a file that ends in txt, caption, json or cls")
    return columns.task, Example(
        columns.id_of(record, name),
        image,
        columns.texts_of(record, classes),
        columns.question_of(record),
        columns.split_of(record, split),
        where,
    )


def _record(content: bytes) -> dict[str, Any]:
    return as_object(parse_json(decode_short(content, "its .json"), "its .json"), "its .json")


def require_unpacked(shard: Path) -> None:
    """Raise InputError for a packed tar, in which nothing can be found without reading all before it."""
    if shard.name.lower().endswith(COMPRESSED):
        raise InputError(f"{shard}: is a compressed tar, which cannot be read in parts: decompress it to a .tar")


def _samples(shard: Path, rows: Rows, split: str) -> Iterator[tuple[str, Sample]]:
    """Each key of a tar with its members, in the order of its first; what cannot be read is noted in `rows`."""
    require_unpacked(shard)
    samples: dict[str, Sample] = {}
    with rows.reading(str(shard), split):
        for member, content in _members(shard):
            with rows.reading(f"{shard}: {member.name}", split):
                name = inside(member.name, "the member's name")
                # The accents of one name may be composed in two ways within one tar.
                stem, _, ending = composed(name.name).partition(".")
                if not stem or not ending or member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise InputError("is a link or a sparse file: pack the file itself")
                key = composed((name.parent / stem).as_posix())
                sample = samples.setdefault(key, Sample(key))
                ending = ending.lower()
                if ending in sample.members:
                    raise InputError(f"the key {key!r} has two files .{ending}: remove one")
                is_image = ending.rpartition(".")[2] in IMAGES
                image = FileSlice(shard, member.offset_data, member.size, member.name) if is_image else None
                sample.members[ending] = image or content
    for whole in samples.values():
        for sample in whole.parted():
            yield f"{shard}: {sample.key}", sample


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Each member of a tar, and its content where it is a text. Raises InputError where the tar is broken."""
    require_own_content(shard)
    try:
        size = shard.stat().st_size
        with shard.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            name = "its first member"
            for member in archive:
                name = member.name
                if member.offset_data + member.size > size:
                    raise InputError(f"ends inside {name}: download it again")
                text = member.isreg() and member.name.rpartition(".")[2].lower() in TEXTS
                content = archive.extractfile(member) if text else None
                yield member, content.read(LONGEST_TEXT + 1) if content else None
            stream.seek(archive.offset)
            # Where a tar continues with something else than a member, tarfile takes it for the end without a word.
            if (end := stream.read(BLOCK)) != bytes(BLOCK):
                problem = (
                    "continues with something that is not a member" if end else "has no end, so more may be missing"
                )
                raise InputError(f"{problem} after {name}: download it again")
            # A hole in a download looks like the end, and so does where two tars were put one behind the other.
            if any(any(block) for block in iter(lambda: stream.read(CHUNK), b"")):
                raise InputError(
                    f"continues after its end marker (behind {name}): pack it as one tar, or download it again"
                )
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InputError(f"is not a tar that can be read ({error}): download it again") from error


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith((".tar", *COMPRESSED))


WEBDATASET = Format("webdataset", "WebDataset tars: 0001.jpg with 0001.txt, .json or .cls", fits, read)
