"""Reads Karpathy's dataset_*.json: the splits and captions of COCO, Flickr8k and Flickr30k that papers report on."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.examples import CaptionedImage
from picscribe.errors import InputError


def read_karpathy(annotations: Path, images: Path, split: str) -> list[CaptionedImage]:
    """The images of one split, in the file's order.

    `annotations` is a dataset_*.json (https://cs.stanford.edu/people/karpathy/deepimagesent/), `images` the folder
    that its file names are relative to (COCO's entries also hold a folder, `filepath`), `split` one of the file's
    splits or several joined with "+", such as COCO's "train+restval". An image's id is its `cocoid` where it has one,
    else its file name.

    Raises InputError where the file is not of this form, the split is unknown, an id occurs twice or an image is not
    there.
    """
    entries = _read_entries(annotations)
    splits = _wanted_splits(entries, split, annotations)
    if not images.is_dir():
        raise InputError(f"{images}: no such folder of images (for {annotations})")
    examples: dict[str, CaptionedImage] = {}
    for index, entry in entries:
        if entry["split"] not in splits:
            continue
        example = _example(entry, images, f"{annotations}: images[{index}]")
        if example.id in examples:
            raise InputError(
                f"{annotations}: images[{index}] has the id {example.id!r}, which an earlier image has too"
            )
        examples[example.id] = example
    _require_files(list(examples.values()), images)
    return list(examples.values())


def _read_entries(annotations: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        document = json.loads(annotations.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{annotations}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{annotations}: is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise InputError(f"{annotations}: is nested too deeply to be a dataset_*.json") from error
    except ValueError as error:
        raise InputError(f"{annotations}: is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{annotations}: expected a JSON object with the key 'images', found {_kind(document)}")
    entries = _field(document, "images", list, str(annotations))
    for index, entry in enumerate(entries):
        where = f"{annotations}: images[{index}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} must be an object, found {_kind(entry)}")
        _field(entry, "split", str, where)
    return list(enumerate(entries))


def _wanted_splits(entries: list[tuple[int, dict[str, Any]]], split: str, annotations: Path) -> set[str]:
    known = {entry["split"] for _, entry in entries}
    wanted = {name.strip() for name in split.split("+")}
    if unknown := wanted - known:
        raise InputError(
            f"{annotations}: no images of split {', '.join(map(repr, sorted(unknown)))}; "
            f"it has {', '.join(map(repr, sorted(known))) or 'no images at all'}"
        )
    return wanted


def _example(entry: dict[str, Any], images: Path, where: str) -> CaptionedImage:
    filename = _field(entry, "filename", str, where)
    relative = _inside(filename, f"{where}.filename")
    if "filepath" in entry:
        relative = _inside(_field(entry, "filepath", str, where), f"{where}.filepath") / relative
    sentences = _field(entry, "sentences", list, where)
    if not sentences:
        raise InputError(f"{where} ({filename}) has no sentences; each image needs at least one caption")
    identity = entry.get("cocoid", filename)
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise InputError(f"{where}.cocoid must be a whole number, found {_kind(identity)}")
    captions = tuple(_caption(sentence, f"{where}.sentences[{k}]") for k, sentence in enumerate(sentences))
    return CaptionedImage(str(identity), images / relative, captions)


def _caption(sentence: object, where: str) -> str:
    if not isinstance(sentence, dict):
        raise InputError(f"{where} must be an object with the key 'raw', found {_kind(sentence)}")
    caption = str(_field(sentence, "raw", str, where)).strip()
    if not caption:
        raise InputError(f"{where}.raw is empty; each caption needs words")
    return caption


def _inside(name: str, where: str) -> PurePosixPath:
    """A path that stays inside the folder it is relative to, on every operating system."""
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
    if outside or not path.parts:
        raise InputError(
            f"{where} is {name!r}; it must name something inside the folder of images, with / between folders"
        )
    return path


def _field(entry: dict[str, Any], key: str, kind: type[list[Any]] | type[str], where: str) -> Any:
    if key not in entry:
        raise InputError(f"{where} lacks the key {key!r}; it has {', '.join(map(repr, entry)) or 'none'}")
    if not isinstance(entry[key], kind):
        expected = "a list" if kind is list else "a text"
        raise InputError(f"{where}.{key} must be {expected}, found {_kind(entry[key])}")
    return entry[key]


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "true or false")


def _require_files(examples: list[CaptionedImage], images: Path) -> None:
    present: dict[Path, set[str]] = {}
    for folder in {example.path.parent for example in examples}:
        present[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
    missing = [example for example in examples if example.path.name not in present[example.path.parent]]
    if missing:
        shown = ", ".join(str(example.path.relative_to(images)) for example in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{images}: {len(missing)} of {len(examples)} images are not there: {shown}{more}")
