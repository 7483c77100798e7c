"""The training loop: packed captions over frozen features, AdamW, EMA, validation, the best checkpoint kept."""

import copy
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from picscribe.checkpoints import Checkpoint, save
from picscribe.checkpoints.imagenet import load_imagenet
from picscribe.datasets import Example, load_examples
from picscribe.errors import CheckpointError, ConfigurationError, InputError, PicscribeError
from picscribe.evaluation.caption_scores import score_captions
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git, GitConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.text.prompts import TrainingExample, training_example
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.allocator import keep_freed_memory
from picscribe.training.loss import smoothed_loss
from picscribe.training.moving_average import move_average
from picscribe.training.objective import hide_part
from picscribe.training.packing import hide_words, pack, predicted_logits
from picscribe.training.parameter_groups import count_parameters, freeze_lowest, learning_rate_factor, lowest_parameters
from picscribe.training.precision import NO_BFLOAT16, precision_here
from picscribe.training.progress import Progress, line_of
from picscribe.training.recipe import OptimisationRecipe, Recipe
from picscribe.training.run_folder import RunFolder
from picscribe.training.states import random_state, set_random_state
from picscribe.training.stopping import Stopped, on_signals
from picscribe.training.validation import caption_features
from picscribe.training.views import FrozenFeatures
from picscribe.versions import versions

IMAGENET_LITE_MEAN = (127 / 255,) * 3
IMAGENET_LITE_STD = (128 / 255,) * 3

Report = Callable[[str], None]
REPORT_EVERY = 50


def build_model(recipe: Recipe, tokenizer: Tokenizer) -> Git:
    """The network of a recipe: image encoder from ImageNet, text decoder from scratch."""
    decoder = recipe.text_decoder(tokenizer.vocabulary_size, tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)
    model = Git(GitConfig(recipe.image_encoder(), decoder))
    encoder = lite_encoder(model)
    load_imagenet(encoder)
    # What stays as it is is what float16 files will hold: runs from them then share the views that are kept.
    for parameter in lowest_parameters(encoder, recipe.image.frozen_blocks):
        parameter.data = parameter.half().float()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def lite_encoder(model: Git) -> EfficientNetLite:
    """The model's image encoder, which this loop needs to be EfficientNet-Lite."""
    assert isinstance(model.image_encoder, EfficientNetLite)
    return model.image_encoder


