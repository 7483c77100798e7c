"""Reads videos with captions or questions: MSR-VTT's JSON, and the lists of VATEX, MSVD, MSRVTT-QA and MSVD-QA."""

from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.datasets.folder_tree import read_short_text
from picscribe.datasets.formats.coco import captions_by_id
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import (
    as_object,
    sample_json,
    split_of,
    top_list,
    usable,
    value_of,
)
from picscribe.datasets.media_folder import MediaFolder, find_folder
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, identity, inside, kind_of, shown, text
from picscribe.errors import InputError
from picscribe.media.suffixes import VIDEO_SUFFIXES
from picscribe.text_files import read_json, split_lines

FOLDERS = ("videos", "video", "all", "TrainValVideo", "TestVideo", "YouTubeClips")
"""Folders in which the videos come."""

VIDEO_KEYS = ("video_id", "videoID", "video", "video_name")
CAPTION_KEYS = ("enCap", "caption", "captions")
ANSWER_KEYS = ("answer", "answers")
QUESTION_ID_KEYS = ("question_id", "id", "qid")


def fits_captions(path: Path) -> bool:
    """Whether it looks like MSR-VTT's JSON, or like a list of videos with captions."""
    sample = sample_json(path)
    if sample is None:
        return False
    if not sample.is_list:
        return {"videos", "sentences"} <= sample.keys or {"video_id", "caption"} <= sample.keys
    return (
        _names_one(sample.keys, VIDEO_KEYS) and _names_one(sample.keys, CAPTION_KEYS) and "question" not in sample.keys
    )


def fits_questions(path: Path) -> bool:
    """Whether it looks like a list of questions about videos."""
    sample = sample_json(path)
    return sample is not None and sample.is_list and "question" in sample.keys and _names_one(sample.keys, VIDEO_KEYS)


def read_captions(path: Path, images: Path | None) -> Dataset:
    """MSR-VTT's JSON (`videos` with video_id and split, `sentences` with video_id and caption), or a list.

    The list has an object for each video (VATEX: videoID, enCap; MSVD: video_id or video, caption) or for each caption,
    and maybe a split. An example is a video, its id the id it has there; a video without captions is an oddity. Its
    file is the name that it has or, without one, its id and the first of `VIDEO_SUFFIXES` that is there; the files are
    looked for as `find_folder` says, in the folders of `FOLDERS` too.
    """
    document = read_json(path)
    if isinstance(document, dict):
        return _read_msrvtt(path, document, images)
    entries = _entries(path, document)
    videos = _Videos(path, images, entries)
    rows = Rows()
    for index, entry in enumerate(entries):
        where, split = f"{path}: [{index}]", split_of(entry)
        with rows.reading(where, split):
            key = _key(as_object(entry), CAPTION_KEYS)
            video = videos.find(entry)
            keep = rows.add if isinstance(entry[key], list) else rows.extend
            keep(Example(_video_id(entry), video, _texts(entry, key), split=split, where=where))
    return rows.dataset(path, VIDEO_CAPTIONS.name, "captions", "videos")


def read_questions(path: Path, images: Path | None) -> Dataset:
    """A list of questions: MSRVTT-QA and MSVD-QA (video_id, a number; question; answer; id), and video or video_name.

    An example's id is the question's, or its place in the list where it has none. A video that is a number is called
    video7.mp4, as in MSR-VTT, or vid7.avi, or, if MSVD's youtube_mapping.txt is next to the file, as that says.
    The files are looked for as `read_captions` does. Without answers the examples have no texts.
    """
    entries = _entries(path, read_json(path))
    videos = _Videos(path, images, entries)
    rows = Rows()
    for index, entry in enumerate(entries):
        where, split = f"{path}: [{index}]", split_of(entry)
        with rows.reading(where, split):
            question = caption(value_of(as_object(entry), "question"), "question")
            key = next((key for key in QUESTION_ID_KEYS if key in entry), None)
            name = str(index) if key is None else identity(entry[key], key)
            texts = _answers(entry)
            rows.add(Example(name, videos.find(entry), texts, question, split, where))
    rows.drop_empty_splits()
    return rows.dataset(path, VIDEO_QUESTIONS.name, "questions", "videos")


