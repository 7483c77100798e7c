"""`picscribe ask`, `classify`, `score`, and what `caption` can do beyond a search: against the Python API."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import picscribe
from picscribe import Scribe, Video
from picscribe.checkpoints import registry
from picscribe.checkpoints.registry import answers_questions
from picscribe.cli.main import app


@pytest.fixture(scope="module")
def scribe(tiny_model: Path) -> Scribe:
    return picscribe.load(str(tiny_model))


@pytest.fixture
def run(runner: CliRunner, tiny_model: Path) -> Any:
    def run(command: str, *arguments: object, **settings: Any) -> Result:
        return runner.invoke(app, [command, "--model", str(tiny_model), *map(str, arguments)], **settings)

    return run


@pytest.fixture
def photo(photos: Path) -> Path:
    return photos / "photo1.png"


def lines(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# ask


def test_one_question_prints_its_answer(run: Any, scribe: Scribe, photo: Path) -> None:
    result = run("ask", photo, "a dog")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == scribe.ask(photo, ["a dog"])[0].text + "\n"
    assert run("ask", "-", "a dog", input=photo.read_bytes()).stdout == result.stdout


def test_several_questions_print_question_tab_answer(run: Any, scribe: Scribe, photo: Path) -> None:
    asked = ["a dog", "the man"]
    result = run("ask", photo, *asked)
    answers = scribe.ask(photo, asked)
    assert result.stdout == "".join(f"{q}\t{a.text}\n" for q, a in zip(asked, answers, strict=True))
    for line, question, answer in zip(lines(run("ask", "--json", photo, *asked)), asked, answers, strict=True):
        assert line["question"] == question
        assert line["answer"] == answer.text
        assert line["confidence"] == pytest.approx(answer.confidence, rel=1e-4)


def test_a_file_of_questions_becomes_a_results_file(run: Any, scribe: Scribe, photos: Path, tmp_path: Path) -> None:
    """Relative images, ids of both kinds, one image that is missing and one question that cannot be asked."""
    asked = [
        ("photo1.png", "a dog", 7),
        ("photo1.png", "the man", "x"),
        ("none.png", "a dog", 8),
        ("photo2.png", "a", 9),
    ]
    asked.insert(1, ("photo1.png", "[SEP]", 10))
    file = photos / "questions.jsonl"
    file.write_text("\n\n".join(json.dumps({"image": i, "question": q, "id": n}) for i, q, n in asked))
    output = tmp_path / "answers.json"
    result = run("ask", "--questions", file, "--output", output)
    file.unlink()
    assert result.exit_code == 1
    assert "none.png" in result.stderr
    assert "special token" in result.stderr
    expected = [
        {"question_id": n, "answer": "" if n in (8, 10) else scribe.ask(photos / i, [q])[0].text} for i, q, n in asked
    ]
    assert json.loads(output.read_text()) == expected


def test_a_checkpoint_not_trained_for_questions_says_so(
    runner: CliRunner, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not trained" not in runner.invoke(app, ["ask", str(photo), "is there a dog?"]).stderr
    monkeypatch.setattr(registry, "answers_questions", lambda name: False)
    result = runner.invoke(app, ["ask", str(photo), "what is this"])
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "not trained to answer questions" in result.stderr
    assert answers_questions("git-base-vqav2")
    assert answers_questions("microsoft/git-large-msrvtt-qa")
    assert answers_questions("git-base-coco") is False
    assert answers_questions("somewhere/else") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{", "line 1: is not valid JSON"),
        (b"[1]", "line 1: must be an object"),
        (b'{"image": "a.jpg"}', "'question' must be a text"),
        (b'{"image": "", "question": "a"}', "'image' must be a text"),
        (b'{"image": "a.jpg", "question": "a", "id": [1]}', "'id' must be a number or a text"),
        (
            b'{"image": "a.jpg", "question": "a"}\n{"image": "a.jpg", "question": "a", "id": 1}',
            "line 2: id 1 is in line 1 already",
        ),
        (b'{"image": "a\\u0000.jpg", "question": "a"}', "null character"),
        (b"\xff\xfe\x00", "is UTF-16 text"),
    ],
)
def test_files_of_questions_that_cannot_be_read(run: Any, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(content)
    result = run("ask", "--questions", file)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


# classify


def test_classes_with_their_probabilities(run: Any, scribe: Scribe, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("dog\ncat\n\nDOG\nman\n")
    found = sorted(photos.glob("photo[1-3].png"))
    result = run("classify", "--labels", file, "--top-k", 2, *found)
    expected = scribe.classify(found, ["dog", "cat", "man"], top_k=2)
    assert result.exit_code == 0
    assert result.stdout == "".join(
        f"{path}\t{one.label}\t{one.probability:.4f}\n"
        for path, each in zip(found, expected, strict=True)
        for one in each.ranking
    )
    assert len(result.stderr.splitlines()) == 2, "an empty line and a duplicate"
    greedy = run("classify", "--labels", file, "--greedy", *found)
    said = scribe.classify(found, ["dog", "cat", "man"], exact=False)
    assert greedy.stdout == "".join(f"{path}\t{one.label}\n" for path, one in zip(found, said, strict=True))
    for line, each in zip(lines(run("classify", "--labels", file, "--json", *found)), expected, strict=True):
        assert line["label"] == each.label
        assert line["ranking"][0]["probability"] == pytest.approx(each.ranking[0].probability, rel=1e-4)


def test_a_photo_that_cannot_be_classified_leaves_the_others(run: Any, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("dog\ncat\n")
    result = run("classify", "--labels", file, "--json", photos / "photo1.png", tmp_path / "none.png")
    assert result.exit_code == 1
    assert [sorted(line) for line in lines(result)] == [["label", "path", "ranking"], ["error", "path"]]


# score


def test_texts_come_best_first(run: Any, scribe: Scribe, photo: Path) -> None:
    texts = ["a dog", "the man", "dog dog dog"]
    result = run("score", photo, *texts)
    expected = sorted(scribe.score(photo, texts), key=lambda one: -one.log_likelihood)
    assert result.stdout == "".join(f"{one.confidence:.4f}\t{one.log_likelihood:.3f}\t{one.text}\n" for one in expected)
    by_json = lines(run("score", "--json", "--tokens", photo, *texts))
    assert [line["text"] for line in by_json] == [one.text for one in expected]
    assert by_json[0]["log_probabilities"] == pytest.approx(expected[0].log_probabilities, abs=1e-4)


def test_pairs_keep_their_order_and_are_filtered(run: Any, scribe: Scribe, photos: Path) -> None:
    pairs = [("photo1.png", "a dog"), ("photo1.png", "the man"), ("none.png", "a"), ("photo2.png", "a dog")]
    file = photos / "pairs.jsonl"
    file.write_text("\n".join(json.dumps({"image": image, "text": text}) for image, text in pairs))
    whole = run("score", "--pairs", file)
    good = [scribe.score(photos / image, [text])[0] for image, text in pairs if image != "none.png"]
    assert whole.exit_code == 1
    assert [line["confidence"] for line in lines(whole)] == pytest.approx([one.confidence for one in good], rel=1e-3)
    least = sorted(one.confidence for one in good)[1]
    kept = run("score", "--pairs", file, "--min-confidence", least - 1e-6)
    file.unlink()
    assert [line["text"] for line in lines(kept)] == [one.text for one in good if one.confidence >= least - 1e-6]


# caption, beyond a search


def test_a_stream_is_the_greedy_caption(run: Any, scribe: Scribe, photo: Path) -> None:
    assert run("caption", "--stream", photo).stdout == scribe.caption(photo, beams=1).text + "\n"


def test_samples_follow_the_seed(run: Any, scribe: Scribe, photo: Path) -> None:
    result = run("caption", "--temperature", 1.5, "--num-captions", 3, "--seed", 5, photo)
    drawn = scribe.caption(photo, temperature=1.5, num_captions=3, seed=5).alternatives
    assert result.stdout == "".join(one.text + "\n" for one in drawn)


def test_several_models_side_by_side(run: Any, scribe: Scribe, photo: Path, tiny_model: Path) -> None:
    result = run("caption", "--model", "nano", photo)
    nano = picscribe.load("nano").caption(photo).text
    mine = scribe.caption(photo).text
    assert result.stdout == f"{photo}\t{tiny_model}\t{mine}\n{photo}\tnano\t{nano}\n"
    assert [line["model"] for line in lines(run("caption", "--model", "nano", "--json", photo))] == [
        str(tiny_model),
        "nano",
    ]


def test_uncertain_captions_are_marked(run: Any, scribe: Scribe, photos: Path) -> None:
    found = sorted(photos.glob("photo*.png"))
    captions = scribe.caption(found)
    bound = sorted(caption.confidence for caption in captions)[len(captions) // 2] - 1e-6
    printed = run("caption", "--min-confidence", bound, *found).stdout.splitlines()
    assert [line.endswith(" (uncertain)") for line in printed] == [one.confidence < bound for one in captions]
    marked = lines(run("caption", "--json", "--min-confidence", bound, *found))
    assert [line["uncertain"] for line in marked] == [one.confidence < bound for one in captions]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask"],
        ["ask", "photo.png"],
        ["ask", "photo.png", "a", "--questions", "q.jsonl"],
        ["ask", "photo.png", "a", "--output", "answers.json"],
        ["ask", "--questions", "q.jsonl", "--output", "answers.json", "--json"],
        ["ask", "photo.png", "a", "--min-confidence", "2"],
        ["classify", "photo.png"],
        ["classify", "photo.png", "--labels", "x", "--top-k", "0"],
        ["score"],
        ["score", "photo.png"],
        ["score", "photo.png", "a", "--pairs", "p.jsonl"],
        ["caption", "photo.png", "--temperature", "0"],
        ["caption", "photo.png", "--temperature", "-1"],
        ["caption", "photo.png", "--top-k", "5"],
        ["caption", "photo.png", "--beam-groups", "3"],
        ["caption", "photo.png", "--stream", "--beams", "3"],
        ["caption", "photo.png", "other.png", "--stream"],
        ["caption", "-", "--model", "nano"],
        ["caption", "photo.png", "--resize", "stretch"],
        ["caption", "photo.png", "--require", " "],
    ],
)
def test_wrong_usage_exits_with_2(
    run: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(photos)
    (photos / "photo.png").write_bytes((photos / "photo1.png").read_bytes())
    result = run(arguments[0], *arguments[1:])
    (photos / "photo.png").unlink()
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr


# videos


@pytest.fixture(scope="module")
def clip(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of a second each, as an animation."""
    frames = [Image.open(photos / f"photo{number}.png").convert("RGB").resize((64, 64)) for number in (1, 2, 3)]
    path = tmp_path_factory.mktemp("clips") / "clip.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000, lossless=True)
    return path


