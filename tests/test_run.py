"""The loop underneath every job: mixed tasks, results in their places, errors alone, cancelled, from many threads."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

import picscribe
from picscribe import Caption, Classification, ConfigurationError, GenerationOptions, InputError, PicscribeError, Scribe
from picscribe.errors import Cancelled
from picscribe.generation import OptionFields
from picscribe.tasks import AskTask, CaptionTask, ClassifyTask, ExplainTask, ScoreTask, Task

LABELS = ["dog", "the dog", "a man", "cat"]
TEXTS = ["a dog runs", "the cat sits on grass", "red"]


@pytest.fixture(scope="module")
def scribe(tiny_model: Path) -> Scribe:
    return picscribe.load(tiny_model)


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[Path]:
    return sorted(photos.iterdir())


def mixed(paths: list[Path]) -> list[Task[Any]]:
    """Of every kind, with other options, prompts and labels, several about one photo."""
    two = GenerationOptions(beams=2, max_new_tokens=6, num_captions=2)
    few = GenerationOptions(beams=1, max_new_tokens=4, min_new_tokens=1)
    tasks: list[Task[Any]] = []
    for number, path in enumerate(paths[:6]):
        tasks += [
            CaptionTask(path, options=few),
            CaptionTask(path, "the red", two),
            AskTask(path, ["a dog", "the man sits", "cat"][: 1 + number % 3], few),
            ClassifyTask(path, LABELS, top_k=3),
            ClassifyTask(path, tuple(reversed(LABELS)), prompt="a", exact=False),
            ScoreTask(path, TEXTS[: 1 + number % 3], prompt="the" if number % 2 else None),
            ExplainTask(path, method="rollout", options=few),
        ]
    random.Random(4).shuffle(tasks)
    return tasks


def alone(scribe: Scribe, task: Any) -> Any:
    """What the method for one image says."""
    if isinstance(task, CaptionTask):
        return scribe.caption(task.image, prompt=task.prompt, options=task.options)
    if isinstance(task, AskTask):
        return scribe.ask(task.image, task.questions, options=task.options)
    if isinstance(task, ClassifyTask):
        return scribe.classify(task.image, task.labels, top_k=task.top_k, prompt=task.prompt, exact=task.exact)
    if isinstance(task, ScoreTask):
        return scribe.score(task.image, task.texts, prompt=task.prompt)
    return scribe.explain(task.image, prompt=task.prompt, method=task.method, options=task.options)


def said(result: Any) -> Any:
    """What of a result must be the same to the letter."""
    if isinstance(result, list):
        return [said(one) for one in result]
    if isinstance(result, Classification):
        return [one.label for one in result.ranking]
    if isinstance(result, PicscribeError):
        return str(result)
    if hasattr(result, "maps"):
        return said(result.caption), result.words, result.maps.round(4).tolist()
    alternatives = [one.text for one in getattr(result, "alternatives", ())]
    return result.text, result.tokens, alternatives, [round(value, 3) for value in result.log_probabilities]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_mixed_tasks_give_what_each_gives_alone(scribe: Scribe, paths: list[Path], batch_size: int) -> None:
    tasks = mixed(paths)
    expected = [said(alone(scribe, task)) for task in tasks]
    assert [said(result) for result in scribe.run(tasks, batch_size=batch_size)] == expected


def test_each_different_image_of_a_batch_is_encoded_once(scribe: Scribe, paths: list[Path]) -> None:
    tasks = [task for task in mixed(paths) if not isinstance(task, ExplainTask)]
    seen: list[int] = []
    hook = scribe.model.image_encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        list(scribe.run(tasks, batch_size=len(tasks)))
    finally:
        hook.remove()
    assert seen == [6]


def test_errors_stand_in_their_places_down_to_a_single_text(scribe: Scribe, paths: list[Path]) -> None:
    far = GenerationOptions(max_new_tokens=63)
    tasks: list[Task[Any]] = [
        CaptionTask(b"no image"),
        AskTask(paths[0], ["a dog", "[SEP]", "the man"]),
        ScoreTask(paths[0], ["a dog", "", "dog " * 70, "red"]),
        CaptionTask(InputError("lost")),
        AskTask(paths[1], []),
        ClassifyTask(paths[1], []),
        ClassifyTask(paths[1], LABELS, top_k=0),
        CaptionTask(paths[1], options=far),
        CaptionTask(paths[1], "the red", far),
        CaptionTask(paths[2]),
    ]
    results = list(scribe.run(tasks, errors="return"))
    kinds = [[type(one) for one in result] if isinstance(result, list) else type(result) for result in results]
    score = type(scribe.score(paths[0], ["red"])[0])
    assert kinds == [
        InputError,
        [Caption, InputError, Caption],
        [score, InputError, InputError, score],
        InputError,
        InputError,
        InputError,
        ConfigurationError,
        Caption,
        ConfigurationError,
        Caption,
    ]
    assert said(results[1][::2]) == said(scribe.ask(paths[0], ["a dog", "the man"]))
    assert said(results[2][::3]) == said(scribe.score(paths[0], ["a dog", "red"]))
    assert said(results[-1]) == said(scribe.caption(paths[2]))
    with pytest.raises(InputError, match="special token"):
        list(scribe.run(tasks[1:]))
    assert [type(one) for one in scribe.ask(paths[0], ["[SEP]", "a"], errors="return")] == [InputError, Caption]
    assert [type(one) for one in scribe.score(paths[0], ["", "a"], errors="return")] == [InputError, score]


def test_what_fails_in_the_network_fails_alone(
    scribe: Scribe, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that stumbles over one question among many."""
    inference = scribe._inference
    write, bad = inference._write, inference.prompt("red").ids

    def stumble(prefix: Any, lines: Any, options: Any) -> Any:
        if any(line == bad for _, line in lines):
            raise InputError("stumbled")
        return write(prefix, lines, options)

    questions = ["a", "the", "dog", "red", "cat", "man", "on"]
    expected = scribe.ask(paths[0], questions)
    monkeypatch.setattr(inference, "_write", stumble)
    found = scribe.ask(paths[0], questions, errors="return")
    assert [str(one) for one in found if isinstance(one, PicscribeError)] == ["stumbled"]
    assert said(found[:3] + found[4:]) == said(expected[:3] + expected[4:])


