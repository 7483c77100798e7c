"""Reading VQA v2, TextVQA and TextCaps: questions with the answers of ten annotators, kept back in test splits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import load_examples, read_dataset
from picscribe.errors import InputError

Write = Callable[..., Path]

QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANSWERS = "v2_mscoco_val2014_annotations.json"


def questions(*ids: int, subtype: str = "val2014") -> dict[str, Any]:
    asked = [{"question_id": n, "image_id": n // 10, "question": f"What is {n}?"} for n in ids]
    return {"info": {}, "data_type": "mscoco", "data_subtype": subtype, "questions": asked}


def answers(*ids: int) -> dict[str, Any]:
    given = [
        {
            "question_id": n,
            "image_id": n // 10,
            "question_type": "what",
            "answers": [{"answer": f"{n} {k}", "answer_confidence": "yes", "answer_id": k + 1} for k in range(10)],
        }
        for n in ids
    ]
    return {"info": {}, "data_subtype": "val2014", "annotations": given}


def test_questions_with_their_answers(write: Write) -> None:
    file = write(QUESTIONS, questions(421, 420))
    write(ANSWERS, answers(420, 421, 5))
    photo = write("val2014/COCO_val2014_000000000042.jpg")
    dataset, examples = load_examples(file, None, None)
    assert (dataset.format, dataset.task, dataset.oddities) == ("vqa", "questions", ())
    assert [(example.id, example.question, example.split, example.source) for example in examples] == [
        ("421", "What is 421?", "val2014", photo),
        ("420", "What is 420?", "val2014", photo),
    ]
    assert examples[0].texts == tuple(f"421 {k}" for k in range(10))


def test_answers_under_another_name_are_found(write: Write, tmp_path: Path) -> None:
    file = write("questions.json", questions(420))
    write("train_answers.json", answers(11, 12))
    write("val_answers.json", answers(420))
    assert read_dataset(file, tmp_path).examples[0].texts[0] == "420 0"
    write("more_answers.json", answers(420, 421))
    with pytest.raises(InputError, match=r"questions\.json: several .* \(more_answers\.json, val_answers\.json\)"):
        read_dataset(file, tmp_path)


def test_the_folder_of_both_files_is_read_as_the_questions(write: Write, tmp_path: Path) -> None:
    file = write(QUESTIONS, questions(420))
    write(ANSWERS, answers(420))
    write("COCO_val2014_000000000042.jpg")
    assert read_dataset(tmp_path).path == file


@pytest.mark.parametrize(
    ("asked", "answered"), [("v2_Questions_Val_mscoco", "v2_Annotations_Val_mscoco"), ("questions", "annotations")]
)
def test_answers_in_the_folder_that_the_official_zip_makes(
    asked: str, answered: str, write: Write, tmp_path: Path
) -> None:
    file = write(f"{asked}/{QUESTIONS}", questions(420))
    write(f"{answered}/{ANSWERS}", answers(420))
    write("val2014/COCO_val2014_000000000042.jpg")
    dataset, examples = load_examples(tmp_path, None, None)
    assert (dataset.path, examples[0].texts[0]) == (file, "420 0")


def test_answers_in_any_other_folder_are_not_taken_but_missed(write: Write, tmp_path: Path) -> None:
    file = write(f"mine/{QUESTIONS}", questions(420))
    write(f"annotations/{ANSWERS}", answers(420))
    dataset = read_dataset(file, tmp_path)
    assert dataset.examples[0].texts == ()
    assert str(dataset.oddities[0]) == f"{file}: answers: there are none: put {ANSWERS} next to it"


def test_without_answers_there_are_no_texts(write: Write) -> None:
    file = write("v2_OpenEnded_mscoco_test-dev2015_questions.json", questions(420, subtype="test-dev2015"))
    photo = write("test2015/COCO_test2015_000000000042.jpg")
    (example,) = load_examples(file, None, "test-dev2015")[1]
    assert (example.texts, example.source) == ((), photo)


def test_photos_as_coco_named_them_later(write: Write) -> None:
    file = write(QUESTIONS, questions(420))
    write(ANSWERS, answers(420))
    photo = write("val2017/000000000042.jpg")
    assert load_examples(file, None, None)[1][0].source == photo


@pytest.mark.parametrize("empty", ["", " "])
def test_empty_answers_count_unless_the_whole_split_keeps_its_answers_back(
    empty: str, write: Write, tmp_path: Path
) -> None:
    given = answers(420, 421)
    given["annotations"][0]["answers"][3]["answer"] = empty
    for answer in given["annotations"][1]["answers"]:
        answer["answer"] = empty
    write(ANSWERS, given)
    asked = write(QUESTIONS, questions(420, 421))
    first, second = read_dataset(asked, tmp_path).examples
    assert len(first.texts) == 10
    assert first.texts[3] == empty
    assert second.texts == (empty,) * 10
    for answer in given["annotations"][0]["answers"]:
        answer["answer"] = empty
    write(ANSWERS, given)
    assert [example.texts for example in read_dataset(asked, tmp_path).examples] == [(), ()]


def textvqa(number: int, **more: Any) -> dict[str, Any]:
    entry = {"question_id": number, "image_id": "00ab", "question": "what brand?", "set_name": "val"}
    return entry | {"answers": ["nokia"] * 9 + [""], "question_tokens": ["what", "brand"]} | more


def test_textvqa(write: Write) -> None:
    test = textvqa(2, set_name="test")
    del test["answers"]
    file = write("TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": [textvqa(1), test]})
    photo = write("train_images/00ab.jpg")
    dataset, (example,) = load_examples(file, None, "val")
    assert (dataset.format, dataset.task, dataset.splits) == ("textvqa", "questions", {"val": 1, "test": 1})
    assert (example.id, example.source, example.question) == ("1", photo, "what brand?")
    assert example.texts == ("nokia",) * 9 + ("",)
    assert load_examples(file, None, "test")[1][0].texts == ()


def test_textcaps_has_a_row_for_each_caption(write: Write, tmp_path: Path) -> None:
    def row(image: str, **more: Any) -> dict[str, Any]:
        return {"image_id": image, "set_name": "val", "caption_id": 1, **more}

    references = ["A sign", "A red sign"]
    rows = [
        row("a", caption_str="A sign", reference_strs=references),
        row("b", caption_str="A bus"),
        row("a", caption_str="A red sign", reference_strs=references),
        row("b", caption_str="A bus"),
        row("c"),
    ]
    dataset = read_dataset(write("TextCaps_0.1_val.json", {"data": rows}), tmp_path)
    assert (dataset.format, dataset.task, dataset.oddities) == ("textcaps", "captions", ())
    assert [(example.id, example.texts) for example in dataset.examples] == [
        ("a", ("A sign", "A red sign")),
        ("b", ("A bus", "A bus")),
        ("c", ()),
    ]
    assert dataset.examples[0].source == tmp_path / "a.jpg"
