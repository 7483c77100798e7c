"""The Python API: any image source, one or many, in order; options by name; scores that can be recomputed."""

import io
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import picscribe
from picscribe import Caption, ConfigurationError, GenerationOptions, InputError, PicscribeError, Scribe
from picscribe.checkpoints import save
from picscribe.media.images import open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.text.prompts import prompt_ids
from tests import tiny_scribe

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "the", "dog", "cat", "do", "##g", "man", "runs", "sits", "on", "grass", "red", "of", "and"]

make_scribe = partial(tiny_scribe.make_scribe, WORDS, seed=14)
"""A network whose captions differ, some of which end by themselves."""


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    return make_scribe()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight photos of other colours and shapes."""
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(2)
    paths = []
    for number in range(8):
        pixels = torch.randint(0, 256, (2, 3, 3), generator=generator, dtype=torch.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.numpy()).resize((40 + 10 * (number % 3), 48)).save(paths[-1])
    return paths


def assert_same_captions(found: list[Any], expected: list[Any]) -> None:
    assert [caption.tokens for caption in found] == [caption.tokens for caption in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.text == theirs.text
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


# Images in, captions out


def test_one_image_gives_a_caption_and_a_list_gives_a_list(scribe: Scribe, photos: list[Path]) -> None:
    one = scribe.caption(photos[0])
    assert isinstance(one, Caption)
    for several in (photos[:1], tuple(photos[:1])):
        listed = scribe.caption(several)
        assert isinstance(listed, list)
        assert_same_captions(listed, [one])
    assert scribe.caption([]) == []


@pytest.mark.parametrize("kind", ["str", "path", "bytes", "stream", "file", "pillow", "array"])
def test_every_kind_of_image_gives_the_same_caption(scribe: Scribe, photos: list[Path], kind: str) -> None:
    path = photos[1]
    with path.open("rb") as file:
        source: Any = {
            "str": str(path),
            "path": path,
            "bytes": path.read_bytes(),
            "stream": io.BytesIO(path.read_bytes()),
            "file": file,
            "pillow": Image.open(path),
            "array": np.array(Image.open(path)),
        }[kind]
        assert_same_captions([scribe.caption(source)], [scribe.caption(photos[1])])


@pytest.mark.parametrize("beams", [1, 3])
def test_results_do_not_depend_on_the_batch_size(scribe: Scribe, photos: list[Path], beams: int) -> None:
    expected = [scribe.caption(photo, beams=beams) for photo in photos]
    assert len({caption.tokens for caption in expected}) >= 4, "the oracle could not see two photos swapped"
    for batch_size in (1, 3, 8, 100):
        assert_same_captions(scribe.caption(photos, beams=beams, batch_size=batch_size), expected)


def test_photos_of_mixed_aspects_keep_their_places(photos: list[Path]) -> None:
    scribe = make_scribe(preprocessing=Preprocessing(size=32, mode="keep_aspect", longer_edge=64))
    sizes = {tuple(scribe.preprocessing(open_image(photo)).shape) for photo in photos}
    assert len(sizes) >= 2, "all photos would go through the network together"
    expected = [scribe.caption(photo) for photo in photos]
    assert len({caption.tokens for caption in expected}) >= 4
    assert_same_captions(scribe.caption(photos), expected)


@pytest.mark.parametrize("options", [{"beams": 1}, {"beams": 4}, {"beams": 4, "num_captions": 3}, {"prompt": "a dog"}])
def test_the_image_encoder_sees_every_image_once(scribe: Scribe, photos: list[Path], options: dict[str, Any]) -> None:
    seen: list[int] = []
    hook = scribe.model.image_encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        scribe.caption(photos, batch_size=3, **options)
    finally:
        hook.remove()
    assert seen == [3, 3, 2]


def test_nothing_asks_for_gradients(photos: list[Path]) -> None:
    scribe = make_scribe()
    scribe.model.requires_grad_(True)
    scribe.caption(photos[0])
    assert all(parameter.grad is None for parameter in scribe.model.parameters())


# What cannot be used


@pytest.fixture
def with_broken(photos: list[Path], tmp_path: Path) -> list[Any]:
    """Good, broken, good, missing, good, no image at all."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(photos[0].read_bytes()[:60])
    return [photos[0], broken, photos[1], tmp_path / "missing.png", photos[2], 42]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_an_error_keeps_its_place_and_the_others_continue(
    scribe: Scribe, photos: list[Path], with_broken: list[Any], batch_size: int
) -> None:
    results = scribe.caption(with_broken, errors="return", batch_size=batch_size)
    assert [isinstance(result, Caption) for result in results] == [True, False, True, False, True, False]
    assert_same_captions(results[::2], scribe.caption(photos[:3]))
    assert all(isinstance(result, InputError) for result in results[1::2])
    for result, name in zip(results[1::2], ("broken.png", "missing.png", "object of type int"), strict=True):
        assert name in str(result)


def test_raising_names_the_file(scribe: Scribe, with_broken: list[Any]) -> None:
    with pytest.raises(InputError, match=r"broken\.png"):
        scribe.caption(with_broken)
    with pytest.raises(InputError, match=r"missing\.png does not exist"):
        scribe.caption(with_broken[3])


