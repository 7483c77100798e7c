"""Every way in which an annotation file is known to break: the error names the file and the line or index."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import load_examples, read_dataset
from picscribe.errors import InputError

Write = Callable[..., Path]

GIANT = "A dog. " * 7_500_000
"""50 MB."""


def karpathy(**changes: Any) -> dict[str, Any]:
    """Two good images, the second with changes; a change to None is a key that is missing."""
    good = {"filename": "a.jpg", "split": "val", "sentences": [{"raw": "A dog"}]}
    return {"images": [good, changed({**good, "filename": "b.jpg"}, changes)]}


def coco(image: dict[str, Any] | None = None, annotation: dict[str, Any] | None = None) -> dict[str, Any]:
    """Two good images with a caption each, the second image and its caption with changes."""
    photos = [{"id": 1, "file_name": "a.jpg"}, changed({"id": 2, "file_name": "b.jpg"}, image or {})]
    captions = [{"image_id": 1, "caption": "A"}, changed({"image_id": 2, "caption": "B"}, annotation or {})]
    return {"images": photos, "annotations": captions}


def vqa(**changes: Any) -> dict[str, Any]:
    good = {"question_id": 1, "image_id": 1, "question": "Q?"}
    return {"data_subtype": "val2014", "questions": [good, changed({**good, "question_id": 2}, changes)]}


def textvqa(**changes: Any) -> dict[str, Any]:
    good = {"question_id": 1, "image_id": "a", "question": "Q?", "answers": ["x"], "set_name": "val"}
    return {"data": [good, changed({**good, "question_id": 2}, changes)]}


def msrvtt(video: dict[str, Any] | None = None, sentence: dict[str, Any] | None = None) -> dict[str, Any]:
    videos = [{"video_id": "a", "split": "val"}, changed({"video_id": "b", "split": "val"}, video or {})]
    sentences = [{"video_id": "a", "caption": "A"}, changed({"video_id": "b", "caption": "B"}, sentence or {})]
    return {"videos": videos, "sentences": sentences}


def vatex(**changes: Any) -> list[dict[str, Any]]:
    return [{"videoID": "a", "enCap": ["A"]}, changed({"videoID": "b", "enCap": ["B"]}, changes)]


def video_questions(**changes: Any) -> list[dict[str, Any]]:
    good = {"video": "a", "question": "Q?", "answer": "x", "id": 1}
    return [good, changed({**good, "id": 2}, changes)]


def changed(entry: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**entry, **changes}.items() if value is not MISSING}


MISSING = object()

BROKEN: dict[str, tuple[str, Any, str]] = {
    # name: (file, content, what is said after the file's name)
    "empty": ("x.json", b"", "is empty"),
    "packed": ("x.json", gzip.compress(b"{}"), "packed with gzip"),
    "cut off": ("x.json", json.dumps(karpathy())[:-30], r"not valid JSON \(.*line 1 column \d+"),
    "cut off on a later line": ("x.json", json.dumps(coco(), indent=1)[:-9], r"not valid JSON \(.*line \d\d column"),
    "two documents": ("x.json", json.dumps(coco()) * 2, r"not valid JSON \(Extra data: line 1"),
    "UTF-16": ("x.json", json.dumps(coco()).encode("utf-16"), r"is UTF-16 text: save it as UTF-8"),
    "Latin-1": ("x.json", b'{"images": [], "sentences": "caf\xe9"}', r"not UTF-8 text \(byte 32\)"),
    "too deep": ("x.json", b'{"images":' + b"[" * 200_000, "nested too deeply|not valid JSON"),
    "giant number": ("x.json", '{"images": [], "sentences": ' + "9" * 10_000 + "}", "not valid JSON"),
    "nothing in it": ("x.json", {"images": [], "annotations": []}, r"has no examples \(coco-captions\)"),
    "images an object": ("x.json", {"images": {"filename": 1}}, "images must be a list, found an object"),
    "karpathy: no images": ("x.json karpathy", {"dataset": "x"}, "lacks the key 'images'; it has 'dataset'"),
    "karpathy: a list": ("x.json karpathy", [karpathy()], "must contain a JSON object, found a list"),
    "karpathy: image a number": ("x.json", {"images": [*karpathy()["images"], 3]}, r"images\[2\]: must be an object"),
    "karpathy: no split": ("x.json", karpathy(split=MISSING), r"images\[1\]: lacks the key 'split'"),
    "karpathy: split a number": ("x.json", karpathy(split=1), r"images\[1\]: split must be a text, found a number"),
    "karpathy: no filename": ("x.json", karpathy(filename=MISSING), r"images\[1\]: lacks the key 'filename'"),
    "karpathy: filename null": ("x.json", karpathy(filename=None), r"images\[1\]: filename .* found null"),
    "karpathy: filename empty": ("x.json", karpathy(filename=""), r"images\[1\]: filename is '': name a file"),
    "karpathy: no sentences": ("x.json", karpathy(sentences=MISSING), r"images\[1\]: lacks the key 'sentences'"),
    "karpathy: no caption": ("x.json", karpathy(sentences=[]), r"images\[1\]: 'b.jpg' has no captions"),
    "karpathy: sentence a text": ("x.json", karpathy(sentences=["x"]), r"images\[1\]: sentences\[0\] must be an obj"),
    "karpathy: no raw": ("x.json", karpathy(sentences=[{"tokens": []}]), r"images\[1\]: sentences\[0\] lacks .*'raw'"),
    "karpathy: empty caption": (
        "x.json",
        karpathy(sentences=[{"raw": "\n"}]),
        r"images\[1\]: sentences\[0\]\.raw is empty",
    ),
    "karpathy: cocoid a list": ("x.json", karpathy(cocoid=[]), r"images\[1\]: cocoid must be a whole number"),
    "karpathy: same id": ("x.json", karpathy(filename="a.jpg"), r"images\[1\]: the id 'a.jpg' .*images\[0\]"),
    "karpathy: half a character": (
        "x.json",
        karpathy(sentences=[{"raw": "\ud83d"}]),
        r"images\[1\]: .* half of a char",
    ),
    "coco: no annotations": ("x.json coco-captions", {"images": []}, "lacks the key 'annotations'; it has 'images'"),
    "coco: no references": ("x.json", coco(annotation={"image_id": 1}), r"images\[1\]: the image 2 .* no captions"),
    "coco: unknown image": (
        "x.json",
        coco(annotation={"image_id": 7}),
        r"annotations\[1\]: image_id is '7', .*does not list",
    ),
    "coco: id NaN": ("x.json", coco({"id": float("nan")}), r"images\[1\]: id must be .* found the number nan"),
    "coco: id 2.5": ("x.json", coco({"id": 2.5}), r"images\[1\]: id must be a whole number .* found the number 2\.5"),
    "coco: id true": ("x.json", coco({"id": True}), r"images\[1\]: id must be .* found true or false"),
    "coco: id giant": ("x.json", coco({"id": "x" * 10**6}), r"images\[1\]: id has 1,000,000 characters"),
    "coco: same id": ("x.json", coco({"id": 1.0}), r"images\[1\]: the id '1' is there twice .*images\[0\]"),
    "coco: caption a list": (
        "x.json",
        coco(annotation={"caption": ["B"]}),
        r"annotations\[1\]: caption .* found a list",
    ),
    "coco: caption null": ("x.json", coco(annotation={"caption": None}), r"annotations\[1\]: caption .* found null"),
    "coco: caption empty": ("x.json", coco(annotation={"caption": ""}), r"annotations\[1\]: caption is empty"),
    "coco: no caption": ("x.json", coco(annotation={"caption": MISSING}), r"annotations\[1\]: lacks the key 'caption'"),
    "coco: photo missing": ("x.json", coco({"file_name": "gone.jpg"}), r"images\[1\]: .*gone\.jpg is not there"),
    "coco: name giant": ("x.json", coco({"file_name": "x" * 4000 + "/y"}), r"images\[1\]: .* is not there"),
    "coco: out of the folder": ("x.json", coco({"file_name": "../../b.jpg"}), r"images\[1\]: file_name .* inside"),
    "vqa: no subtype": ("x.json", {"questions": []}, "lacks the key 'data_subtype'.*'val2014'"),
    "vqa: subtype with a way out": (
        "x.json",
        vqa() | {"data_subtype": "/../../x"},
        r"questions\[0\]: .* inside the folder",
    ),
    "vqa: questions a text": ("x.json", vqa() | {"questions": "Q?"}, "questions must be a list, found a text"),
    "vqa: no question": ("x.json", vqa(question=MISSING), r"questions\[1\]: lacks the key 'question'"),
    "vqa: same id": ("x.json", vqa(question_id=1), r"questions\[1\]: the id '1' is there twice"),
    "vqa: image negative": ("x.json", vqa(image_id=-1), r"questions\[1\]: image_id must be a number of a COCO photo"),
    "textvqa: answers a text": ("x.json", textvqa(answers="x"), r"data\[1\]: answers must be a list, found a text"),
    "textvqa: answer a number": ("x.json", textvqa(answers=["x", 3]), r"data\[1\]: answers\[1\] must be a text"),
    "textvqa: no answers": ("x.json", textvqa(answers=[]), r"data\[1\]: answers is empty"),
    "textcaps: references empty": (
        "x.json",
        {"data": [{"image_id": "a", "reference_strs": []}]},
        r"data\[0\]: reference_strs is empty",
    ),
    "msrvtt: no sentences": ("x.json", msrvtt() | {"sentences": 3}, "sentences must be a list, found a number"),
    "msrvtt: no references": (
        "x.json",
        msrvtt(sentence={"video_id": "a"}),
        r"videos\[1\]: the video 'b' has no captions",
    ),
    "msrvtt: unknown video": ("x.json", msrvtt(sentence={"video_id": "c"}), r"sentences\[1\]: video_id is 'c'"),
    "msrvtt: same id": ("x.json", msrvtt({"video_id": "a"}), r"videos\[1\]: the id 'a' is there twice"),
    "vatex: same id": ("x.json", vatex(videoID="a"), r"\[1\]: the id 'a' is there twice"),
    "vatex: caption empty": ("x.json", vatex(enCap=["B", " "]), r"\[1\]: enCap\[1\] is empty"),
    "vatex: no video": ("x.json", vatex(videoID=MISSING), r"\[1\]: lacks the key 'video_id'; it has 'enCap'"),
    "videos: in two splits": (
        "x.json",
        [{"video": "a", "caption": "A", "split": split} for split in ("val", "test")],
        r"\[1\]: 'a' is in the split 'val' too \(.*\[0\]\)",
    ),
    "videos: an object": ("x.json video-questions", {"a": 1}, "expected a JSON list .*, found an object"),
    "videos: out of the folder": ("x.json", video_questions(video="../a"), r"\[1\]: .* inside the folder"),
    "videos: answer a list of numbers": ("x.json", video_questions(answer=[1]), r"\[1\]: answer must be a text"),
    "videos: missing": ("x.json", video_questions(video="gone"), r"\[1\]: .*gone\.mp4 is not there"),
    "tokens: Latin-1": ("x.token", b"a.jpg#0\tA\nb.jpg#0\tcaf\xe9\n", r"line 2 is not UTF-8 text \(byte 21\)"),
    "tokens: no tab": ("x.token", "a.jpg#0\tA\nb.jpg A dog\n", r"line 2: must have the form .*found 'b\.jpg A dog'"),
    "tokens: caption empty": ("x.token", "a.jpg#0\tA\nb.jpg#0\t \n", "line 2: the caption is empty"),
    "tokens: same number": ("x.token", "a.jpg#0\tA\na.jpg#0\tB\n", "line 2: caption 0 of 'a.jpg' is there twice"),
    "tokens: out of the folder": ("x.token", "a.jpg#0\tA\n../b.jpg#0\tB\n", "line 2: the photo's name .* inside"),
    "table: no caption": ("x.csv", "image,caption\na.jpg,A\nb.jpg\n", "line 3: must have 2 columns, found 1"),
    "table: open quote": ("x.csv", 'image,caption\na.jpg,"A dog\nb.jpg,B\n', "line 2: its quotes do not match"),
    "table: two bars short": ("x.csv", "image_name| comment_number| comment\na.jpg 0 A\n", "line 2: must have 3"),
    "table: only a header": ("x.csv", "image,caption\n", r"has no examples \(caption-table\)"),
    "table: no header": ("x.csv caption-table", "a.jpg,A dog\n", "line 1 must name the columns"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_broken_file_is_named_with_the_place(which: str, write: Write, tmp_path: Path) -> None:
    name, content, message = BROKEN[which]
    name, _, form = name.partition(" ")
    for photo in ("a.jpg", "b.jpg", "a.mp4", "b.mp4", "COCO_val2014_000000000001.jpg"):
        write(f"images/{photo}")
    file = write(name, content)
    split = "val+test" if "two splits" in which else None
    with pytest.raises(InputError, match=message) as caught:
        load_examples(file, tmp_path / "images", split, format=form or None)
    assert str(caught.value).startswith(f"{file}: ")
    assert len(str(caught.value)) < 1000 or which == "coco: name giant"


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("x.json", lambda: karpathy(sentences=[{"raw": GIANT}]), "images[1]"),
        ("x.json", lambda: coco(annotation={"caption": GIANT}), "annotations[1]"),
        ("x.json", lambda: vqa(question=GIANT), "questions[1]"),
        ("x.json", lambda: textvqa(answers=[GIANT]), "data[1]"),
        ("x.json", lambda: vatex(enCap=[GIANT]), "[1]"),
        ("x.token", lambda: "a.jpg#0\tA\nb.jpg#0\t" + GIANT, "line 2"),
        ("x.csv", lambda: "image,caption\na.jpg,A\nb.jpg," + GIANT, "line 3"),
    ],
)
def test_a_giant_text_spoils_its_own_row_and_is_shown_cut(
    name: str, content: Callable[[], Any], where: str, write: Write, tmp_path: Path
) -> None:
    file = write(name, content())
    dataset = read_dataset(file, tmp_path)
    assert len(dataset.examples) == 1
    oddity = dataset.oddities[0]
    assert oddity.where == f"{file}: {where}"
    assert "has 52,500,0" in oddity.problem
    assert len(oddity.problem) < 200
    assert all(len(str(other)) < 500 for other in dataset.oddities)


ANSWERS: dict[str, tuple[Any, str]] = {
    "question not answered": (
        [{"question_id": 1, "answers": [{"answer": "x"}]}],
        r"q\.json: questions\[1\]: .*'2' has no",
    ),
    "answered twice": (
        [{"question_id": 1, "answers": [{"answer": "x"}]}] * 2,
        r"annotations\[1\]: .*'1' is answered twice",
    ),
    "no answers": ([{"question_id": 1, "answers": []}], r"annotations\[0\]: answers is empty"),
    "answer a text": ([{"question_id": 1, "answers": ["x"]}], r"annotations\[0\]: answers\[0\]: must be an object"),
    "answer null": (
        [{"question_id": 1, "answers": [{"answer": None}]}],
        r"annotations\[0\]: answers\[0\]: answer must",
    ),
    "no list": ({"question_id": 1, "answers": 1}, "annotations must be a list, found an object"),
}


@pytest.mark.parametrize("which", ANSWERS)
def test_broken_answers_are_named_with_their_file(which: str, write: Write, tmp_path: Path) -> None:
    annotations, message = ANSWERS[which]
    file = write("v2_OpenEnded_q_questions.json", vqa())
    write("v2_q_annotations.json", {"annotations": annotations})
    with pytest.raises(InputError, match=message.replace(r"q\.json", r"q_questions\.json")) as caught:
        load_examples(file, tmp_path, None)
    assert "v2_q_annotations.json" in str(caught.value)


def test_broken_lists_of_splits(write: Write, tmp_path: Path) -> None:
    file = write("Flickr8k.token.txt", "a.jpg#0\tA\n")
    lists = [write("F.trainImages.txt", "a.jpg\n"), write("F.testImages.txt", "\na.jpg\n")]
    (oddity,) = read_dataset(file, tmp_path).oddities
    assert str(oddity) == f"{lists[1]}: line 2: 'a.jpg' is in the list of 'train' too"
    assert oddity.split == "test"


def test_a_byte_order_mark_and_windows_lines_do_no_harm(write: Write, tmp_path: Path) -> None:
    for document in (
        karpathy(),
        coco(),
        vqa() | {"data_subtype": "test2015"},
        textvqa(),
        msrvtt(),
        vatex(),
        video_questions(),
    ):
        text = json.dumps(document, indent=1).replace("\n", "\r\n")
        dataset = read_dataset(write("x.json", b"\xef\xbb\xbf" + text.encode()), tmp_path)
        assert (len(dataset.examples), dataset.oddities) == (2, ())
    table = read_dataset(write("x.csv", b"\xef\xbb\xbfimage,caption\r\na.jpg,A dog\r\n"), tmp_path)
    assert table.examples[0].texts == ("A dog",)
