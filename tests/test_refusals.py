"""What cannot be used is refused in every job alike: broken numbers, tensors that are no images, unknown words."""

import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from picscribe import ConfigurationError, GenerationOptions, InputError, Scribe, batches
from picscribe.errors import CheckpointError
from picscribe.generation.label_trie import LabelTrie
from picscribe.inference import Inference
from picscribe.media.preprocessing import Preprocessing, resized
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig
from picscribe.text.prompts import Prompt
from tests import tiny_scribe

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "dog", "cat", "##s", "man", "runs", "red"]

JOBS: dict[str, Callable[[Scribe, Any], Any]] = {
    "caption": lambda scribe, image: scribe.caption(image, min_new_tokens=1),
    "greedy": lambda scribe, image: scribe.caption(image, beams=1),
    "sample": lambda scribe, image: scribe.caption(image, temperature=1.0),
    "ask": lambda scribe, image: scribe.ask(image, ["the dog", "a"]),
    "classify": lambda scribe, image: scribe.classify(image, ["dog", "the cat"]),
    "classify greedily": lambda scribe, image: scribe.classify(image, ["dog", "the cat"], exact=False),
    "score": lambda scribe, image: scribe.score(image, ["a dog", "cats"]),
    "stream": lambda scribe, image: "".join(scribe.stream(image, min_new_tokens=1)),
    "explain": lambda scribe, image: scribe.explain(image, min_new_tokens=1),
    "rollout": lambda scribe, image: scribe.explain(image, method="rollout", min_new_tokens=1),
}


make_scribe = partial(tiny_scribe.make_scribe, WORDS, scale=1.0)


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    return make_scribe()


def photo(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# Numbers that are not finite


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("factor", [float("nan"), 3e38])
def test_a_network_that_overflows_says_so_in_every_job(job: str, factor: float) -> None:
    broken = make_scribe()
    broken.model.text_decoder.embedding_norm.weight.data.mul_(factor)
    with pytest.raises(CheckpointError, match=r"not finite, in float32: .* download the checkpoint again"):
        JOBS[job](broken, photo())


def test_the_type_that_overflows_is_named(scribe: Scribe) -> None:
    half = make_scribe()
    half.model.bfloat16()
    half.model.text_decoder.embedding_norm.weight.data.fill_(float("inf"))
    with pytest.raises(CheckpointError, match=r"in bfloat16: .* load it with dtype float32"):
        half.caption(photo())


def test_an_image_whose_numbers_overflow_fails_alone(scribe: Scribe) -> None:
    """As one may in float16: of five, the third one's features are infinite."""
    images = [scribe.pixels(photo(seed=seed)) for seed in range(5)]
    expected = scribe.caption(images, beams=2)

    def overflow(_: Any, inputs: Any, features: torch.Tensor) -> torch.Tensor:
        same = (inputs[0] == images[2]).all(dim=(1, 2, 3))
        return torch.where(same[:, None, None], torch.inf, features)

    hook = scribe.model.image_encoder.register_forward_hook(overflow)
    try:
        found = scribe.caption(images, beams=2, errors="return")
    finally:
        hook.remove()
    assert [isinstance(one, CheckpointError) for one in found] == [False, False, True, False, False]
    for place in (0, 1, 3, 4):
        assert found[place].tokens == expected[place].tokens  # type: ignore[union-attr]


# Tensors that are no images


def changed(scribe: Scribe, value: float) -> torch.Tensor:
    pixels = scribe.pixels(photo()).clone()
    pixels[1, 3, 4] = value
    return pixels


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda scribe: torch.zeros(3, 10, 10), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.zeros(3, 0, 0), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.zeros(3, 32, 48), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.zeros(32, 32), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.tensor(1.0), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.zeros(1, 32, 32), "must be pixels as Scribe.pixels makes them"),
        (lambda scribe: torch.zeros(2, 3, 32, 32), "2 frames cannot be used: tiny takes photos"),
        (lambda scribe: torch.zeros(3, 32, 32, dtype=torch.uint8), "of uint8: give its image as an array"),
        (lambda scribe: changed(scribe, float("nan")), "not finite"),
        (lambda scribe: changed(scribe, float("inf")), "not finite"),
        (lambda scribe: changed(scribe, -5.0), "a tensor of pixels goes from"),
        (lambda scribe: changed(scribe, 255.0), "a tensor of pixels goes from"),
        (lambda scribe: np.zeros((9, 9, 3), np.float32), "is not an image"),
        (lambda scribe: np.full((9, 9, 3), np.nan), "is not an image"),
        (lambda scribe: np.zeros((0, 0, 3), np.uint8), "no picture"),
    ],
)
def test_tensors_and_arrays_that_are_not_images(scribe: Scribe, make: Callable[[Scribe], Any], words: str) -> None:
    given = make(scribe)
    for job in ("caption", "classify", "score", "stream", "explain", "ask"):
        with pytest.raises(InputError, match=words):
            JOBS[job](scribe, given)
    found = scribe.caption([photo(), given, photo()], errors="return")
    assert [isinstance(one, InputError) for one in found] == [False, True, False]


