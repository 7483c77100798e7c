"""An image with all that is learned about it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from picscribe.datasets import Example
from picscribe.errors import InputError
from picscribe.text.prompts import TrainingExample, training_example
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.recipe import Recipe


@dataclass(frozen=True)
class AnnotatedImage:
    """One image, or video, with everything that is learned about it: pairs of a question, or "", and a text."""

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

    @property
    def captions(self) -> list[str]:
        """The texts that answer no question."""
        return [text for question, text in self.texts if not question]

    def flat_example(self) -> Example:
        """The example with every question and text in its `texts`."""
        return replace(self.example, texts=tuple(text for pair in self.texts for text in pair))


def group_by_image(examples: Sequence[Example]) -> tuple[AnnotatedImage, ...]:
    """Examples of one image together, in the order of their first; a question is learned with each of its answers.

    Raises InputError for an example without any text.
    """
    groups: dict[object, list[Example]] = {}
    for example in examples:
        if not any(text.strip() for text in example.texts):
            raise InputError(f"{example.where or example.id}: has no text to train on: remove it from the data")
        groups.setdefault(example.source, []).append(example)
    return tuple(
        AnnotatedImage(group[0], tuple((e.question, text) for e in group for text in e.texts if text.strip()))
        for group in groups.values()
    )


def draw_texts(image: AnnotatedImage, tokenizer: Tokenizer, recipe: Recipe, image_pass: str) -> list[TrainingExample]:
    """The texts that a pass, such as an epoch, learns about an image: all of them, or `texts_an_image`, drawn.

    With objective cider the limit is for its questions: its captions are what samples are scored against.
    """
    most, max_tokens = recipe.data.texts_an_image, recipe.data.max_tokens
    draw = random.Random(f"{recipe.seed}/{image_pass}/{image.id}/texts")
    groups = [list(image.texts)]
    if recipe.objective == "cider":
        groups = [[text for text in image.texts if not text[0]], [text for text in image.texts if text[0]]]
    drawn = [text for group in groups for text in (draw.sample(group, most) if len(group) > most else group)]
    return [training_example(tokenizer, question, text, max_tokens) for question, text in drawn]
