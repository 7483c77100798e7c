"""Reading captions and questions of videos: MSR-VTT, VATEX, MSVD, MSRVTT-QA, MSVD-QA."""

from collections.abc import Callable
from pathlib import Path

import pytest

from picscribe.datasets import load_examples, read_dataset

Write = Callable[..., Path]


def test_msrvtt(write: Write) -> None:
    document = {
        "info": {"year": "2016"},
        "videos": [
            {"id": 0, "video_id": "video1", "category": 9, "split": "train", "start time": 1.0},
            {"id": 1, "video_id": "video0", "category": 9, "split": "validate"},
        ],
        "sentences": [
            {"sen_id": 0, "video_id": "video0", "caption": "a man sings "},
            {"sen_id": 1, "video_id": "video1", "caption": "a cat"},
            {"sen_id": 2, "video_id": "video0", "caption": "a singer"},
        ],
    }
    file = write("train_val_videodatainfo.json", document)
    write("TrainValVideo/video1.mp4")
    video = write("TrainValVideo/video0.mp4")
    dataset, (example,) = load_examples(file, None, "validate")
    assert (dataset.format, dataset.task, dataset.medium) == ("video-captions", "captions", "videos")
    assert dataset.splits == {"train": 1, "validate": 1}
    assert (example.id, example.source, example.texts) == ("video0", video, ("a man sings", "a singer"))


def test_vatex(write: Write) -> None:
    file = write("vatex.json", [{"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["A", "B"], "chCap": ["甲"]}])
    video = write("videos/Ptf_2VRj-V0_000122_000132.webm")
    (example,) = load_examples(file, None, None)[1]
    assert (example.id, example.source, example.texts) == ("Ptf_2VRj-V0_000122_000132", video, ("A", "B"))


@pytest.mark.parametrize("key", ["video_id", "video", "video_name"])
def test_msvd_with_a_row_for_each_caption(key: str, write: Write) -> None:
    names = ["-4wsuPCjDBc_5_15", "x_1_2", "-4wsuPCjDBc_5_15"]
    rows = [{key: name, "caption": words, "split": "test"} for name, words in zip(names, "ABC", strict=True)]
    file = write("msvd.json", rows)
    videos = [write(f"YouTubeClips/{name}.avi") for name in names[:2]]
    examples = load_examples(file, None, "test")[1]
    assert [(example.id, example.source, example.texts) for example in examples] == [
        (names[0], videos[0], ("A", "C")),
        (names[1], videos[1], ("B",)),
    ]


def test_a_named_file_is_taken_as_it_is(write: Write, tmp_path: Path) -> None:
    rows = [{"video_id": "video7", "video": "clips/Seven.AVI", "caption": ["A"]}]
    (example,) = read_dataset(write("test_1k.json", rows), tmp_path).examples
    assert (example.id, example.source) == ("video7", tmp_path / "clips" / "Seven.AVI")


def test_msrvtt_questions(write: Write) -> None:
    rows = [
        {"answer": "couch", "category_id": 14, "id": 158581, "question": "what is on?", "video_id": 6513},
        {"answers": ["a", "b"], "question_id": "q2", "question": "who?", "video": "video6513.mp4"},
        {"question": "where?", "video_name": "video6513"},
    ]
    file = write("val_qa.json", rows)
    video = write("videos/video6513.mp4")
    dataset, examples = load_examples(file, None, None)
    assert (dataset.format, dataset.task, dataset.medium) == ("video-questions", "questions", "videos")
    assert [(example.id, example.texts, example.source) for example in examples] == [
        ("158581", ("couch",), video),
        ("q2", ("a", "b"), video),
        ("2", (), video),
    ]


def test_msvd_questions_with_and_without_the_mapping(write: Write) -> None:
    file = write("test_qa.json", [{"answer": "dog", "id": 1, "question": "who?", "video_id": 12}])
    numbered = write("videos/vid12.avi")
    assert load_examples(file, None, None)[1][0].source == numbered
    write("youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid12\r\nx vid13\r\n")
    named = write("videos/-4wsuPCjDBc_5_15.avi")
    assert load_examples(file, None, None)[1][0].source == named
