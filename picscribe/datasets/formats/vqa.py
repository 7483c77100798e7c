"""Reads VQA v2: questions about COCO's photos in one JSON file, the answers of ten annotators each in another."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example, Oddity
from picscribe.datasets.folder_tree import subfolders
from picscribe.datasets.formats.coco import COCO_FOLDERS
from picscribe.datasets.formats.format import Format
from picscribe.datasets.json_files import as_object, field, sample_json, top_list, usable, value_of
from picscribe.datasets.media_folder import MediaFolder, find_folder
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import caption, identity, inside, shown, text
from picscribe.errors import InputError
from picscribe.text_files import read_json_object

Answers = dict[str, tuple[str, ...]]


def fits(path: Path) -> bool:
    """Whether it looks like a file of questions; a file of answers alone is no data set."""
    sample = sample_json(path)
    return sample is not None and not sample.is_list and "questions" in sample.keys


def read(path: Path, images: Path | None) -> Dataset:
    """The questions in their order (https://visualqa.org/vqa_v2_teaser.html says of what both files hold).

    The answers come from the file next to it that has the official name (v2_OpenEnded_mscoco_val2014_questions.json
    goes with v2_mscoco_val2014_annotations.json), otherwise from the one .json file next to it that answers its first
    question, else from that of the official name in v2_Annotations_Val_mscoco/ next to v2_Questions_Val_mscoco/, or
    annotations/ next to questions/. Without answers the examples have no texts, which is an oddity unless it is a test
    split, whose answers are kept back. The split is `data_subtype`,
    such as val2014, from which the photos are named: COCO_val2014_000000000042.jpg, or 000000000042.jpg as COCO named
    them later. They are looked for as `find_folder` says, in val2014/ and the like too. A question that the file of
    answers lacks is an oddity; answers to questions that are not asked are left alone.
    """
    document = read_json_object(path)
    entries = top_list(document, "questions", path)
    try:
        split = caption(value_of(document, "data_subtype"), "data_subtype")
    except InputError as error:
        raise InputError(
            f"{path}: {error}: add it; it is the split, such as 'val2014', and decides the names of the photos"
        ) from error
    names = (name for names in usable(entries, lambda entry: _files(entry, split)) for name in names)
    folder = MediaFolder(find_folder(path, images, names, COCO_FOLDERS))
    rows = Rows()
    source = _answer_file(path, next(usable(entries, _question_id), ""))
    answers = _read_answers(source, split, rows) if source else None
    for index, entry in enumerate(entries):
        where = f"{path}: questions[{index}]"
        with rows.reading(where, split):
            name, question = _question_id(as_object(entry)), caption(value_of(entry, "question"), "question")
            if answers is not None and name not in answers:
                raise InputError(
                    f"the question {shown(name)} has no answers in {source}: add them, or remove the question"
                )
            texts = answers[name] if answers is not None else ()
            rows.add(Example(name, folder.find(_files(entry, split)), texts, question, split, where))
    if rows.examples and answers is None and not split.startswith("test"):
        problem = f"there are none: put {_official_name(path)} next to it"
        rows.oddities.append(Oddity(f"{path}: answers", problem, split))
    rows.drop_empty_splits()
    return rows.dataset(path, VQA.name, "questions")


def _question_id(entry: dict[str, Any]) -> str:
    return identity(value_of(entry, "question_id"), "question_id")


def _files(entry: dict[str, Any], split: str) -> list[PurePosixPath]:
    image = identity(value_of(entry, "image_id"), "image_id")
    if not (image.isascii() and image.isdigit()):
        raise InputError(f"image_id must be a number of a COCO photo, found {shown(image)}")
    # The questions of test-dev2015 are about photos of test2015.
    folder = split.replace("-dev", "")
    return [inside(name, "image_id") for name in (f"COCO_{folder}_{image:>012}.jpg", f"{image:>012}.jpg")]


def _answer_file(questions: Path, first: str) -> Path | None:
    """The file of answers that goes with the questions, of which `first` is the first id."""
    official = questions.with_name(_official_name(questions))
    if official.is_file():
        return official
    beside = [path for path in sorted(questions.parent.glob("[!.]*.json")) if _answers_fit(path)]
    found = [path for path in beside if _answers(path, first)]
    if not found:
        # The official zips unpack into v2_Questions_Val_mscoco/ and v2_Annotations_Val_mscoco/.
        own = questions.absolute().parent
        paired = own.name.lower().replace("questions", "annotations")
        folders = [folder for folder in subfolders(own.parent) if folder.name.lower() == paired != own.name.lower()]
        found = [file for folder in folders if (file := folder / official.name).is_file()]
    if len(found) > 1:
        listed = ", ".join(path.name for path in found[:4])
        raise InputError(f"{questions}: several files have answers to its questions ({listed}): keep one")
    return found[0] if found else None


def _official_name(questions: Path) -> str:
    """What the file of answers is called, v2_mscoco_val2014_annotations.json, as far as the questions' name tells."""
    stem = questions.stem.replace("OpenEnded_", "").replace("MultipleChoice_", "")
    return stem.removesuffix("questions").rstrip("_") + "_annotations.json"


def _answers_fit(path: Path) -> bool:
    sample = sample_json(path)
    return sample is not None and {"question_id", "answers"} <= sample.keys and "question" not in sample.keys


def _answers(path: Path, question: str) -> bool:
    annotations = top_list(read_json_object(path), "annotations", path)
    return any(name == question for name in usable(annotations, _question_id))


def _read_answers(path: Path, split: str, rows: Rows) -> Answers:
    answers: Answers = {}
    for index, annotation in enumerate(top_list(read_json_object(path), "annotations", path)):
        with rows.reading(f"{path}: annotations[{index}]", split):
            name = _question_id(as_object(annotation))
            if name in answers:
                raise InputError(f"question {shown(name)} is answered twice: remove one")
            given = field(annotation, "answers", list)
            if not given:
                raise InputError("answers is empty: give at least one answer, or remove the question")
            answers[name] = tuple(_texts(given))
    return answers


def _texts(given: list[Any]) -> Iterator[str]:
    for index, answer in enumerate(given):
        try:
            yield text(value_of(as_object(answer), "answer"), "answer")
        except InputError as error:
            raise InputError(f"answers[{index}]: {error}") from error


VQA = Format("vqa", "VQA v2: a questions JSON, with its annotations JSON next to it", fits, read)
