"""How good a run is so far: scores on the validation data, samples to look at, and the best checkpoint."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch

from picscribe.checkpoints import Checkpoint, save
from picscribe.datasets import Example
from picscribe.errors import InputError
from picscribe.evaluation.answering import answer_batches, plan_batches
from picscribe.evaluation.results import Item
from picscribe.evaluation.warning_signs import warning_signs
from picscribe.metrics.scores import choose_metric, score
from picscribe.model import Git
from picscribe.scribe import Scribe
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import Recipe
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.setup.low_rank import has_low_rank, merge_low_rank
from picscribe.versions import versions

MOST_AT_ONCE = 32
"""Images that are captioned at once; fewer where training takes fewer."""


class Validation:
    """`best` is the best score so far, `waited` how many validations have passed since; `unreadable` are the examples
    that cannot be used, and why."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        data: TrainingData,
        start: Checkpoint,
        folder: RunFolder,
        say: Callable[[str], None],
    ) -> None:
        self.recipe, self.data, self.start, self.folder, self.say = recipe, data, start, folder, say
        self.best, self.waited = -math.inf, 0
        self.unreadable: dict[str, str] = {}
        optimisation = recipe.optimisation
        self.batch_images = min(MOST_AT_ONCE, optimisation.batch_images // optimisation.accumulate)
        self.examples = _draw(data.validation, recipe.validation.images, recipe.seed)

    def score(self, model: Git, step: int) -> dict[str, float]:
        """The model's scores on the validation data, LoRA's additions merged; the best model is saved."""
        settings = self.recipe.validation
        examples = self.examples
        whole = (merge_low_rank(model) if has_low_rank(model) else model).eval()
        checkpoint = replace(self.start, model=whole, name=self.recipe.name, folder=self.folder.best)
        with torch.random.fork_rng(devices=[]):  # validating must not change what is learned after it
            batches = plan_batches(examples, self.batch_images)
            answered = answer_batches(Scribe(checkpoint), batches, settings.options())
            found = {answer.id: answer for batch in answered for answer in batch}
        self.unreadable = {identity: answer.error for identity, answer in found.items() if answer.error}
        texts = {example.id: example.texts for example in examples if example.id not in self.unreadable}
        if not texts:
            raise InputError(
                f"no validation example could be used (check data.validation): {next(iter(found.values())).error}"
            )
        if self.unreadable:
            self.say(f"{len(self.unreadable)} of the {len(examples)} validation examples could not be used")
        said = {identity: found[identity].text for identity in texts}
        metric = choose_metric(None, self.data.task, self.data.form, texts)
        scores = {name: value.value for name, value in score(said, texts, metric).items()}
        self._warn(scores, said)
        self.folder.add_samples(step, examples, said)
        main = next(iter(scores.values()))
        self.waited = 0 if main > self.best else self.waited + 1
        if main >= self.best:  # of equals the one that has learned longer
            self.best = main
            record = {"recipe": asdict(self.recipe), "versions": versions(), "step": step, "scores": scores}
            save(checkpoint, self.folder.best, torch.float32, record)
        return scores

    def _warn(self, scores: Mapping[str, float], said: Mapping[str, str]) -> None:
        usable = [example for example in self.examples if example.id in said]
        items = [Item(e.id, str(e.source), e.question, said[e.id], e.texts, {}) for e in usable]
        signs = warning_signs(scores, items)
        for sign in signs:
            self.say(f"warning: {sign}")
        if signs and self.recipe.weights.train == "all" and self.recipe.optimisation.encoder_learning_rate:
            self.say(
                "should it stop looking at its images: lower optimisation.encoder_learning_rate, or set "
                "weights.train=decoder"
            )


def _draw(examples: Sequence[Example], count: int, seed: int) -> Sequence[Example]:
    """So many of the examples, in their order: the first ones may be all of one class."""
    if len(examples) <= count:
        return examples
    return [examples[i] for i in sorted(random.Random(f"{seed}/validation").sample(range(len(examples)), count))]