def test_a_list_of_nothing_but_broken_images_is_a_list_of_errors(scribe: Scribe, with_broken: list[Any]) -> None:
    assert all(isinstance(result, PicscribeError) for result in scribe.caption(with_broken[1::2], errors="return"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"beam": 3}, "unknown option beam; known are beams"),
        ({"beams": 0}, "beams must be a whole number of at least 1"),
        ({"num_captions": 5}, r"num_captions \(5\) is more than beams \(4\)"),
        ({"beams": len(WORDS) + 1}, "the vocabulary has only"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"errors": "ignore"}, "errors must be 'raise' or 'return'"),
        ({"max_new_tokens": 64}, "64"),
        ({"banned_words": "dog"}, "banned_words must be a list"),
    ],
)
def test_options_that_cannot_be_are_named_in_either_mode(
    scribe: Scribe, photos: list[Path], arguments: dict[str, Any], words: str
) -> None:
    """A wrong option is the caller's mistake, not an image's: it is raised, never returned in an image's place."""
    for mode in ("raise", "return"):
        with pytest.raises(ConfigurationError, match=words):
            scribe.caption(photos[:2], **({"errors": mode} | arguments))


# Options


def test_options_by_name_are_those_of_an_object_and_win_over_it(scribe: Scribe, photos: list[Path]) -> None:
    options = GenerationOptions(beams=2, max_new_tokens=6)
    assert_same_captions(scribe.caption(photos, options=options), scribe.caption(photos, beams=2, max_new_tokens=6))
    assert_same_captions(
        scribe.caption(photos, options=options, beams=1), scribe.caption(photos, beams=1, max_new_tokens=6)
    )
    one, two = (scribe.caption(photos, beams=beams, max_new_tokens=6) for beams in (1, 2))
    assert [caption.score for caption in one] != [caption.score for caption in two]
    assert options == GenerationOptions(beams=2, max_new_tokens=6)


def test_the_limits_of_the_length_hold(scribe: Scribe, photos: list[Path]) -> None:
    free = [len(caption.tokens) for caption in scribe.caption(photos, max_new_tokens=30)]
    least, most = min(free) + 1, max(free) - 1
    longer = scribe.caption(photos, max_new_tokens=30, min_new_tokens=least)
    assert all(len(caption.tokens) >= least for caption in longer)
    shorter = scribe.caption(photos, max_new_tokens=most)
    assert all(len(caption.tokens) <= most for caption in shorter)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_banned_word_is_in_no_caption(scribe: Scribe, photos: list[Path], beams: int) -> None:
    free = scribe.caption(photos, beams=beams, min_new_tokens=12)
    written = {word for caption in free for word in caption.text.split() if word in WORDS and word.isalpha()}
    assert len(written) >= 4
    for banned in (*([word] for word in sorted(written)), ["dog", "cat", "the"]):
        captions = scribe.caption(photos, beams=beams, min_new_tokens=12, banned_words=banned, num_captions=beams)
        for caption in (every for one in captions for every in (one, *one.alternatives)):
            assert not set(banned) & set(caption.text.split()), caption.text


def test_a_banned_word_is_not_written_in_other_pieces_either(photos: list[Path]) -> None:
    scribe = make_scribe()
    bias = scribe.model.text_decoder.output.bias
    for word, change in (("dog", -1e4), ("do", 30), ("##g", 30)):
        bias[WORDS.index(word)] += change
    options = GenerationOptions(beams=8, num_captions=8, min_new_tokens=2, max_new_tokens=2)
    free = scribe.caption(photos[0], options=options)
    assert any(text.text == "dog" for text in free.alternatives), "do and ##g would not come together anyway"
    banned = scribe.caption(photos[0], options=options, banned_words=["dog"])
    assert all(text.text != "dog" for text in banned.alternatives)


def test_a_banned_phrase_is_in_no_caption_though_its_words_may_be(scribe: Scribe, photos: list[Path]) -> None:
    free = scribe.caption(photos, min_new_tokens=12)
    first, second = next(pair for pair in pairwise(free[0].text.split()) if len(set(pair)) == 2 and {*pair} <= {*WORDS})
    captions = scribe.caption(photos, min_new_tokens=12, banned_words=[f"{first} {second}"])
    assert all(f" {first} {second} " not in f" {caption.text} " for caption in captions)
    assert any({first, second} & set(caption.text.split()) for caption in captions)


def test_special_tokens_are_never_written(scribe: Scribe, photos: list[Path]) -> None:
    written = {token for caption in scribe.caption(photos, min_new_tokens=15) for token in caption.tokens}
    assert written.isdisjoint({*scribe.tokenizer.never_written, scribe.tokenizer.sep_id})