def test_a_video_for_a_model_of_photos(run: Any, scribe: Scribe, clip: Path) -> None:
    expected = [scribe.caption(Video(clip, frames=1, start=s, end=s + 1)).text for s in range(3)]
    assert run("caption", "--frames", 1, clip).stdout == expected[1] + "\n"
    assert run("caption", "--frames", 1, "--start", "0:02", clip).stdout == expected[2] + "\n"
    (answer,) = scribe.ask(Video(clip, 1, end=1), ["a"])
    assert run("ask", "--frames", 1, "--end", 1, clip, "a").stdout == answer.text + "\n"
    timed = lines(run("caption", "--frames", 1, "--every", "1s", "--json", clip))
    assert [(line["start"], line["end"], line["caption"]) for line in timed] == [
        (float(s), float(s + 1), expected[s]) for s in range(3)
    ]
    printed = run("caption", "--frames", 1, "--every", "1", clip).stdout.splitlines()
    assert printed[1] == f"{clip}\t00:00:01.000 to 00:00:02.000\t{expected[1]}"
    srt = run("caption", "--frames", 1, "--every", "1s", "--subtitles", "srt", clip).stdout
    assert srt.startswith(f"1\n00:00:00,000 --> 00:00:01,000\n{expected[0]}\n\n2\n00:00:01,000 --> ")
    vtt = run("caption", "--frames", 1, "--every", "1s", "--subtitles", "vtt", clip).stdout
    assert vtt.startswith(f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{expected[0]}\n\n")


def test_a_folder_as_a_video(run: Any, scribe: Scribe, photos: Path) -> None:
    result = run("caption", "--as-video", "--frames", 1, photos)
    assert result.stdout == scribe.caption(Video(photos, frames=1)).text + "\n"


def test_a_video_that_cannot_be_used_leaves_the_others(run: Any, clip: Path, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(64))
    result = run("caption", "--frames", 1, broken, clip, photos / "photo1.png")
    assert result.exit_code == 1
    assert "broken.mp4" in result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "0s"], "is not a duration"),
        (["--every", "10 parsecs"], "is not a duration"),
        (["--start", "soon"], "is not a time"),
        (["--start", "2", "--end", "1"], "must come after start"),
        (["--start", "-1"], "is not a time"),
        (["--frames", "0"], "frames"),
        (["--subtitles", "srt"], "goes with --every"),
        (["--every", "1s", "--subtitles", "ass"], "srt or vtt"),
    ],
)
def test_wrong_parts_of_a_video(run: Any, clip: Path, arguments: list[str], words: str) -> None:
    result = run("caption", *arguments, clip)
    assert result.exit_code == 2
    assert words in result.stderr


