"""What captions say to people and what evaluations score: one text in two spellings, and the same when streamed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picscribe import Scribe
from picscribe.datasets import Example
from picscribe.evaluation.answering import answer_batch
from picscribe.generation import GenerationOptions
from tests.tiny_scribe import make_scribe

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "dogs", "close", "up", "cat", "s", "t", "says", "5"]
WORDS += ["##s", "##ly", "-", "'", '"', ",", ".", "(", ")", "!", "/"]


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    """A network that loves punctuation marks."""
    return make_scribe(WORDS, scale=1.0)


PHOTO = np.full((40, 40, 3), 90, np.uint8)


@pytest.mark.parametrize("prompt", [None, "a dog"])
def test_text_is_written_for_people_and_streams_to_the_same(scribe: Scribe, prompt: str | None) -> None:
    differ = 0
    for seed in range(40):
        options = GenerationOptions(temperature=1.5, seed=seed, max_new_tokens=18)
        caption = scribe.caption(PHOTO, prompt=prompt, options=options)
        assert caption.text == scribe.tokenizer.write(caption.tokens)
        pieces = list(scribe.stream(PHOTO, prompt=prompt, options=options))
        assert "".join(pieces) == caption.text
        assert all(pieces)
        if prompt is None:
            assert caption.decoded == scribe.tokenizer.decode(caption.tokens)
        differ += caption.decoded != caption.text
    assert differ > 20


def test_words_are_streamed_before_the_end(scribe: Scribe) -> None:
    streamed = [
        list(scribe.stream(PHOTO, temperature=1.5, seed=seed, max_new_tokens=18, banned_words=["'"]))
        for seed in range(10)
    ]
    assert sum(map(len, streamed)) > 40


def test_evaluations_score_what_the_original_decodes(scribe: Scribe, tmp_path: Path) -> None:
    options = GenerationOptions(temperature=1.5, seed=4, max_new_tokens=18)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    caption = scribe.caption(tmp_path / "photo.png", options=options)
    assert caption.decoded != caption.text
    (answer,) = answer_batch(scribe, (Example(id="1", source=tmp_path / "photo.png", texts=("a",)),), options)
    assert answer.text == caption.decoded