def test_finished_is_called_once_for_each_result_before_its_turn(scribe: Scribe, paths: list[Path]) -> None:
    told: dict[int, Any] = {}
    known_when_yielded = []
    tasks: list[Task[Any]] = [CaptionTask(path) for path in paths[:5]]
    tasks.insert(2, CaptionTask(b"no image"))

    def finished(place: int, result: Any) -> None:
        assert place not in told
        told[place] = result

    results = []
    for result in scribe.run(tasks, batch_size=3, errors="return", finished=finished):
        known_when_yielded.append(len(told))
        results.append(result)
    assert [told[place] for place in range(len(tasks))] == results
    assert known_when_yielded == [4, 4, 4, 4, 6, 6]


def test_cancelled_tasks_are_not_computed_and_the_others_are(scribe: Scribe, paths: list[Path]) -> None:
    off = {1, 4}
    seen: list[int] = []
    hook = scribe.model.image_encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        found = list(
            scribe.run([CaptionTask(path) for path in paths[:6]], errors="return", cancelled=lambda place: place in off)
        )
    finally:
        hook.remove()
    assert [isinstance(one, Cancelled) for one in found] == [place in off for place in range(6)]
    assert sum(seen) == 4
    with pytest.raises(Cancelled):
        list(scribe.run([CaptionTask(paths[0])], cancelled=lambda place: True))


def test_cancelled_between_reading_and_computing(scribe: Scribe, paths: list[Path]) -> None:
    asked: list[int] = []

    def cancelled(place: int) -> bool:
        asked.append(place)
        return asked.count(place) > 1 and place == 1

    found = list(scribe.run([CaptionTask(path) for path in paths[:3]], errors="return", cancelled=cancelled))
    assert [isinstance(one, Cancelled) for one in found] == [False, True, False]


def test_many_threads_share_a_scribe(scribe: Scribe, paths: list[Path]) -> None:
    tasks = mixed(paths)
    expected = [said(result) for result in scribe.run(tasks)]
    begin = threading.Barrier(8)

    def work(number: int) -> list[Any]:
        begin.wait()
        order = list(range(len(tasks)))
        random.Random(number).shuffle(order)
        found = dict(zip(order, scribe.run([tasks[i] for i in order], batch_size=3 + number), strict=True))
        return [said(found[i]) for i in range(len(tasks))]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            assert found == expected


def test_tasks_are_drawn_as_they_are_needed(scribe: Scribe, paths: list[Path]) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[CaptionTask]:
        while True:
            drawn.append(len(drawn))
            yield CaptionTask(paths[len(drawn) % 3])

    results = scribe.run(endless(), batch_size=2)
    for _ in range(3):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) < 20


def test_invalid_tasks_and_other_wrong_calls(scribe: Scribe, paths: list[Path]) -> None:
    with pytest.raises(ConfigurationError, match="is not a task"):
        list(scribe.run([Task(paths[0])]))
    with pytest.raises(ConfigurationError, match="errors must be"):
        scribe.run([], errors="ignore")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="batch_size"):
        scribe.run([], batch_size=0)
    for given in ("photo.jpg", b"bytes", Path("photo.jpg"), torch.zeros(3, 32, 32), np.zeros((9, 9, 3), np.uint8)):
        with pytest.raises(ConfigurationError, match="must be a list or other iterable"):
            scribe.captions(given)  # type: ignore[call-overload]
        with pytest.raises(ConfigurationError, match="must be a list or other iterable"):
            scribe.classifications(given, LABELS)  # type: ignore[call-overload]


def test_options_by_name_are_those_of_the_object() -> None:
    assert list(get_type_hints(OptionFields)) == [field.name for field in fields(GenerationOptions)]