PARTS: list[list[object]] = [
    ["--frames", 1, "--start", 2],
    ["--frames", 1, "--end", 1],
    ["--frames", 1, "--every", "1s", "--json"],
    ["--frames", 1, "--every", "1s", "--subtitles", "srt"],
    ["--frames", 1, "--stream", "--start", 1],
    ["--frames", 1],
    [],
]


@pytest.mark.parametrize("options", PARTS)
def test_standard_input_is_a_video_as_a_file_is(run: Any, clip: Path, options: list[object]) -> None:
    by_path, piped = run("caption", clip, *options), run("caption", "-", *options, input=clip.read_bytes())
    assert by_path.exit_code == piped.exit_code == 0
    assert piped.stdout.replace('"-"', json.dumps(str(clip))).replace("-\t", f"{clip}\t") == by_path.stdout


def test_standard_input_is_a_video_for_other_jobs(run: Any, clip: Path, tmp_path: Path) -> None:
    content = clip.read_bytes()
    for arguments in (["ask", "{}", "a", "the dog", "--start", 1], ["explain", "{}", "-o", tmp_path / "x.json"]):
        by_path, piped = (
            run(*[name if one == "{}" else one for one in arguments], "--frames", 1, input=content)
            for name in (clip, "-")
        )
        assert by_path.exit_code == piped.exit_code == 0
        assert by_path.stdout == piped.stdout


