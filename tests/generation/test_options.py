"""Options that contradict each other or mean nothing are refused when they are made, or before a search begins."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.errors import ConfigurationError, InputError
from picscribe.generation import GenerationOptions, LexicalConstraints, generate
from picscribe.model import Git


def test_the_defaults_are_the_papers() -> None:
    options = GenerationOptions()
    assert (options.beams, options.max_new_tokens, options.length_penalty, options.scoring) == (4, 20, 0.6, "git")
    assert GenerationOptions.names() == tuple(field.name for field in dataclasses.fields(options))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beams": 0}, "beams must be a whole number of at least 1, not 0"),
        ({"beams": 2.0}, "beams"),
        ({"beams": True}, "beams"),
        ({"beams": "4"}, "beams"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": None}, "max_new_tokens"),
        ({"min_new_tokens": -1}, "min_new_tokens"),
        ({"min_new_tokens": 21}, "more than max_new_tokens"),
        ({"num_captions": 0}, "num_captions"),
        ({"num_captions": 5}, "at least as many beams"),
        ({"beams": 1, "num_captions": 2}, "at least as many beams"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram"),
        ({"length_penalty": "long"}, "length_penalty"),
        ({"length_penalty": float("nan")}, "length_penalty"),
        ({"length_penalty": float("inf")}, "length_penalty"),
        ({"length_penalty": True}, "length_penalty"),
        ({"scoring": "hf"}, "one of git, transformers"),
        ({"scoring": ["git"]}, "one of git, transformers"),
        ({"banned_words": "dog"}, "list of words"),
        ({"banned_words": ("dog", " ")}, "words that are not empty"),
        ({"banned_words": (7,)}, "banned_words"),
        ({"banned_words": 7}, "banned_words"),
        ({"no_immediate_repeat": "no"}, "no_immediate_repeat must be True or False"),
        ({"special_tokens": 1}, "special_tokens must be True or False"),
    ],
)
def test_bad_values_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        GenerationOptions(**settings)


def test_banned_words_of_a_list_are_kept_as_a_tuple() -> None:
    assert GenerationOptions(banned_words=["dog", "hot dog"]).banned_words == ("dog", "hot dog")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompts", "settings", "error", "words"),
    [
        (
            [[[1]]],
            {"max_new_tokens": 40},
            ConfigurationError,
            "1 tokens and 40 new tokens do not fit into the model's 40",
        ),
        ([[[1]]], {"beams": 24}, ConfigurationError, "24 beams, but the vocabulary has only 23"),
        ([[[1]], [[1]]], {}, InputError, "1 images but prompts for 2"),
        ([], {}, InputError, "at least one prompt"),
        ([[]], {}, InputError, "at least one"),
        ([[[]]], {}, InputError, "at least \\[CLS\\]"),
        ([[[1, 23]]], {}, InputError, "token 23, .* vocabulary of 23"),
        ([[[1, -1]]], {}, InputError, "token -1, .* vocabulary of 23"),
    ],
)
def test_prompts_that_cannot_be_searched(
    prompts: Any,
    settings: dict[str, Any],
    error: type[Exception],
    words: str,
    tiny_model: Callable[..., Git],
    random_pixels: Callable[..., Tensor],
) -> None:
    model = tiny_model(0)
    with torch.no_grad():
        prefix = model.encode(random_pixels(0, 1))
    with pytest.raises(error, match=words):
        generate(model, prefix, prompts, GenerationOptions(**settings))


def test_a_banned_word_of_no_tokens(tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]) -> None:
    model = tiny_model(0)
    with torch.no_grad():
        prefix = model.encode(random_pixels(0, 1))
    with pytest.raises(ConfigurationError, match="banned word"):
        generate(model, prefix, [[[1]]], GenerationOptions(), LexicalConstraints(banned=[[5], []]))