def _read_msrvtt(path: Path, document: dict[str, Any], images: Path | None) -> Dataset:
    entries = top_list(document, "videos", path)
    rows = Rows()
    splits = dict(usable(entries, lambda entry: (_video_id(entry), split_of(entry))))
    captions = captions_by_id(top_list(document, "sentences", path), "video_id", splits, f"{path}: sentences", rows)
    videos = _Videos(path, images, entries)
    for index, entry in enumerate(entries):
        where, split = f"{path}: videos[{index}]", split_of(entry)
        with rows.reading(where, split):
            name = _video_id(as_object(entry))
            if name not in captions:
                raise InputError(f"the video {shown(name)} has no captions: add a sentence, or remove the video")
            rows.add(Example(name, videos.find(entry), tuple(captions[name]), split=split, where=where))
    return rows.dataset(path, VIDEO_CAPTIONS.name, "captions", "videos")


class _Videos:
    """The files of the videos of one annotation file."""

    def __init__(self, annotations: Path, given: Path | None, entries: list[Any]) -> None:
        self._names = _read_mapping(annotations.with_name("youtube_mapping.txt"))
        samples = (file for files in usable(entries, self._files) for file in files)
        self._folder = MediaFolder(find_folder(annotations, given, samples, FOLDERS))

    def find(self, entry: dict[str, Any]) -> Path:
        """The entry's video. Raises InputError where its name could lead out of the folder."""
        return self._folder.find(self._files(entry))

    def _files(self, entry: dict[str, Any]) -> list[PurePosixPath]:
        for key in ("video", *VIDEO_KEYS):
            if isinstance(entry.get(key), str) and entry[key].lower().endswith(VIDEO_SUFFIXES):
                return [inside(entry[key], key)]
        name = _video_id(entry)
        stems = [name]
        if isinstance(entry[_key(entry, VIDEO_KEYS)], int | float):
            known = self._names.get(f"vid{name}")
            stems = [known] if known else [f"video{name}", f"vid{name}", name]
        return [inside(stem + suffix, "the video's name") for stem in stems for suffix in VIDEO_SUFFIXES]


def _read_mapping(path: Path) -> dict[str, str]:
    """MSVD's names of its numbered videos: lines such as "-4wsuPCjDBc_5_15 vid1"; empty where there is no such file."""
    if not path.is_file():
        return {}
    pairs = [line.split() for line in split_lines(read_short_text(path)) if line.strip()]
    if broken := [number for number, pair in enumerate(pairs, 1) if len(pair) != 2]:
        raise InputError(f"{path}: line {broken[0]} must be a video's name and its number, such as vid1")
    return {number: name for name, number in pairs}


def _entries(path: Path, document: Any) -> list[Any]:
    if not isinstance(document, list):
        raise InputError(
            f"{path}: expected a JSON list with an object for each video or question, found {kind_of(document)}"
        )
    return document


def _video_id(entry: dict[str, Any]) -> str:
    key = _key(entry, VIDEO_KEYS)
    return identity(entry[key], key)


def _key(entry: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of several keys that the entry has. Raises InputError that lists its keys, as `value_of`."""
    key = next((key for key in keys if key in entry), keys[0])
    value_of(entry, key)
    return key


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    value = entry[key]
    if not isinstance(value, list):
        return (caption(value, key),)
    if not value:
        raise InputError(f"{key} is empty: give at least one caption, or remove the video")
    return tuple(caption(words, f"{key}[{k}]") for k, words in enumerate(value))


def _answers(entry: dict[str, Any]) -> tuple[str, ...]:
    key = next((key for key in ANSWER_KEYS if key in entry), None)
    if key is None:
        return ()
    value = entry[key]
    answers = value if isinstance(value, list) else [value]
    if not answers:
        raise InputError(f"{key} is empty: give at least one answer, or remove the question")
    return tuple(text(answer, key) for answer in answers)


def _names_one(keys: frozenset[str], wanted: tuple[str, ...]) -> bool:
    return not keys.isdisjoint(wanted)


VIDEO_CAPTIONS = Format(
    "video-captions", "MSR-VTT, VATEX or MSVD: JSON of captions of videos", fits_captions, read_captions
)
VIDEO_QUESTIONS = Format(
    "video-questions", "MSRVTT-QA or MSVD-QA: JSON of questions about videos", fits_questions, read_questions
)