@pytest.mark.parametrize("options", [["--start", 1], ["--end", 1], ["--every", "1s"]])
def test_a_photo_has_no_times(run: Any, photos: Path, clip: Path, options: list[object]) -> None:
    photo = photos / "photo1.png"
    for name, content in ((photo, b""), ("-", photo.read_bytes())):
        result = run("caption", name, *options, input=content)
        assert result.exit_code == 1
        assert (
            f"{name} is a photo, or not in a known video format, and has no times: leave out --start" in result.stderr
        )
    result = run("caption", photo, clip, "--frames", 1, *options)
    assert result.exit_code == 1
    assert all(line.startswith(str(clip)) for line in result.stdout.splitlines())
    assert "does not exist" in run("caption", photos / "none.png", *options).stderr


def test_frames_of_photos_alone_are_refused(run: Any, photos: Path, tmp_path: Path) -> None:
    one, two = photos / "photo1.png", photos / "photo2.png"
    for arguments in (["caption", one, two], ["caption", photos], ["explain", one, "-o", tmp_path / "x.png"]):
        result = run(*arguments, "--frames", 3)
        assert result.exit_code == 2
        assert "--frames 3 is for videos and animations, and none is given" in result.stderr
    assert run("ask", one, "a", "--frames", 3).exit_code == 2
    assert run("caption", one, "--frames", 1).stdout == run("caption", one).stdout


# explain


def test_an_explanation_is_drawn_and_written(run: Any, scribe: Scribe, photo: Path, clip: Path, tmp_path: Path) -> None:
    picture, numbers = tmp_path / "out.png", tmp_path / "out.json"
    result = run("explain", photo, "-o", picture, "-o", numbers)
    found = scribe.explain(photo)
    assert result.stdout == found.caption.text + "\n"
    content = json.loads(numbers.read_text())
    assert [one["word"] for one in content["words"]] == list(found.words)
    assert np.array([one["map"] for one in content["words"]]) == pytest.approx(found.maps, abs=1e-4)
    with Image.open(picture) as drawn:
        assert drawn.size == found.draw().size
    assert run("explain", clip, "--frames", 1, "--method", "rollout", "-o", tmp_path / "clip.jpg").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-o", "out.tiff"], 2),
        (["-o", "out.png", "--method", "magic"], 2),
        ([], 2),
        (["-o", "no/such/folder/out.png"], 1),
        (["-o", "out.png", "--quantize", "int8"], 2),
    ],
)
def test_explanations_that_cannot_be(
    run: Any, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("explain", photo, *arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
