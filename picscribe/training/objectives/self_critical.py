"""Captions sampled from the model and what each is worth: its CIDEr above the mean of the image's other samples.

Source: self-critical sequence training, Rennie et al., 2017 (arXiv 1612.00563); the others' mean as baseline: Luo,
2020 (arXiv 2003.09971).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions, LexicalConstraints, generate
from picscribe.generation.decoding import room_for
from picscribe.metrics.cider import CiderScorer
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.model import Git
from picscribe.text.prompts import TrainingExample
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.data.annotated_images import AnnotatedImage
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import Recipe, SelfCriticalSettings

Tokens = tuple[int, ...]
END = " endofcaption"
"""A word that marks the end of a caption in its reward: n-grams of words alone do not see that a caption breaks
off, and a network that is rewarded by them learns to end with "in a"."""


@dataclass(frozen=True)
class SampledTexts:
    """Sampled texts of each image, as examples to learn from, and what each is worth; not a number where it is a
    person's, to be learned as it is."""

    texts: list[list[TrainingExample]]
    advantages: list[list[float]]
    reward: float

    def spread_over_tokens(self) -> list[float]:
        """What each token that is learned is worth: a text's advantage for every one that it predicts."""
        return [
            advantage
            for of_image, texts in zip(self.advantages, self.texts, strict=True)
            for advantage, text in zip(of_image, texts, strict=True)
            for _ in range(sum(text.predict))
        ]


class Rewards:
    """Samples captions of a batch and rewards them by CIDEr-D against the images' captions.

    `drawn` are the mean rewards of the batches since it was last emptied.
    """

    def __init__(
        self,
        settings: SelfCriticalSettings,
        images: Iterable[AnnotatedImage],
        tokenizer: Tokenizer,
        *,
        max_new_tokens: int = 20,
    ) -> None:
        """Raises ConfigurationError for a photo without captions; of one that comes again all captions count."""
        self.settings, self.tokenizer, self.max_new_tokens = settings, tokenizer, max_new_tokens
        self.drawn: list[float] = []
        references: dict[str, list[str]] = {}
        for image in images:
            references.setdefault(image.place, []).extend(text + END for text in image.captions)
        if asked := next((source for source, captions in references.items() if not captions), None):
            raise ConfigurationError(
                f"objective cider is for captions, but data.train has only questions about {asked}: add "
                "captions, or set objective to words"
            )
        path = settings.document_frequencies
        frequencies = add_ends(DocumentFrequencies.load(Path(path)), references) if path else None
        self.scorer = CiderScorer(references, frequencies)

    def draw(
        self,
        model: Git,
        features: Tensor,
        images: Sequence[AnnotatedImage],
        *,
        seed: int,
        given: Sequence[Sequence[TrainingExample]] | None = None,
    ) -> SampledTexts:
        """Sampled captions of images, by their features (B, I, D); the model is left in the mode it was in.

        Of the texts `given` about each image, those that answer a question are added to its samples.
        """
        count = self.settings.samples
        sampled = self._sample(model, features, seed)
        ids = [image.place for image in images for _ in range(count)]
        rewards = self.scorer.score_batch(ids, [self._rewarded_text(tokens) for each in sampled for tokens in each])
        own = torch.from_numpy(rewards).view(len(images), count)
        others = (own.sum(1, keepdim=True) - own) / (count - 1)
        advantages = (own - others).tolist()
        # A sample that was cut at the limit is taught as ended there.
        texts = [[self._make_example(tokens) for tokens in of_image] for of_image in sampled]
        for of_image, worth, people in zip(texts, advantages, given or [()] * len(images), strict=True):
            answers = [text for text in people if text.answers]
            of_image += answers
            worth += [math.nan] * len(answers)
        self.drawn.append(float(own.mean()))
        return SampledTexts(texts, advantages, float(own.mean()))

    def _sample(self, model: Git, features: Tensor, seed: int) -> list[list[Tokens]]:
        """Tokens of each image's samples."""
        mode, count, most = model.training, self.settings.samples, self.max_new_tokens
        options = GenerationOptions(temperature=1.0, num_captions=count, max_new_tokens=most, seed=seed, own_draws=True)
        prompts, words = [[[self.tokenizer.cls_id]]] * len(features), LexicalConstraints(self.tokenizer.never_written)
        model.eval()
        with torch.inference_mode():
            prefix = model.prefix_of(features.float(), room_for(1, 1, count, most))
            found = generate(model, prefix, prompts, options, words)
        model.train(mode)
        return [[caption.tokens for caption in of_image[0]] for of_image in found]

    def _rewarded_text(self, tokens: Sequence[int]) -> str:
        """What is rewarded: a text, and its end where it was not cut at the limit."""
        return self.tokenizer.decode(tokens) + (END if len(tokens) < self.max_new_tokens else "")

    def _make_example(self, tokens: Sequence[int]) -> TrainingExample:
        tokens = (self.tokenizer.cls_id, *tokens, self.tokenizer.sep_id)
        return TrainingExample(tokens, (False, *[True] * (len(tokens) - 1)))


def make_rewards(recipe: Recipe, data: TrainingData, tokenizer: Tokenizer) -> Rewards | None:
    """Rewards of a run whose objective is CIDEr. Raises ConfigurationError for data without captions."""
    if recipe.objective != "cider":
        return None
    if data.task != "captions":
        raise ConfigurationError(
            f"objective cider is for captions, but the data are {data.task}: set objective to words"
        )
    limit = recipe.validation.max_new_tokens
    return Rewards(recipe.self_critical, data.images(), tokenizer, max_new_tokens=limit)


def add_ends(counted: DocumentFrequencies, references: Mapping[str, Sequence[str]]) -> DocumentFrequencies:
    """A file's frequencies, and those of what ends a caption, which files do not have: from captions that end in END,
    brought to the file's number of images.
    """
    own, counts = DocumentFrequencies.of_references(references), counted.by_ngram()
    share = counted.documents / own.documents
    ends = [(text, count) for text, count in own.by_ngram().items() if text.rpartition(" ")[2] == END.strip()]
    for text, count in sorted(ends, key=lambda pair: pair[0].count(" ")):
        # No n-gram is in more images than what it is made of; one with a part that the file lacks is as rare as that.
        parts = (text.rpartition(" ")[0], text.partition(" ")[2])
        most = min((counts.get(part, 0) for part in parts if part), default=counted.documents)
        if most:
            counts[text] = min(most, max(1, round(count * share)))
    return DocumentFrequencies.of_counts(counted.documents, counts)
