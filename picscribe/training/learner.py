"""The network while it learns: objective, optimiser and moving average, on one process or many."""

import copy
import math
import random
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from picscribe.checkpoints import Checkpoint
from picscribe.errors import CheckpointError, PicscribeError
from picscribe.model import Git
from picscribe.training.data.batches import MicroBatch, TrainingBatch
from picscribe.training.data.mixture import TrainingData
from picscribe.training.objectives.objective import LossInputs, make_blank_inputs, make_objective
from picscribe.training.objectives.packing import pack
from picscribe.training.objectives.self_critical import Rewards, make_rewards
from picscribe.training.recipe import Recipe
from picscribe.training.setup import sharding
from picscribe.training.setup.machine import sum_over_processes
from picscribe.training.setup.optimiser import CLIP_NORM, make_optimiser, move_average, scale_learning_rate

DIVERGED = (
    "the weights have diverged; train again in another folder with a smaller optimisation.learning_rate, a smaller "
    "optimisation.encoder_learning_rate or more optimisation.warmup_steps"
)

STARTS_BROKEN = (
    "{} gives numbers that are not finite before anything is learned; its weights are damaged or too large, start from "
    "another checkpoint"
)


class Learner:
    """What an update changes, and the update; `rewards` is None unless the objective is CIDEr."""

    def __init__(self, recipe: Recipe, start: Checkpoint, data: TrainingData, accelerator: Any) -> None:
        self.recipe, self.tokenizer, self.model = recipe, start.tokenizer, start.model
        self.accelerator, self.processes = accelerator, accelerator.num_processes
        self.sharded = recipe.weights.sharded and self.processes > 1
        self.objective = make_objective(recipe, start.model, start.tokenizer)
        self.rewards = make_rewards(recipe, data, start.tokenizer)
        averages = bool(recipe.optimisation.ema_decay)
        self.average = copy.deepcopy(self.objective).eval().requires_grad_(False) if averages else None
        self._validated = self.model if self.average is None else self.average.model
        self._place()

    def _place(self) -> None:
        """Put the network and its optimiser on the device, wrapped or sharded."""
        device = self.accelerator.device
        if self.sharded:
            self._validated = copy.deepcopy(self.model)  # filled for each validation
            sharding.shard(self.objective, device, self.processes)
        optimiser = make_optimiser(self.model, self.recipe.optimisation)
        if self.sharded:
            self.wrapped, self.optimiser = self.objective, self.accelerator.prepare(optimiser)
        else:
            self.wrapped, self.optimiser = self.accelerator.prepare(self.objective, optimiser)
        if self.average is not None:
            if self.sharded:
                sharding.shard(self.average, device, self.processes)
            self.average.to(device)

    @property
    def learning_rate(self) -> float:
        """The text decoder's in the latest step."""
        return float(self.optimiser.param_groups[-1]["lr"])

    # One update

    def update(self, batch: TrainingBatch, step: int, total: int) -> float:
        """Change the weights after step `step` of `total`, by all processes' micro-batches; returns the loss a
        predicted token. Raises PicscribeError, with the reason, where it is not finite."""
        warmup = min(self.recipe.optimisation.warmup_steps, total // 4)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak_lr"] * scale_learning_rate(step, warmup, total)
        self.optimiser.zero_grad(set_to_none=True)
        try:
            inputs = [self._make_inputs(one, step) for one in batch.micro_batches]
        except CheckpointError as error:  # the network's numbers are not finite
            reason = self._explain_not_finite(batch, [], step)
            raise PicscribeError(f"no caption could be sampled at step {step + 1}: {reason}") from error
        count = self._sum(float(sum(one.count_tokens() for one in inputs)))
        loss = self._sum(self._add_gradients(inputs, count))
        norm = self.accelerator.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], CLIP_NORM)
        norm = None if norm is None else sharding.gather_norm(norm)
        # Where float16's gradients are scaled, an infinite one only skips an update.
        scales = self.accelerator.scaler is not None
        if not math.isfinite(loss) or (norm is not None and not torch.isfinite(norm) and not scales):
            reason = self._explain_not_finite(batch, inputs, step)
            raise PicscribeError(f"the loss became {loss} (gradient's norm {norm}) at step {step + 1}: {reason}")
        self.optimiser.step()
        if self.average is not None:
            move_average(self.average, self.objective, self.recipe.optimisation.ema_decay, step)
        return loss

    def _add_gradients(self, inputs: list[LossInputs], count: float) -> float:
        """Gradients of the mean loss of `count` tokens over all processes; returns this process's share of the loss."""
        loss = 0.0
        for number, one in enumerate(inputs):
            last = number + 1 == len(inputs)
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped), self.accelerator.autocast():
                summed = self.wrapped(self._to_device(one.pixels), one.texts, one.advantage, one.features)
                # Data-parallel training averages over processes what has to be summed.
                share = summed * (one.weight * self.processes / max(1.0, count))
            self.accelerator.backward(share)
            loss += share.item() / self.processes
        return loss

    def _make_inputs(self, batch: MicroBatch, step: int) -> LossInputs:
        """A micro-batch on the device, its texts packed, or sampled where the objective is CIDEr."""
        if self.rewards is None and batch.images:
            # Pixels follow, one micro-batch after the other.
            return LossInputs(batch.pixels, pack(batch.texts).to(self.accelerator.device))
        pixels = self._to_device(batch.pixels)
        if self.rewards is None:
            return make_blank_inputs(pixels, self.tokenizer, sampled=False)
        with sharding.gather(self.objective):  # by all processes for each, whether they have a photo or not
            if not batch.images:
                return make_blank_inputs(pixels, self.tokenizer, sampled=True)
            return self._sample_inputs(self.rewards, batch, pixels, step)

    def _sample_inputs(self, rewards: Rewards, batch: MicroBatch, pixels: Tensor, step: int) -> LossInputs:
        """Sampled captions of a micro-batch's images, and what each is worth; the weights are gathered."""
        key = f"{self.recipe.seed}/{step}/samples/{self.accelerator.process_index}/{batch.number}"
        # Images are encoded once, for sampling and for learning; but not where several micro-batches would keep their
        # graphs at a time, nor where weights were gathered for it.
        once = self.recipe.optimisation.accumulate == 1 and not self.sharded
        keeps = once or not self.objective.encoder_learns()
        with torch.set_grad_enabled(keeps), self.accelerator.autocast():
            features = self.objective.encode(pixels)
        with self.accelerator.autocast():
            seed = random.Random(key).getrandbits(62)
            sampled = rewards.draw(self.model, features.detach(), batch.images, seed=seed, given=batch.texts)
        advantage = torch.tensor(sampled.spread_over_tokens(), device=pixels.device)
        return LossInputs(pixels, pack(sampled.texts).to(pixels.device), advantage, features if keeps else None)

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.accelerator.device, non_blocking=True)

    def _sum(self, value: float) -> float:
        return sum_over_processes(self.accelerator, value)

    # Numbers that are not finite

    def has_finite_weights(self) -> bool:
        """Whether every weight of this process is a finite number."""
        own = (getattr(p, "to_local", lambda p=p: p)() for p in self.model.parameters())
        return all(bool(torch.isfinite(p).all()) for p in own)

    @torch.no_grad()
    def _explain_not_finite(self, batch: TrainingBatch, inputs: list[LossInputs], step: int) -> str:
        """Why a loss or gradient is not finite, and what to do."""
        for one in batch.micro_batches:
            for pixels, image in zip(one.pixels, one.images, strict=False):
                if not bool(torch.isfinite(pixels).all()):
                    return f"the pixels of {image.place} hold numbers that are not finite; leave it out"
        precision = str(self.accelerator.mixed_precision)
        if inputs and self.has_finite_weights() and precision != "no":
            # accelerate has put autocast around the module's own forward.
            with sharding.gather(self.objective), torch.autocast(self.accelerator.device.type, enabled=False):
                losses = [
                    self.objective(self._to_device(one.pixels).float(), one.texts, one.advantage) for one in inputs
                ]
            if all(math.isfinite(loss) for loss in losses):
                name = self.recipe.optimisation.precision
                return (
                    f"numbers of {name} overflow where float32 does not; train with optimisation.precision=float32"
                    f"{' or bfloat16' if name == 'float16' else ''}"
                )
        return DIVERGED if step else STARTS_BROKEN.format(self.recipe.start)

    # What is validated and saved

    def gather_validated(self) -> Git:
        """The network to validate: the moving average where there is one; collective."""
        if self.sharded:
            weights = sharding.read_weights(self.objective if self.average is None else self.average)
            if weights:
                self._validated.load_state_dict({name.removeprefix("model."): weights[name] for name in weights})
        return self._validated

    def read_state(self) -> dict[str, Any]:
        """Everything of the learner that `load_state` needs; collective, whole in the first process."""
        return {
            "model": sharding.read_weights(self.objective),
            "ema": {} if self.average is None else sharding.read_weights(self.average),
            "optimiser": sharding.read_optimiser(self.objective, self.optimiser.optimizer),
            "scaler": {} if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "drawn": [] if self.rewards is None else self.rewards.drawn,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `read_state` gave. Raises torch's errors where it does not fit."""
        sharding.load_weights(self.objective, state["model"])
        if self.average is not None:
            sharding.load_weights(self.average, state["ema"])
        sharding.load_optimiser(self.objective, self.optimiser.optimizer, state["optimiser"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.rewards is not None:
            self.rewards.drawn[:] = state["drawn"]
