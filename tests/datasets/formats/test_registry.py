"""The registry: what a file or folder is known as, and what is said where nothing or too much fits."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.datasets import FORMATS, load_examples, read_dataset
from picscribe.errors import ConfigurationError, InputError

Write = Callable[..., Path]

KARPATHY = {"images": [{"filename": "a.jpg", "split": "val", "sentences": [{"raw": "A"}]}]}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "A"}]}
QUESTIONS = {"data_subtype": "val2014", "questions": [{"question_id": 1, "image_id": 2, "question": "Q?"}]}
DOCUMENTS = {
    "karpathy": KARPATHY,
    "coco-captions": COCO,
    "vqa": QUESTIONS,
    "textvqa": {"data": [{"question_id": 1, "image_id": "a", "question": "Q?", "answers": ["x"]}]},
    "textcaps": {"data": [{"image_id": "a", "caption_str": "A", "reference_strs": ["A"]}]},
    "video-captions": [{"videoID": "a", "enCap": ["A"]}],
    "video-questions": [{"video_id": 1, "question": "Q?", "answer": "x"}],
}


def test_names_are_one_of_a_kind() -> None:
    names = [form.name for form in FORMATS]
    assert len(set(names)) == len(names) == 17
    assert all(form.summary and "\n" not in form.summary for form in FORMATS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_fits_its_own_form_only(name: str, write: Write, tmp_path: Path) -> None:
    file = write("annotations.json", DOCUMENTS[name])
    assert [form.name for form in FORMATS if form.fits(file)] == [name]
    assert read_dataset(file, tmp_path).format == read_dataset(file, tmp_path, format=name).format == name


@pytest.mark.parametrize("name", [form.name for form in FORMATS])
def test_no_form_fits_strange_files_or_raises(name: str, write: Write, tmp_path: Path) -> None:
    form = next(form for form in FORMATS if form.name == name)
    strange = [
        write("empty.json"),
        write("empty.txt"),
        write("number.json", "3"),
        write("zeros.json", bytes(1000)),
        write("zeros.csv", bytes(1000)),
        write("text.txt", "Hello\n"),
        tmp_path / "missing.json",
        tmp_path / "missing.token",
    ]
    (tmp_path / "folder.json").mkdir()
    assert not [path for path in [*strange, tmp_path / "folder.json"] if form.fits(path)]


def test_a_folder_is_read_as_the_annotation_file_in_it(write: Write, tmp_path: Path) -> None:
    file = write("captions.json", COCO)
    write("images/a.jpg")
    write("other.json", {"version": 1})
    write("readme.txt", "image of the data\n")
    dataset = read_dataset(tmp_path)
    assert (dataset.path, dataset.format) == (file, "coco-captions")


def test_a_folder_with_several_asks_for_one(write: Write, tmp_path: Path) -> None:
    write("captions.json", COCO)
    write("dataset.json", KARPATHY)
    write("images/a.jpg")
    with pytest.raises(
        InputError, match=r"captions\.json \(coco-captions\), dataset\.json \(karpathy\); give the path"
    ):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, format="karpathy").format == "karpathy"


def test_captions_beside_photos_are_not_taken_for_annotations(write: Write, tmp_path: Path) -> None:
    write("a.jpg")
    write("a.txt", "image,caption\n")
    write("b.jpg")
    write("b.txt", "b.jpg#0\tA dog\n")
    assert read_dataset(tmp_path).format == "caption-files"


def test_an_unknown_format_names_the_nearest_and_all(write: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"'coco-caption'; did you mean 'coco-captions'\?.*karpathy.*parquet"):
        read_dataset(write("x.json", COCO), format="coco-caption")


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("x.json", {"answer": 42, "k" * 5000: 1}, r"an object with the keys 'answer', 'k{60}'…;"),
        (
            "x.json",
            [{"image_id": 1, "caption": "A"}],
            "a JSON list of which the first is an object with the keys 'image_id'",
        ),
        ("x.json", "[]", "JSON that is a list"),
        ("x.json", '{"a": 1', r"not valid JSON \(.*line 1 column 8"),
        ("x.txt", "Hello\n", r"a file that begins with b'Hello\\n'"),
        ("x/notes.md", "Hello\n", r"a folder that holds 'x'"),
    ],
)
def test_what_was_seen_instead(name: str, content: object, seen: str, write: Write, tmp_path: Path) -> None:
    file = write(name, content)
    with pytest.raises(InputError, match=seen) as caught:
        read_dataset(tmp_path if file.parent != tmp_path else file)
    assert len(str(caught.value)) < 1000


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: no such file or folder"):
        read_dataset(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="no such file"):
        read_dataset(tmp_path / ("x" * 5000))


def test_annotations_one_folder_down(write: Write, tmp_path: Path) -> None:
    file = write("annotations/captions_val2014.json", COCO)
    write("__MACOSX/captions_val2014.json", COCO)
    photo = write("val2014/a.jpg")
    dataset, examples = load_examples(tmp_path, None, None)
    assert (dataset.path, examples[0].source) == (file, photo)
    write("annotations/captions_train2014.json", COCO)
    expected = r"annotations/captions_train2014\.json \(coco-captions\), annotations/.*; give the path of a file$"
    with pytest.raises(InputError, match=expected):
        read_dataset(tmp_path)


def test_what_a_mac_packs_beside_each_file_is_no_data(write: Write, tmp_path: Path) -> None:
    write("captions.json", COCO)
    write("._captions.json", COCO)
    write("a.jpg")
    assert read_dataset(tmp_path).format == "coco-captions"
    for name in ("dog/1.jpg", "cat/2.jpg", "__MACOSX/dog/._1.jpg"):
        write(f"classes/{name}")
    assert [one.texts for one in read_dataset(tmp_path / "classes").examples] == [("cat",), ("dog",)]


def test_a_packed_or_empty_file_is_called_so(write: Write) -> None:
    for content, expected in ((b"\x1f\x8b\x08", "packed with gzip"), (b"", "an empty file")):
        with pytest.raises(InputError, match=expected):
            read_dataset(write("captions.token", content))


def test_a_pipe_is_left_alone(tmp_path: Path, write: Write) -> None:
    write("captions.json", COCO)
    write("a.jpg")
    os.mkfifo(tmp_path / "pipe.json")
    assert read_dataset(tmp_path).format == "coco-captions"
    with pytest.raises(InputError, match="is a pipe"):
        read_dataset(tmp_path / "pipe.json")


SCALARS = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.text(max_size=3)
KEYS = """images annotations questions data videos sentences id image_id question_id video_id file_name filename split
raw caption question answers answer cocoid set_name data_subtype caption_str reference_strs videoID enCap video"""
OBJECTS = st.deferred(lambda: st.dictionaries(st.sampled_from(KEYS.split()), VALUES, max_size=6))
VALUES = st.deferred(lambda: SCALARS | OBJECTS | st.lists(SCALARS, max_size=3) | st.lists(OBJECTS, max_size=3))
ROWS = st.lists(OBJECTS | SCALARS, max_size=4)
WHOLES = {
    "karpathy": st.fixed_dictionaries({"images": ROWS}),
    "coco-captions": st.fixed_dictionaries({"images": ROWS, "annotations": ROWS}),
    "vqa": st.fixed_dictionaries({"questions": ROWS, "data_subtype": st.just("val2014") | SCALARS}),
    "textvqa": st.fixed_dictionaries({"data": ROWS}),
    "textcaps": st.fixed_dictionaries({"data": ROWS}),
    "video-captions": ROWS | st.fixed_dictionaries({"videos": ROWS, "sentences": ROWS}),
    "video-questions": ROWS,
}


@pytest.mark.parametrize("form", WHOLES)
def test_any_json_is_read_or_refused(form: str, write: Write, tmp_path: Path) -> None:
    @given(document=WHOLES[form] | VALUES)
    @settings(max_examples=100, deadline=None)
    def read(document: object) -> None:
        file = write("any.json", document)
        try:
            dataset = read_dataset(file, tmp_path, format=form)
        except InputError as error:
            assert str(error).startswith(f"{file}: ")
            return
        assert all(oddity.where.startswith(f"{file}: ") for oddity in dataset.oddities)
        assert len(dataset.examples) + len(dataset.oddities) > 0
        assert form in ("vqa", "textvqa", "textcaps", "video-questions") or all(one.texts for one in dataset.examples)

    read()


def test_photos_without_texts_are_told_where_texts_go(write: Write, tmp_path: Path) -> None:
    write("b.jpg")
    write("a.jpg")
    with pytest.raises(InputError, match=r"such as a\.txt next to a\.jpg, or a metadata\.csv with the columns"):
        read_dataset(tmp_path)
    (tmp_path / "videos").mkdir()
    write("videos/c.mp4")
    with pytest.raises(InputError, match=r"such as c\.txt next to c\.mp4"):
        read_dataset(tmp_path / "videos")