def test_a_caption_continues_the_prompt(scribe: Scribe, photos: list[Path]) -> None:
    """Greedy, token by token, from the whole network without a cache: the prompt is not in the result."""
    prompt = "the red dog"
    caption = scribe.caption(photos[2], prompt=prompt, beams=1, max_new_tokens=6)
    ids = prompt_ids(scribe.tokenizer, prompt)
    written: list[int] = []
    while len(written) < 6:
        log_probs = next_log_probs(scribe, photos[2], [*ids, *written])
        log_probs[list(scribe.tokenizer.never_written)] = -math.inf
        token = int(log_probs.argmax())
        if token == scribe.tokenizer.sep_id:
            break
        written.append(token)
    assert caption.tokens == tuple(written)
    assert caption.text == scribe.tokenizer.decode(written)
    prompted = [scribe.caption(photo, prompt=prompt).tokens for photo in photos]
    assert prompted != [scribe.caption(photo).tokens for photo in photos], "the prompt would change nothing"


def next_log_probs(scribe: Scribe, photo: Path, ids: list[int]) -> torch.Tensor:
    pixels = scribe.preprocessing(open_image(photo))[None]
    return scribe.model(pixels, torch.tensor(ids)[None, None])[0, 0, -1].log_softmax(-1)


# Scores


@pytest.mark.parametrize("prompt", [None, "a dog"])
@pytest.mark.parametrize("beams", [1, 4])
def test_scores_equal_those_of_a_second_forward_pass(
    scribe: Scribe, photos: list[Path], beams: int, prompt: str | None
) -> None:
    ended = 0
    for photo in photos:
        caption = scribe.caption(photo, beams=beams, prompt=prompt)
        ids, sep = prompt_ids(scribe.tokenizer, prompt), scribe.tokenizer.sep_id
        follows = [*caption.tokens, sep][: len(caption.log_probabilities)]
        pixels = scribe.preprocessing(open_image(photo))[None]
        logits = scribe.model(pixels, torch.tensor([*ids, *caption.tokens])[None, None])[0, 0, len(ids) - 1 :]
        expected = [float(row[token]) for row, token in zip(logits.log_softmax(-1), follows, strict=False)]
        assert caption.log_probabilities == pytest.approx(expected, abs=1e-3)
        mean = sum(expected) / len(expected)
        assert caption.confidence == pytest.approx(math.exp(mean), rel=1e-3)
        assert 0 <= caption.confidence <= 1
        if len(caption.log_probabilities) == len(caption.tokens) + 1:
            ended += 1
            norm = 1 if beams == 1 else ((5 + len(ids) + len(caption.tokens)) / 6) ** 0.6
            assert caption.score == pytest.approx(sum(expected) / norm, abs=1e-3)
    assert ended, "no caption ended by itself"


def test_alternatives_come_best_first_distinct_and_with_the_caption_itself(scribe: Scribe, photos: list[Path]) -> None:
    for caption in scribe.caption(photos, beams=4, num_captions=3):
        assert len(caption.alternatives) == 3
        first, *_ = caption.alternatives
        assert (first.text, first.tokens, first.score) == (caption.text, caption.tokens, caption.score)
        scores = [other.score for other in caption.alternatives]
        assert scores == sorted(scores, reverse=True)
        assert len({other.tokens for other in caption.alternatives}) == 3
        assert all(other.alternatives == () for other in caption.alternatives)


def test_one_caption_has_no_alternatives(scribe: Scribe, photos: list[Path]) -> None:
    assert scribe.caption(photos[0]).alternatives == ()


# Loading


def test_a_saved_scribe_captions_as_before(scribe: Scribe, photos: list[Path], tmp_path: Path) -> None:
    save(scribe.checkpoint, tmp_path / "saved")
    for folder in (tmp_path / "saved", str(tmp_path / "saved")):
        loaded = picscribe.load(folder)
        assert loaded.name == "saved"
        assert_same_captions(loaded.caption(photos), scribe.caption(photos))


def test_a_device_that_is_not_there_is_named(scribe: Scribe, tmp_path: Path) -> None:
    save(scribe.checkpoint, tmp_path / "saved")
    with pytest.raises(ConfigurationError, match="device 'toaster' cannot be used"):
        picscribe.load(tmp_path / "saved", device="toaster")


# Questions


QUESTIONS = ["the dog runs on", "a", "", "a cat and a man of the red grass", "dog"]


@pytest.mark.parametrize("beams", [1, 3])
def test_questions_share_an_image_and_are_answered_as_one_by_one(
    scribe: Scribe, photos: list[Path], beams: int
) -> None:
    for photo in photos[:3]:
        answers = scribe.ask(photo, QUESTIONS, beams=beams, max_new_tokens=6)
        alone = [scribe.caption(photo, prompt=words, beams=beams, max_new_tokens=6) for words in QUESTIONS]
        assert [answer.tokens for answer in answers] == [caption.tokens for caption in alone]
        assert [answer.text for answer in answers] == [caption.text for caption in alone]
        assert [answer.score for answer in answers] == pytest.approx([caption.score for caption in alone], abs=1e-5)


@pytest.mark.parametrize("questions", ["what is it", []])
def test_questions_are_a_list_of_texts(scribe: Scribe, photos: list[Path], questions: Any) -> None:
    with pytest.raises(InputError, match="questions must be a list of at least one text"):
        scribe.ask(photos[0], questions)
