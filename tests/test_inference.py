"""Every job of a Scribe: questions, classes, scores, streams; batches as one by one, and each against a slow oracle."""

import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from picscribe import ConfigurationError, InputError, Scribe, Video
from picscribe.inference import fitting_batch_size
from picscribe.media.preprocessing import Preprocessing, resized
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.scribe import _batch_size_on_cpu
from picscribe.text.prompts import prompt_ids
from tests import tiny_scribe

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "the",
    "dog",
    "cat",
    "do",
    "##g",
    "##s",
    "man",
    "runs",
    "red",
]


make_scribe = partial(tiny_scribe.make_scribe, WORDS)


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    return make_scribe()


def photos(count: int, seed: int = 0, height: int = 40) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [
        np.kron(draw.integers(0, 256, (2, 2, 3)), np.ones((height // 2, 24, 1))).astype(np.uint8) for _ in range(count)
    ]


def questions(draw: random.Random, count: int) -> list[str]:
    return [
        " ".join(draw.choices(["a", "the", "dog", "man", "red", "cats"], k=draw.randint(1, 9))) for _ in range(count)
    ]


def log_probs(scribe: Scribe, photo: np.ndarray, ids: list[int]) -> torch.Tensor:
    """Of every next token after each of `ids`."""
    pixels = scribe.pixels(photo)[None]
    return scribe.model(pixels, torch.tensor([[ids]]))[0, 0].log_softmax(-1)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_mixed_questions_are_answered_as_one_by_one(scribe: Scribe, seed: int, beams: int) -> None:
    """Images with one to forty questions of any length, and images that cannot be used between them."""
    draw = random.Random(seed)
    images: list[Any] = photos(7, seed)
    asked: list[Any] = [(image, questions(draw, draw.choice([1, 2, 5, 17, 40]))) for image in images]
    asked.insert(2, (b"no image", ["a dog"]))
    asked.insert(5, (images[0], []))
    found = list(scribe.answers(asked, beams=beams, max_new_tokens=5, batch_size=4, errors="return"))
    assert isinstance(found[2], InputError)
    assert isinstance(found[5], InputError)
    for (image, texts), answers in zip(asked, found, strict=True):
        if isinstance(answers, InputError):
            continue
        for text, answer in zip(texts, answers, strict=True):
            (alone,) = scribe.ask(image, [text], beams=beams, max_new_tokens=5)
            assert answer.tokens == alone.tokens
            assert answer.score == pytest.approx(alone.score, abs=1e-4)


def test_an_error_among_questions_is_raised_unless_wanted(scribe: Scribe) -> None:
    with pytest.raises(InputError, match="list of at least one text"):
        list(scribe.answers([(photos(1)[0], "a dog")]))


LABELS = ["dog", "dogs", "the dog", "the red dog", "cat", "CAT", "man", "", "zzz", "dog runs"]


def test_classes_are_ranked_by_their_log_likelihood(scribe: Scribe) -> None:
    kept = ["dog", "dogs", "the dog", "the red dog", "cat", "man", "dog runs"]
    images = photos(5, 1)
    found = scribe.classify(images, LABELS, top_k=20, batch_size=2)
    for image, result in zip(images, found, strict=True):
        expected = {}
        for label in kept:
            ids = [*scribe.tokenizer.encode(label), scribe.tokenizer.sep_id]
            after = log_probs(scribe, image, [scribe.tokenizer.cls_id, *ids[:-1]])
            expected[label] = float(after[range(len(ids)), ids].sum())
        total = math.fsum(map(math.exp, expected.values()))
        assert [one.label for one in result.ranking] == sorted(kept, key=lambda label: -expected[label])
        assert result.label == result.ranking[0].label
        for one in result.ranking:
            assert one.log_likelihood == pytest.approx(expected[one.label], abs=1e-4)
            assert one.probability == pytest.approx(math.exp(expected[one.label]) / total, rel=1e-3)
        alone = scribe.classify(image, LABELS, top_k=1)
        assert [one.label for one in alone.ranking] == [result.label]
        assert alone.ranking[0].probability == pytest.approx(result.ranking[0].probability, rel=1e-3)


def test_greedy_classification_takes_the_likeliest_allowed_word(scribe: Scribe) -> None:
    labels = [label for label in LABELS if label and label != "zzz"]
    sep, ids_of = scribe.tokenizer.sep_id, {tuple(scribe.tokenizer.encode(label)): label for label in reversed(labels)}
    images = photos(6, 2)
    for prompt in (None, "a"):
        found = scribe.classify(images, labels, exact=False, prompt=prompt)
        for image, result in zip(images, found, strict=True):
            begun: list[int] = []
            while sep not in begun:
                allowed = {(*ids, sep)[len(begun)] for ids in ids_of if [*ids, sep][: len(begun)] == begun}
                if begun and len(allowed) > 1:
                    allowed.discard(begun[-1])
                after = log_probs(scribe, image, [*prompt_ids(scribe.tokenizer, prompt), *begun])[-1]
                begun.append(max(allowed, key=lambda token, values=after: float(values[token])))
            assert result.label == ids_of[tuple(begun[:-1])]
            assert math.isnan(result.ranking[0].probability)


def test_scores_are_the_networks(scribe: Scribe) -> None:
    draw = random.Random(1)
    pairs = [(image, questions(draw, count)) for image, count in zip(photos(4, 3), (1, 5, 2, 7), strict=True)]
    for prompt in (None, "the red"):
        before = prompt_ids(scribe.tokenizer, prompt)
        for (image, texts), scores in zip(pairs, scribe.scores(pairs, prompt=prompt, batch_size=3), strict=True):
            assert [score.text for score in scores] == texts
            for text, score in zip(texts, scores, strict=True):
                ids = scribe.tokenizer.encode(text)
                after = log_probs(scribe, image, [*before, *ids])[len(before) - 1 :]
                expected = after[range(len(ids) + 1), [*ids, scribe.tokenizer.sep_id]].tolist()
                assert score.tokens == tuple(ids)
                assert score.log_probabilities == pytest.approx(expected, abs=1e-4)
                assert score.log_likelihood == pytest.approx(sum(expected), abs=1e-4)
                assert score.confidence == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-4)


def test_a_caption_scores_as_the_search_said(scribe: Scribe) -> None:
    for image in photos(4, 4):
        caption = scribe.caption(image, beams=3, min_new_tokens=1, max_new_tokens=4)
        (score,) = scribe.score(image, [caption.text])
        if score.tokens == caption.tokens and len(caption.log_probabilities) > len(caption.tokens):
            assert score.confidence == pytest.approx(caption.confidence, rel=1e-4)


def test_a_stream_joins_to_the_caption(scribe: Scribe) -> None:
    for image in photos(5, 5):
        for settings in ({"beams": 1}, {"temperature": 1.5, "seed": 3}):
            pieces = list(scribe.stream(image, prompt="a", max_new_tokens=12, **settings))
            assert "".join(pieces) == scribe.caption(image, prompt="a", max_new_tokens=12, **settings).text  # type: ignore[call-overload]
        assert "".join(scribe.stream(image)) == scribe.caption(image, beams=1).text


def test_required_words_stand_in_every_caption(scribe: Scribe) -> None:
    for caption in scribe.caption(photos(6, 6), required_words=("dog", "red"), beams=4, max_new_tokens=8):
        words = caption.text.split()
        assert "dog" in words
        assert "red" in words


def test_a_required_word_that_cannot_be_written(scribe: Scribe) -> None:
    with pytest.raises(ConfigurationError, match="'zebra' cannot be written"):
        scribe.caption(photos(1), required_words=("zebra",))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda scribe, image: scribe.ask(image, []), "at least one text"),
        (lambda scribe, image: scribe.ask(image, ["a [SEP] b"]), "special token"),
        (lambda scribe, image: scribe.classify(image, []), "labels"),
        (lambda scribe, image: scribe.classify(image, ["", "zzz"]), "labels"),
        (lambda scribe, image: scribe.classify(image, "dog"), "list of texts"),
        (lambda scribe, image: scribe.classify(image, ["dog"], top_k=0), "top_k must be"),
        (lambda scribe, image: scribe.classify([image], ["dog"], batch_size=0), "batch_size must be"),
        (lambda scribe, image: scribe.score(image, []), "at least one text"),
        (lambda scribe, image: scribe.score(image, "dog"), "list of at least one text"),
        (lambda scribe, image: scribe.score(image, [""]), "cannot be scored"),
        (lambda scribe, image: scribe.score(image, ["[SEP]"]), "cannot be scored"),
        (lambda scribe, image: scribe.score(image, ["dog " * 100]), "positions"),
        (lambda scribe, image: list(scribe.stream(image, beams=2)), "beams=1"),
        (lambda scribe, image: list(scribe.stream(b"")), "empty"),
        (lambda scribe, image: scribe.caption(image, temperature=-1), "temperature must be"),
    ],
)
def test_wrong_uses_are_named(scribe: Scribe, call: Callable[..., Any], words: str) -> None:
    with pytest.raises((InputError, ConfigurationError), match=words):
        call(scribe, photos(1)[0])


