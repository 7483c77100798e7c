"""An image with all that is learned about it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from picscribe.datasets import Example
from picscribe.errors import InputError
from picscribe.text.prompts import TrainingExample, training_example
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.recipe import Recipe


@dataclass(frozen=True)
class Item:
    """One image with everything that is learned about it: pairs of a question, or "", and what people said."""

    example: Example
    texts: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The first example's id."""
        return self.example.id

    @property
    def place(self) -> str:
        """Its file, or where it is in a larger one: two data sets may share an id."""
        return str(self.example.source)


def group_by_image(examples: Sequence[Example]) -> tuple[Item, ...]:
    """Examples of one image together, in the order of their first; a question is learned with each of its answers.

    Raises InputError for an example without any text.
    """
    groups: dict[object, list[Example]] = {}
    for example in examples:
        if not any(text.strip() for text in example.texts):
            raise InputError(f"{example.where or example.id}: has no text to learn: leave it out")
        groups.setdefault(example.source, []).append(example)
    return tuple(
        Item(group[0], tuple((e.question, text) for e in group for text in e.texts if text.strip()))
        for group in groups.values()
    )


def draw_texts(item: Item, tokenizer: Tokenizer, recipe: Recipe, again: str) -> list[TrainingExample]:
    """The texts that a pass, such as an epoch, learns about an image: all of them, or `texts_an_image`, drawn.

    With objective cider so many of its questions: its captions are what samples are held against, and take no places.
    """
    most, max_tokens = recipe.data.texts_an_image, recipe.data.max_tokens
    draw = random.Random(f"{recipe.seed}/{again}/{item.id}/texts")
    groups = [list(item.texts)]
    if recipe.objective == "cider":
        groups = [[text for text in item.texts if not text[0]], [text for text in item.texts if text[0]]]
    drawn = [text for group in groups for text in (draw.sample(group, most) if len(group) > most else group)]
    return [training_example(tokenizer, question, text, max_tokens) for question, text in drawn]
