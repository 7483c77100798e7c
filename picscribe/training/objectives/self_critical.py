"""Captions sampled from the model and what each is worth: CIDEr above that of the others, or of the greedy caption.

Source: self-critical sequence training, Rennie et al., 2017 (arXiv 1612.00563); the others' mean as baseline: Luo, 2020
(arXiv 2003.09971).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions, Wording, generate
from picscribe.generation.decoding import room_for
from picscribe.metrics.cider import CiderScorer
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.model import Git
from picscribe.text.prompts import TrainingExample
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.data.annotated_images import Item
from picscribe.training.data.mixture import Data
from picscribe.training.recipe import SelfCriticalSettings

Tokens = tuple[int, ...]
END = " endofcaption"
"""A word that stands for the end of a caption in its reward: n-grams of words alone do not see that a caption breaks
off, and a network that is rewarded by them learns to end with "in a"."""


@dataclass(frozen=True)
class Rewarded:
    """Sampled texts of each image, as examples to learn from, and what each is worth; not a number where it is a
    person's, to be learned as it is."""

    texts: list[list[TrainingExample]]
    advantages: list[list[float]]
    reward: float

    def advantage_of_tokens(self) -> list[float]:
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

    def __init__(self, settings: SelfCriticalSettings, items: Iterable[Item], tokenizer: Tokenizer) -> None:
        """Raises ConfigurationError for a photo without captions; of one that comes again all captions count."""
        self.settings, self.tokenizer = settings, tokenizer
        self.drawn: list[float] = []
        references: dict[str, list[str]] = {}
        for item in items:
            captions = references.setdefault(str(item.example.source), [])
            captions += [text + END for question, text in item.texts if not question]
        if asked := next((source for source, captions in references.items() if not captions), None):
            raise ConfigurationError(f"objective cider is for captions, but data.train only asks about {asked}")
        path = settings.document_frequencies
        frequencies = with_ends(DocumentFrequencies.load(Path(path)), references) if path else None
        self.scorer = CiderScorer(references, frequencies)

    def draw(
        self,
        model: Git,
        features: Tensor,
        items: Sequence[Item],
        seed: int,
        given: Sequence[Sequence[TrainingExample]] | None = None,
    ) -> Rewarded:
        """Sampled captions of images, by their features (B, I, D); the model is left in the mode it was in.

        Of the texts `given` about each image, those that answer a question are handed on beside them.
        """
        settings = self.settings
        sampled, greedy = self._search(model, features, seed)
        said = [[self._said(tokens) for tokens in of_image] for of_image in sampled]
        for texts, tokens in zip(said, greedy, strict=False):  # none, where the others are the baseline
            texts.append(self._said(tokens))
        each = len(said[0])
        ids = [str(item.example.source) for item in items for _ in range(each)]
        flat = self.scorer.score_batch(ids, [text for texts in said for text in texts])
        scores = torch.from_numpy(flat).view(len(items), each)
        own = scores[:, : settings.samples]
        others = (own.sum(1, keepdim=True) - own) / max(1, settings.samples - 1)
        worth = (own - (scores[:, -1:] if greedy else others)).tolist()
        # A sample that was cut at the limit is taught as ended there.
        learned = [[self._example(tokens) for tokens in of_image] for of_image in sampled]
        for texts_of, advantages, people in zip(learned, worth, given or [()] * len(items), strict=True):
            answers = [text for text in people if text.answers]
            texts_of += answers
            advantages += [math.nan] * len(answers)
        self.drawn.append(float(own.mean()))
        return Rewarded(learned, worth, float(own.mean()))

    def _search(self, model: Git, features: Tensor, seed: int) -> tuple[list[list[Tokens]], list[Tokens]]:
        """Tokens of each image's samples, and where it is the baseline of its greedy caption."""
        mode = model.training
        model.eval()
        settings, most = self.settings, self.settings.max_new_tokens
        sampling = GenerationOptions(
            temperature=settings.temperature,
            num_captions=settings.samples,
            max_new_tokens=most,
            seed=seed,
            own_draws=True,
        )
        searches = [sampling, GenerationOptions(beams=1, max_new_tokens=most)]
        prompts, wording = [[[self.tokenizer.cls_id]]] * len(features), Wording(self.tokenizer.never_written)
        with torch.inference_mode():
            prefix = model.prefix_of(features.float(), room_for(1, 1, settings.samples, most))
            chosen = searches if settings.baseline == "greedy" else searches[:1]
            found = [generate(model, prefix, prompts, options, wording) for options in chosen]
        model.train(mode)
        sampled = [[caption.tokens for caption in of_image[0]] for of_image in found[0]]
        return sampled, [of_image[0][0].tokens for of_image in found[1]] if len(found) > 1 else []

    def _said(self, tokens: Sequence[int]) -> str:
        """What is rewarded: a text, and its end where it was not cut at the limit."""
        return self.tokenizer.decode(tokens) + (END if len(tokens) < self.settings.max_new_tokens else "")

    def _example(self, tokens: Sequence[int]) -> TrainingExample:
        tokens = (self.tokenizer.cls_id, *tokens, self.tokenizer.sep_id)
        return TrainingExample(tokens, (False, *[True] * (len(tokens) - 1)))


def rewards_for(settings: SelfCriticalSettings, data: Data, tokenizer: Tokenizer) -> Rewards:
    """Rewards of a run's captions. Raises ConfigurationError for a photo without any."""
    if data.task != "captions":
        raise ConfigurationError(f"objective cider is for captions, but the data are {data.task}")
    return Rewards(settings, (item for part in data.parts for item in part.items), tokenizer)


def with_ends(counted: DocumentFrequencies, references: Mapping[str, Sequence[str]]) -> DocumentFrequencies:
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