def test_a_very_long_question_is_cut_as_the_original_cuts_it(scribe: Scribe) -> None:
    image, long = photos(1)[0], "dog cat " * 1250
    (answer,), (cut,) = scribe.ask(image, [long]), scribe.ask(image, ["dog cat " * 20])
    assert answer == cut


# What a GPU's memory does not hold


def test_a_batch_beyond_the_memory_is_halved(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that holds three images at a time, and one photo that is too much alone."""
    images: list[Any] = [scribe.pixels(photo) for photo in photos(10, 7)]
    images[4] = torch.full_like(images[4], 1.5)
    expected = scribe.caption(images, beams=2)
    encode, sizes = Git.visual_features, []

    def limited(self: Git, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 3 or (pixels == 1.5).all(dim=(1, 2, 3)).any():
            raise torch.cuda.OutOfMemoryError("out of memory")
        return encode(self, pixels)

    monkeypatch.setattr(Git, "visual_features", limited)
    found = scribe.caption(images, beams=2, errors="return")
    assert isinstance(found[4], InputError)
    assert "lower beams" in str(found[4])
    assert [one.tokens for one in found[:4]] == [one.tokens for one in expected[:4]]
    assert [one.tokens for one in found[5:]] == [one.tokens for one in expected[5:]]
    assert max(sizes) == 10


@pytest.mark.parametrize(
    ("fixed", "each", "free", "most", "expected"),
    [(1000, 100, 10_000, 256, 70), (0, 100, 100_000_000, 256, 256), (5000, 100, 1000, 256, 1), (0, 0, 10, 9, 9)],
)
def test_a_batch_that_fits(fixed: int, each: int, free: int, most: int, expected: int) -> None:
    asked = []

    def peak(images: int) -> int:
        asked.append(images)
        return fixed + each * images

    assert fitting_batch_size(peak, free, most) == expected
    assert asked == [1, 3]


def test_on_a_cpu_small_networks_have_large_batches(scribe: Scribe) -> None:
    base, large = ClipVitConfig(), ClipVitConfig(patch_size=14, width=1024, layers=24, heads=16)
    assert scribe.fitting_batch_size() == 64
    sizes = [_batch_size_on_cpu(GitConfig(encoder, TextDecoderConfig())) for encoder in (base, large)]
    assert sizes == [16, 16]


# Faithful pixels of questions


@pytest.mark.parametrize(("size", "longest"), [(480, 640), (420, 560), (32, 42)])
def test_keeping_the_aspect_is_the_originals_transform(size: int, longest: int) -> None:
    kept = resized(Preprocessing(size=size), "keep-aspect")
    assert (kept.mode, kept.size, kept.longer_edge) == ("keep_aspect", size, longest)
    assert resized(kept, "center-crop") == Preprocessing(size=size)
    with pytest.raises(ConfigurationError, match="keep-aspect"):
        resized(kept, "stretch")


def test_images_of_mixed_shapes_are_answered_as_one_by_one() -> None:
    scribe = make_scribe(preprocessing=resized(Preprocessing(size=32), "keep-aspect"))
    images = [image for height in (40, 60, 48) for image in photos(3, height, height)]
    random.Random(2).shuffle(images)
    asked = [(image, ["the dog", "a"]) for image in images]
    shapes = {tuple(scribe.pixels(image).shape) for image in images}
    assert len(shapes) == 3
    for (image, texts), answers in zip(asked, scribe.answers(asked, batch_size=9), strict=True):
        assert [one.tokens for one in answers] == [one.tokens for one in scribe.ask(image, texts)]


# Videos


def make_video_scribe() -> Scribe:
    """A tiny network that takes up to four frames."""
    scribe = make_scribe(seed=5, frames=4, name="tiny video")
    torch.nn.init.normal_(scribe.model.temporal_embedding, std=3.0)  # type: ignore[arg-type]
    return scribe


def frames_of(count: int, seed: int) -> list[Image.Image]:
    return [Image.fromarray(photo) for photo in photos(count, seed)]


def test_videos_and_photos_are_captioned_as_one_by_one(tmp_path: Path) -> None:
    """An animation, folders, lists of one to nine images and photos, in one batch; as pixels stacked by hand."""
    scribe = make_video_scribe()
    gif = tmp_path / "moving.gif"
    first, *others = frames_of(6, 20)
    first.save(gif, save_all=True, append_images=others, duration=100)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames_of(3, 21)):
        frame.save(folder / f"{number}.png")
    sources: list[Any] = [gif, Video(folder), *(Video(frames_of(n, 30 + n)) for n in (1, 2, 4, 9)), photos(1, 3)[0]]
    sources.append(Video(gif, frames=2, start=0.2))
    shapes = [tuple(scribe.pixels(source).shape[:-2]) for source in sources]
    assert shapes == [(4, 3), (3, 3), (1, 3), (2, 3), (4, 3), (4, 3), (3,), (2, 3)]
    together = scribe.caption(sources, beams=3, max_new_tokens=6)
    for source, caption in zip(sources, together, strict=True):
        assert scribe.caption(source, beams=3, max_new_tokens=6).tokens == caption.tokens
        assert scribe.caption(scribe.pixels(source), beams=3, max_new_tokens=6).tokens == caption.tokens
        (answer,) = scribe.ask(source, ["the dog"], beams=3)
        ((again,),) = scribe.answers([(source, ["the dog"])], beams=3)
        assert answer == again
    by_hand = torch.stack([scribe.preprocessing(frame) for frame in frames_of(4, 34)])
    assert torch.equal(scribe.pixels(Video(frames_of(4, 34))), by_hand)


def test_the_order_of_frames_counts() -> None:
    scribe = make_video_scribe()
    frames = frames_of(4, 8)
    one, other = (scribe.score(Video(f), ["the red dog runs"])[0] for f in (frames, frames[::-1]))
    assert one.log_likelihood != pytest.approx(other.log_likelihood, abs=1e-3)


def test_what_a_network_of_photos_sees_of_a_video(scribe: Scribe) -> None:
    frames = frames_of(5, 9)
    assert scribe.caption(Video(frames, frames=1)).tokens == scribe.caption(frames[2]).tokens
    with pytest.raises(InputError, match="video of 5 images is a video, and tiny takes photos: ask for 1 frame"):
        scribe.caption(Video(frames))


def test_more_frames_than_embeddings_are_refused_and_long_videos_picked_from() -> None:
    scribe = make_video_scribe()
    with pytest.raises(InputError, match="7 frames, but tiny video takes at most 4"):
        scribe.caption(Video(frames_of(9, 1), frames=7))
    found = scribe.caption([Video([]), Video(b"nothing"), photos(1)[0]], errors="return")
    assert [isinstance(one, InputError) for one in found] == [True, True, False]