def make_optimiser(model: Git, recipe: OptimisationRecipe) -> torch.optim.AdamW:
    """AdamW with a learning rate for the image encoder and one for the rest; only matrices decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("image_encoder."), parameter.dim() > 1 and "embedding" not in name)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.encoder_learning_rate if of_encoder else recipe.learning_rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (of_encoder, decays), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
    )


class Trainer:
    """State of one run: model, its moving average, optimiser, and where it stands."""

    def __init__(self, recipe: Recipe, output: Path, report: Report) -> None:
        self.recipe, self.report = recipe, report
        self.folder = RunFolder(output)
        data = recipe.data
        annotations, images = Path(data.annotations), Path(data.images)
        self.train_images = load_examples(annotations, images, data.train_split)[1]
        self.val_images = load_examples(annotations, images, data.val_split)[1]
        captions = [caption for image in self.train_images for caption in image.texts]
        self.tokenizer = Tokenizer.learn(captions, recipe.text.vocabulary_size, recipe.text.min_frequency)
        torch.manual_seed(recipe.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build_model(recipe, self.tokenizer).to(self.device)
        freeze_lowest(self.model, recipe.image.frozen_blocks)
        if recipe.image.frozen_depthwise:
            for block in lite_encoder(self.model).blocks:
                block.depthwise.requires_grad_(False)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = make_optimiser(self.model, recipe.optimisation)
        precision = precision_here(recipe.optimisation.precision)
        self.precision = getattr(torch, precision)
        if precision != recipe.optimisation.precision:
            report(NO_BFLOAT16)
        self.preprocessing = Preprocessing(
            size=recipe.image.size, mode="square", mean=IMAGENET_LITE_MEAN, std=IMAGENET_LITE_STD
        )
        self.train_features = self._features(self.train_images, augment=True)
        self.val_features = self._features(self.val_images, augment=False)
        self.unreadable: frozenset[int] = frozenset()
        self.texts = [self._texts(image) for image in self.train_images]
        self.steps_an_epoch = math.ceil(len(self.train_images) / recipe.optimisation.batch_images)
        self.epoch, self.offset = 0, 0  # offset: batches of this epoch that are learned already
        self.due = False  # the validation after the last epoch is still to come
        self.losses: list[float] = []  # of this epoch
        self.history: list[dict[str, float]] = []
        self.stop_asked = False

    def _features(self, images: Sequence[Example], augment: bool) -> FrozenFeatures:
        image = self.recipe.image
        augmentation = image.augmentation if augment else None
        encoder = lite_encoder(self.ema)
        folder = Path(image.features)
        return FrozenFeatures(
            encoder,
            image.frozen_blocks,
            images,
            self.preprocessing,
            augmentation,
            self.recipe.seed,
            folder,
            skips_unreadable=augment,
        )

    def _texts(self, image: Example) -> list[TrainingExample]:
        return [training_example(self.tokenizer, "", caption, self.recipe.text.max_tokens) for caption in image.texts]

    def ask_to_stop(self) -> None:
        """Stop after the batch that is being learned."""
        self.stop_asked = True

    def batches(self) -> Iterator[list[int]]:
        """This epoch's batches of image indices, in an order drawn from the seed and the epoch; without photos that
        could not be read."""
        order = list(range(len(self.train_images)))
        random.Random(f"{self.recipe.seed}/{self.epoch}").shuffle(order)
        size = self.recipe.optimisation.batch_images
        for start in range(0, len(order), size):
            yield [index for index in order[start : start + size] if index not in self.unreadable]

    def loss(self, indices: list[int], view: int) -> Tensor:
        """Loss of a batch of images with all of their captions."""
        blocks = self.recipe.image.frozen_blocks
        lower = self.train_features.read(view, indices).to(self.device, self.precision)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            features = hide_part(lite_encoder(self.model).upper(lower, blocks), self.recipe.image.dropout)
            texts = pack([self.texts[index] for index in indices]).to(self.device)
            read = hide_words(texts, self.recipe.text.word_dropout, self.tokenizer.unk_id)
            logits = predicted_logits(self.model, self.model.prefix_of(features), read)
        return smoothed_loss(logits, texts.targets, self.recipe.optimisation.label_smoothing)

    def step(self, indices: list[int], view: int, number: int) -> float:
        """One update of the weights and of their moving average; returns the loss."""
        optimisation = self.recipe.optimisation
        total = optimisation.epochs * self.steps_an_epoch
        factor = learning_rate_factor(number, optimisation.warmup_steps, total)
        for group in self.optimiser.param_groups:
            group.setdefault("peak_lr", group["lr"])
            group["lr"] = group["peak_lr"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(indices, view)
        self._require_finite(loss, "loss", number)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), optimisation.clip_norm)
        self._require_finite(norm, "gradient's norm", number)
        self.optimiser.step()
        move_average(self.ema, self.model, self.recipe.optimisation.ema_decay, number)
        return loss.item()

    def _require_finite(self, value: Tensor, what: str, number: int) -> None:
        """Stop before the weights are spoilt: what is on the disk stays the state after the last whole epoch."""
        if not torch.isfinite(value):
            raise PicscribeError(
                f"the {what} became {value.item()} at step {number + 1}; {self.folder.path} keeps the state after "
                f"epoch {self.epoch}: start anew in another folder with a smaller learning rate or more warm-up"
            )

    def train_epoch(self) -> None:
        """One pass over the training images, in one of their views; the state is saved, and then validated.

        Raises Stopped, the state saved, where the run was asked to stop.
        """
        view = self.epoch % self.recipe.image.views
        started = time.monotonic()
        self._prepare(self.train_features, view)
        self._leave_out(view)
        self.model.train()
        progress = Progress(REPORT_EVERY)
        for offset, indices in enumerate(self.batches()):
            if offset < self.offset:
                continue
            if indices:
                self.losses.append(self.step(indices, view, self.epoch * self.steps_an_epoch + offset))
            self.offset = offset + 1
            progress.add(len(indices))
            if progress.is_due():
                self._tell(progress)
            if self.stop_asked:
                self.save()
                raise Stopped
        seconds = time.monotonic() - started
        self.epoch, self.offset = self.epoch + 1, 0
        row = {"epoch": self.epoch, "step": self.epoch * self.steps_an_epoch, "seconds": seconds}
        row["loss"] = sum(self.losses) / max(1, len(self.losses))
        self.losses = []
        self.history.append(row)
        last = self.epoch == self.recipe.optimisation.epochs
        self.due = last or self.epoch % self.recipe.evaluation.every_epochs == 0
        self.save()  # before validating: whatever goes wrong there loses no epoch
        self.end_epoch()

    def end_epoch(self) -> None:
        """Validate where that is due, and say how good the epoch was. Raises Stopped where the run is to stop."""
        row = self.history[-1]
        if self.due:
            row |= self.validate()
            self.due = False
            self.save()
        self.report("  ".join(f"{key} {value:.4g}" for key, value in row.items()))

    def _tell(self, progress: Progress) -> None:
        steps = (self.recipe.optimisation.epochs - self.epoch) * self.steps_an_epoch - self.offset
        left = steps * self.recipe.optimisation.batch_images
        told = progress.tell("loss", self.losses, self.optimiser.param_groups[-1]["lr"], left)
        self.report(f"epoch {self.epoch + 1}  step {self.offset}/{self.steps_an_epoch}  {line_of(told)}")

    def _prepare(self, features: FrozenFeatures, view: int) -> None:
        """Compute a view that is not there yet, which takes minutes, and say how far it is."""

        def progress(done: int) -> None:
            if done % 1600 == 0:
                self.report(f"epoch {self.epoch + 1}  frozen features {done}/{len(features.images)} images")
            if self.stop_asked:
                raise Stopped  # all that was learned is saved, with the epoch

        features.prepare(view, progress)

    def _leave_out(self, view: int) -> None:
        """Learn without the images that could not be read, and say so. Raises InputError where none is left."""
        self.unreadable = frozenset(self.train_features.unreadable(view))
        if not self.unreadable:
            return
        problems = {self.train_images[i].id: self.train_features.problem(i, view) for i in sorted(self.unreadable)}
        if len(self.unreadable) == len(self.train_images):
            name, problem = next(iter(problems.items()))
            raise InputError(f"{self.recipe.data.images}: none of its photos can be read, such as {name}: {problem}")
        self.folder.write_skipped(problems)
        self.report(f"{len(problems)} photos could not be read: skipped.json lists them")

    def validate(self) -> dict[str, float]:
        """Scores of the moving average on the validation split; keeps the checkpoint when CIDEr is the best so far."""
        self._prepare(self.val_features, 0)
        captions = caption_features(self.ema, self.tokenizer, self.val_features, self.recipe, self.precision)
        self.folder.add_samples(self.epoch * self.steps_an_epoch, self.val_images, captions)
        references = {image.id: image.texts for image in self.val_images}
        scores = {name: metric.value for name, metric in score_captions(captions, references).items()}
        # The first scores are kept even at 0: a run always ends with a checkpoint.
        best = max((row.get("CIDEr", -1.0) for row in self.history), default=-1.0)
        if scores["CIDEr"] > best:
            record = {"recipe": asdict(self.recipe), "versions": versions(), "epoch": self.epoch, "scores": scores}
            save(self.checkpoint(), self.folder.best, torch.float16, record)
        return scores

    def checkpoint(self) -> Checkpoint:
        """The moving average as a checkpoint that can be loaded by folder."""
        return Checkpoint(self.ema, self.tokenizer, self.preprocessing, self.recipe.name, self.folder.best)

    def save(self) -> None:
        """Everything that `restore` needs, then history and curves."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "offset": self.offset,
            "due": self.due,
            "losses": self.losses,
            "history": self.history,
            "random": random_state(self.device),
        }
        self.folder.save_state(state)
        if self.history:
            self.folder.write_history(self.history)

    def restore(self) -> None:
        """Go on exactly where the state was saved. Raises CheckpointError for a state of another run."""
        state = self.folder.load_state()
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.epoch, self.offset, self.losses = state["epoch"], state["offset"], state["losses"]
            self.history, self.due = state["history"], state["due"]
            set_random_state(state["random"], self.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.folder.path}: its state does not fit this recipe and data ({reason}); has the data changed "
                "since the run began? Start it anew in another folder"
            ) from error