@pytest.mark.parametrize(
    ("frames", "words"),
    [(0, "0 frames cannot be used"), (5, "5 frames cannot be used: tiny takes videos")],
)
def test_too_many_frames_in_a_tensor(frames: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_scribe(frames=4).caption(torch.zeros(frames, 3, 32, 32))


def test_pixels_from_another_device_or_with_gradients_are_taken(scribe: Scribe) -> None:
    pixels = scribe.pixels(photo())
    for given in (pixels.clone().requires_grad_(), pixels.expand(3, 32, 32), pixels.transpose(1, 2).contiguous().mT):
        assert scribe.caption(given) == scribe.caption(pixels)


@pytest.mark.parametrize("size", [48, 63, 96])
def test_every_size_that_keeping_the_aspect_makes_is_taken_back(size: int) -> None:
    kept = resized(Preprocessing(size=size), "keep-aspect")
    scribe = make_scribe(preprocessing=kept)
    for height in (30, 31, 40, 47, 64, 100):
        for width in (33, 40, 50, 64, 99):
            scribe.pixels(scribe.pixels(photo(height, width)))
    with pytest.raises(InputError, match="must be pixels as Scribe"):
        scribe.pixels(torch.zeros(3, size - 8, size - 8))


# Every job, every way to resize, every shape

ENCODERS = {
    "vit": ClipVitConfig(width=16, layers=2, heads=2, mlp_width=32, patch_size=16, image_size=64),
    "efficientnet": EfficientNetLiteConfig(image_size=64, variant=0),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("resize", ["center-crop", "keep-aspect", "square"])
def test_every_job_with_every_resize_of_every_shape(encoder: str, resize: str) -> None:
    scribe = make_scribe(encoder=ENCODERS[encoder], preprocessing=resized(Preprocessing(size=64), resize))
    for height, width in ((64, 64), (40, 120), (120, 40), (70, 90), (1, 9), (9, 1)):
        image = photo(height, width)
        try:
            shape = scribe.pixels(image).shape[1:]
        except InputError:
            assert resize == "keep-aspect" and min(height, width) == 1, "only what is too thin for a patch"
            continue
        results = {name: job(scribe, image) for name, job in JOBS.items()}
        assert results["stream"] == results["greedy"].text or results["greedy"].text == ""
        cell = 16 if encoder == "vit" else 32
        rows, columns = ((side // 16, -(-side // 32))[encoder != "vit"] for side in shape)
        for name in ("explain", "rollout"):
            maps = results[name].maps
            assert maps.shape[1:] == (1, rows, columns), (shape, cell)
            assert np.allclose(maps.sum((1, 2, 3)), 1, atol=1e-4)
            results[name].draw()


# Words that nobody knows, and words that do not get in


def score_text(scribe: Scribe, text: str) -> Any:
    return scribe.score(photo(), [text])


def test_texts_of_unknown_words_alone_are_not_scored(scribe: Scribe) -> None:
    with pytest.raises(InputError, match="has no word that the checkpoint knows"):
        scribe.score(photo(), ["☃☂"])
    found = scribe.score(photo(), ["a", "☃"], errors="return")
    assert [isinstance(one, InputError) for one in found] == [False, True]


@pytest.mark.parametrize(
    "call",
    [
        lambda scribe, text: scribe.caption(photo(), prompt=text),
        lambda scribe, text: scribe.ask(photo(), ["a", text]),
        score_text,
        lambda scribe, text: scribe.score(photo(), ["a"], prompt=text),
        lambda scribe, text: scribe.classify(photo(), ["dog"], prompt=text),
        lambda scribe, text: list(scribe.stream(photo(), prompt=text)),
        lambda scribe, text: scribe.explain(photo(), prompt=text, min_new_tokens=1),
    ],
)
def test_unknown_words_among_others_are_warned_of(scribe: Scribe, call: Callable[[Scribe, str], Any]) -> None:
    with pytest.warns(UserWarning, match="has words that the checkpoint does not know: 'zebra', '☃'"):
        call(scribe, "a zebra ☃ dog")
    if call is not score_text:
        with pytest.warns(UserWarning, match="has no word that the checkpoint knows"):
            call(scribe, "☃")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(scribe, "a dog")


def test_a_prompt_that_is_cut_says_what_was_cut(scribe: Scribe) -> None:
    with pytest.warns(
        UserWarning, match=r"has 42 tokens, of which only 38 are read: it is read without 'man man' and 'cat runs'"
    ):
        scribe.ask(photo(), ["man man " + "dog " * 38 + "cat runs"])
    assert Prompt.of(scribe.tokenizer, "dog " * 38).notes == ()
    (note,) = Prompt.of(scribe.tokenizer, "red " + "dog " * 38).notes
    assert note.endswith("39 tokens, of which only 38 are read: it is read without 'red'")


# Options


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": 1.0, "beams": 2}, "beams has no effect on sampling"),
        ({"temperature": 1.0, "beams": 4}, "beams has no effect on sampling"),
        ({"temperature": 1.0, "length_penalty": 0.6}, "length_penalty has no effect on sampling"),
        ({"temperature": 1.0, "scoring": "git"}, "scoring has no effect on sampling"),
        ({"beams": 1, "length_penalty": 1.0}, "length_penalty has no effect on greedy"),
        ({"beams": 1, "scoring": "transformers"}, "scoring has no effect on greedy"),
        ({"seed": 1}, "seed has no effect on a search"),
        ({"seed": 0}, "seed has no effect on a search"),
        ({"own_draws": True}, "own_draws has no effect on a search"),
        ({"diversity_penalty": 1.0}, "diversity_penalty has no effect without beam_groups"),
        ({"temperature": 1e-40}, "temperature must be 0, for a search, or at least 0.00001"),
        ({"beams": np.True_}, "beams must be a whole number"),
        ({"beams": 2.0}, "beams must be a whole number"),
    ],
)
def test_options_without_effect_are_refused(scribe: Scribe, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        scribe.caption(photo(), **given)


def test_numpy_numbers_are_numbers(scribe: Scribe) -> None:
    options = GenerationOptions(beams=np.int64(2), length_penalty=np.float32(0.5), max_new_tokens=np.uint8(5))  # type: ignore[arg-type]
    assert options == GenerationOptions(beams=2, length_penalty=0.5, max_new_tokens=5)
    assert {type(options.beams), type(options.length_penalty)} == {int, float}
    images = [photo(), photo(seed=1)]
    assert scribe.caption(images, batch_size=np.int64(1)) == scribe.caption(images, batch_size=1)
    assert len(scribe.classify(images[0], ["dog", "cat"], top_k=np.int32(1)).ranking) == 1


def test_a_stream_at_temperature_nought_is_greedy(scribe: Scribe) -> None:
    assert "".join(scribe.stream(photo(), temperature=0)) == scribe.caption(photo(), beams=1).text
    assert "".join(scribe.stream(photo(), temperature=0.0, max_new_tokens=3))


# How many images fit


class Gpu:
    """A GPU that is not there: counts the batches that are tried, each image taking `each` bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: int = 100, free: int = 10_000, holds: int = 100) -> None:
        self.batches: list[tuple[int, ...]] = []

        def compute(inference: Inference, items: Any) -> list[Any]:
            if len(items) > holds:
                raise torch.cuda.OutOfMemoryError("out of memory")
            self.batches.append((len(items), *items[0].pixels.shape))
            return [InputError("mocked") for _ in items]

        monkeypatch.setattr(Inference, "device", property(lambda inference: torch.device("cuda")))
        monkeypatch.setattr(Inference, "compute", compute)
        monkeypatch.setattr(LabelTrie, "to", lambda trie, device: trie)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + each * self.batches[-1][0])
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_on_a_gpu_it_is_measured_once_for_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    scribe = make_scribe()
    gpu = Gpu(monkeypatch)
    many = [photo(seed=seed) for seed in range(40)]
    for _ in range(3):
        list(scribe.captions(many, errors="return"))
        list(scribe.classifications(many, ["dog"], errors="return"))
        list(scribe.scores([(image, ["dog"]) for image in many], errors="return"))
        list(scribe.answers([(image, ["dog"]) for image in many], errors="return"))
    assert [batch[0] for batch in gpu.batches] == [1, 3] + [40] * 12
    assert scribe.fitting_batch_size() == 80
    scribe.fitting_batch_size(GenerationOptions(beams=8))
    assert [batch[0] for batch in gpu.batches[14:]] == [1, 3]


def test_a_few_images_are_not_worth_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    scribe = make_scribe()
    gpu = Gpu(monkeypatch)
    scribe.caption(photo(), errors="return")
    scribe.caption([photo(seed=seed) for seed in range(16)], errors="return")
    scribe.classify(photo(), ["dog"], errors="return")
    with pytest.raises(InputError, match="mocked"):
        scribe.ask(photo(), ["a", "dog"])
    with pytest.raises(InputError, match="mocked"):
        scribe.score(photo(), ["a", "dog"])
    with pytest.raises(InputError, match="mocked"):
        scribe.explain(photo())
    assert [batch[0] for batch in gpu.batches] == [1, 16, 1, 1, 1, 1]


def test_the_largest_images_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    make_scribe(frames=4).fitting_batch_size()
    make_scribe(preprocessing=resized(Preprocessing(size=48), "keep-aspect")).fitting_batch_size()
    assert gpu.batches == [(1, 4, 3, 32, 32), (3, 4, 3, 32, 32), (1, 3, 48, 64), (3, 3, 48, 64)]


@pytest.mark.parametrize("holds", [0, 1, 2])
def test_a_gpu_that_cannot_even_be_measured_takes_one_by_one(monkeypatch: pytest.MonkeyPatch, holds: int) -> None:
    Gpu(monkeypatch, holds=holds)
    assert make_scribe().fitting_batch_size() == 1


# Threads that read


def test_one_pool_of_reading_threads_serves_all_calls(scribe: Scribe) -> None:
    def readers() -> set[int | None]:
        return {thread.ident for thread in threading.enumerate() if "reading" in thread.name}

    for _ in range(20):
        scribe.caption([photo(), photo(seed=1)], beams=1)
        list(scribe.captions([photo()] * 5, beams=1))
    before = readers()
    assert len(before) <= batches.READERS
    for _ in range(20):
        scribe.caption(photo(), beams=1)
    assert readers() == before


def test_a_cancelled_read_stops_and_others_continue(scribe: Scribe) -> None:
    begun: list[int] = []
    hold = threading.Event()

    def slowly(number: int) -> int:
        begun.append(number)
        hold.wait(10)
        return number

    waiting = batches.read_ahead(range(100), slowly, 50)
    threading.Timer(0.05, hold.set).start()
    assert next(waiting) == 0
    hold.clear()
    threading.Timer(0.05, hold.set).start()
    waiting.close()
    seen = len(begun)
    assert list(batches.read_ahead(range(5), lambda number: number * 2, 2)) == [0, 2, 4, 6, 8]
    assert len(begun) == seen < 100


def test_a_question_is_not_called_a_prompt(scribe: Scribe) -> None:
    with pytest.warns(UserWarning, match="^the question 'a zebra' has"):
        scribe.ask(photo(), ["a zebra"])
    with pytest.raises(InputError, match=r"^the question 'what \[SEP\]' has"):
        scribe.ask(photo(), ["what [SEP]"])