def train(recipe: Recipe, output: Path, resume: bool = False, report: Report = print) -> list[dict[str, float]]:
    """Run a recipe to its end; returns the history, a row an epoch. The best checkpoint is in `output`/best.

    On SIGTERM and on Ctrl-C the state is saved, and the run ends; on Ctrl-C with KeyboardInterrupt.

    Raises ConfigurationError for a folder that holds another run, InputError for data that cannot be read.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError("a recipe that starts from ImageNet is for one process: run it without torchrun")
    keep_freed_memory()
    with closing(RunFolder(output)) as folder:
        folder.open(recipe, resume)
        return _to_the_end(Trainer(recipe, output, report), resume)


def _to_the_end(trainer: Trainer, resume: bool) -> list[dict[str, float]]:
    recipe, report = trainer.recipe, trainer.report
    if resume:
        trainer.restore()
        within = f", step {trainer.offset} of the next" if trainer.offset else ""
        report(f"resumed after epoch {trainer.epoch}{within}")
    parameters, trained = count_parameters(trainer.model)
    report(
        f"{len(trainer.train_images)} training and {len(trainer.val_images)} validation images, "
        f"{trainer.tokenizer.vocabulary_size} words, {parameters:,} parameters, {trained:,} trained, "
        f"{trainer.steps_an_epoch} steps an epoch"
    )
    with on_signals(trainer.ask_to_stop):
        try:
            if trainer.due:  # stopped, or failed, before it was made
                trainer.end_epoch()
            while trainer.epoch < recipe.optimisation.epochs:
                trainer.train_epoch()
        except Stopped:
            report(f"stopped in epoch {trainer.epoch + 1} after step {trainer.offset}; go on with --resume")
    return trainer.history
