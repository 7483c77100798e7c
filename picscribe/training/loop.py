"""The training loop: packed texts over each image, on one process or many, through accelerate."""

import copy
import math
import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from picscribe.errors import CheckpointError, InputError, PicscribeError
from picscribe.training.data.kept_views import keep_views
from picscribe.training.data.mixture import Batches, read_data, steps_of
from picscribe.training.data.reader import Part, Prepared, Reader
from picscribe.training.objectives.objective import Objective
from picscribe.training.objectives.packing import pack
from picscribe.training.objectives.self_critical import Rewards, rewards_for
from picscribe.training.objectives.work import Work, nothing_to_do
from picscribe.training.recipe import Recipe
from picscribe.training.recipe_file import dump_recipe
from picscribe.training.run.progress import Progress, line_of, what_begins, what_ends
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.run.states import States, random_state, set_random_state
from picscribe.training.run.stopping import Stopped, on_signals
from picscribe.training.run.validation import Scores
from picscribe.training.setup.allocator import keep_freed_memory
from picscribe.training.setup.moving_average import move_average
from picscribe.training.setup.parameter_groups import learning_rate_factor, make_optimiser
from picscribe.training.setup.precision import NO_BFLOAT16, precision_here
from picscribe.training.setup.sharding import (
    averages_of,
    gathered,
    load_averages,
    load_weights,
    shard,
    weights_of,
    whole_number,
)
from picscribe.training.setup.start import load_start, make_accelerator

Report = Callable[[str], None]
REPORT_EVERY = 20


class Trainer:
    """State of one run; `run` goes on from wherever it stands."""

    def __init__(self, recipe: Recipe, output: Path, report: Report) -> None:
        self.recipe, self.folder, self.report = recipe, RunFolder(output), report
        self.states = States(output / "states", recipe.saving)
        self.accelerator = make_accelerator(recipe, output)
        self.processes = self.accelerator.num_processes
        if precision_here(recipe.optimisation.precision) != recipe.optimisation.precision:
            self._say(NO_BFLOAT16)
        self.sharded = recipe.weights.sharded and self.processes > 1
        self.data = read_data(recipe.data, recipe.seed)
        self.folder.require_apart(self.data.folders)
        optimisation = recipe.optimisation
        batches = Batches(self.data, recipe.seed, optimisation.batch_images, self.processes * optimisation.accumulate)
        self.total = steps_of(optimisation.epochs, optimisation.steps, batches.steps_an_epoch)
        torch.manual_seed(recipe.seed)
        self.start = load_start(recipe, self.data)
        self.model = self.start.model
        weights = recipe.weights
        self.objective = Objective(
            self.model,
            optimisation.label_smoothing,
            weights.activation_checkpointing,
            weights.image_dropout,
            recipe.self_critical.temperature,
            self.start.tokenizer.never_written,
            weights.word_dropout,
            self.start.tokenizer.unk_id,
        )
        self.ema = copy.deepcopy(self.objective).eval().requires_grad_(False) if optimisation.ema_decay else None
        self.validated = self.model if self.ema is None else self.ema.model
        self._prepare()
        torch.manual_seed(recipe.seed + self.accelerator.process_index)
        cider = recipe.objective == "cider"
        self.rewards = rewards_for(recipe.self_critical, self.data, self.start.tokenizer) if cider else None
        self.scores = Scores(recipe, self.data, self.start, self.folder, self._say)
        kept = keep_views(recipe, self.start, self.data, self.processes, output, self._say)
        self.objective.kept_blocks = kept.blocks if kept is not None else None
        self.reader = Reader(recipe, self.start, batches, self.processes, self.accelerator.process_index, kept)
        self.fingerprint = self.data.fingerprint()
        self.step, self.due = 0, False  # due: the validation after this step is still to come
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []  # since the last row of the history
        self.skipped: dict[str, str] = self.data.odd()
        self.empty = 0  # steps without a photo that could be read, one after the other
        self.stop_asked = False
        self.started = time.monotonic()

    def _prepare(self) -> None:
        """Put the network and its optimiser where they compute: on the device, wrapped or shared out."""
        device, sharded = self.accelerator.device, self.sharded
        if sharded:
            self.validated = copy.deepcopy(self.model)  # filled anew for every validation
            shard(self.objective, device, self.processes)
        optimiser = make_optimiser(self.model, self.recipe)
        if sharded:
            self.wrapped, self.optimiser = self.objective, self.accelerator.prepare(optimiser)
        else:
            self.wrapped, self.optimiser = self.accelerator.prepare(self.objective, optimiser)
        if self.ema is not None:
            if sharded:
                shard(self.ema, device, self.processes)
            self.ema.to(device)

    # Steps

    def run(self) -> list[dict[str, float]]:
        """Every step that is left, with validations and saved states between; returns the history, a row each."""
        self.model.train()
        if self.recipe.trackers:
            self.accelerator.init_trackers(self.recipe.name, config={"recipe": dump_recipe(self.recipe)})
        for line in what_begins(self.model, self.data, self.total, self.start.tokenizer, self.recipe):
            self._say(line)
        # Stopped, or failed, before it was made; or wanted of the start.
        if self.due or (self.recipe.validation.before and not self.step and not self.history):
            self._make_row()
        begin = self.total if self._lost_patience() else self.step
        with on_signals(self._ask_to_stop):
            try:
                with closing(self.reader.steps(begin, self.total, lambda: self.stop_asked)) as read:
                    self._learn_from(read)
            except Stopped:
                self.save()
                self._say(f"stopped after step {self.step}; go on with --resume")
        self.accelerator.end_training()
        return self.history

    def _learn_from(self, read: Iterable[Prepared]) -> None:
        """Take the steps as they are read, to the last or where patience ends. Raises Stopped where asked to stop."""
        progress = Progress(REPORT_EVERY)
        for prepared in read:
            self.skipped.update(prepared.skipped)
            if self._has_photos(prepared):
                self.losses.append(self.train_step(prepared))
            self.step += 1
            progress.add(sum(len(part.items) for part in prepared.parts) * self.processes)
            if progress.is_due():
                self._tell(progress)
            if self._after_step():
                return

    def _ask_to_stop(self) -> None:
        self.stop_asked = True

    def _has_photos(self, prepared: Prepared) -> bool:
        """Whether any process has a photo to learn from. Raises InputError after a whole epoch of none."""
        if self._summed(float(sum(len(part.items) for part in prepared.parts))):
            self.empty = 0
            return True
        self.empty += 1
        if self.empty >= self.reader.batches.steps_an_epoch:
            name, problem = next(iter(self.skipped.items()), ("another process's photos", "none can be read"))
            raise InputError(f"not one photo of a whole epoch could be read, such as {name}: {problem}")
        return False

    def _tell(self, progress: Progress) -> None:
        drawn = self.rewards.drawn if self.rewards is not None else ()
        name, values = ("reward", drawn) if drawn else ("loss", self.losses)
        left = round((self.total - self.step) * self.data.epoch_size() / self.reader.batches.steps_an_epoch)
        told = progress.tell(name, values, self.optimiser.param_groups[-1]["lr"], left)
        self.accelerator.log(told, step=self.step)
        self._say(f"step {self.step}/{self.total}  {line_of(told)}")

    def _after_step(self) -> bool:
        """Save and validate where it is time; whether the run is at its end. Raises Stopped where asked to stop."""
        every = self.recipe.validation.every_steps or self.reader.batches.steps_an_epoch
        last = self.step == self.total
        self.due = last or self.step % every == 0
        if self._anyone(self.stop_asked) and not last:
            raise Stopped
        if self.due or self._anyone(self.accelerator.is_main_process and self.states.is_due(self.step)):
            self.save()  # before validating: whatever goes wrong there loses no step
        if self.due:
            self._make_row()
        return last or self._lost_patience()

    def _lost_patience(self) -> bool:
        waited, patience = self.scores.waited, self.recipe.validation.patience
        lost = 0 < patience <= waited and self.step < self.total
        if lost:
            self._say(f"no better score in {waited} validations: stopped after step {self.step}")
        return lost

    def _make_row(self) -> None:
        """Validate: a row of the history, and the state with it."""
        row = {"step": float(self.step)}
        if self.losses:  # else not one photo could be read since the last row
            row["loss"] = sum(self.losses) / len(self.losses)
        if self.rewards is not None and (drawn := self._summed(len(self.rewards.drawn))):
            row["reward"] = self._summed(sum(self.rewards.drawn)) / drawn
            self.rewards.drawn.clear()
        seconds = time.monotonic() - self.started
        if self.step:  # at the start none was learned at
            row["learning_rate"] = self.optimiser.param_groups[-1]["lr"]
        row |= {"seconds": seconds} | self.validate()
        self.losses.clear()
        self.due = False
        self.history.append(row)
        self.accelerator.log(row, step=self.step)
        self._say("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        self.save()

    def train_step(self, prepared: Prepared) -> float:
        """One update of the weights from all processes' parts; returns the loss a predicted token."""
        warmup = min(self.recipe.optimisation.warmup_steps, self.total // 4)
        factor = learning_rate_factor(self.step, warmup, self.total)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        work = [self._work(part) for part in prepared.parts]
        count = self._summed(float(sum(part.count for part in work)))
        lost = 0.0
        for number, part in enumerate(work):
            last = number + 1 == len(work)
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped), self.accelerator.autocast():
                # Data-parallel training averages over processes what has to be summed.
                summed = self.wrapped(self._to_device(part.pixels), part.texts, part.advantage, part.features)
                loss = summed * (part.real * self.processes / max(1.0, count))
            self.accelerator.backward(loss)
            lost += loss.item() / self.processes
        norm = self.accelerator.clip_grad_norm_(
            [p for p in self.model.parameters() if p.requires_grad], self.recipe.optimisation.clip_norm
        )
        norm = None if norm is None else whole_number(norm)
        total = self._summed(lost)
        if not math.isfinite(total) or (norm is not None and not torch.isfinite(norm) and not self._scales()):
            raise PicscribeError(
                f"the loss became {total} (gradient's norm {norm}) at step {self.step + 1}; {self.states.kept()}: "
                "start anew in another folder with a smaller learning rate or more warm-up"
            )
        self.optimiser.step()
        if self.ema is not None:
            move_average(self.ema, self.objective, self.recipe.optimisation.ema_decay, self.step)
        return total

    def _scales(self) -> bool:
        """Whether float16's gradients are scaled, where an infinite one only skips a step."""
        return self.accelerator.scaler is not None

    def _work(self, part: Part) -> Work:
        """A part on the device, its texts packed, or sampled where the objective is CIDEr."""
        if self.rewards is None and part.items:
            # Pixels follow one part after the other.
            return Work(part.pixels, pack(part.texts).to(self.accelerator.device))
        pixels = self._to_device(part.pixels)
        if self.rewards is None:
            return nothing_to_do(pixels, self.start.tokenizer, sampled=False)
        with gathered(self.objective):  # by all processes for each part, whether they have a photo of it or not
            if not part.items:
                return nothing_to_do(pixels, self.start.tokenizer, sampled=True)
            return self._sampled(self.rewards, part, pixels)

    def _sampled(self, rewards: Rewards, part: Part, pixels: Tensor) -> Work:
        """Sampled captions of a part's images, and what each is worth; the weights are all there."""
        own = f"{self.recipe.seed}/{self.step}/samples/{self.accelerator.process_index}/{part.number}"
        seed = random.Random(own).getrandbits(62)
        # Seen once, for sampling and for learning; but not where the graphs of several parts would wait for each other,
        # nor where weights were gathered for it.
        kept = not self.objective.encoder_learns() or (self.recipe.optimisation.accumulate == 1 and not self.sharded)
        with torch.set_grad_enabled(kept), self.accelerator.autocast():
            features = self.objective.see(pixels)
        with self.accelerator.autocast():
            sampled = rewards.draw(self.model, features.detach(), part.items, seed, part.texts)
        advantage = torch.tensor(sampled.advantage_of_tokens(), device=pixels.device)
        return Work(pixels, pack(sampled.texts).to(pixels.device), advantage, features if kept else None)

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.accelerator.device, non_blocking=True)

    def _summed(self, value: float) -> float:
        """The sum of every process's value."""
        if self.processes == 1:
            return value
        return float(self.accelerator.reduce(torch.tensor(float(value), device=self.accelerator.device), "sum"))

    def _anyone(self, asked: bool) -> bool:
        return self._summed(float(asked)) > 0

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.report(text)

    # Validation, and what is kept

    def validate(self) -> dict[str, float]:
        """Scores on the validation data, by the first process."""
        row: dict[str, float] = {}
        kept = self.objective if self.ema is None else self.ema
        if self.sharded:
            weights = weights_of(kept)
            if weights:
                self.validated.load_state_dict({name.removeprefix("model."): weights[name] for name in weights})
        if self.accelerator.is_main_process:
            mode = self.model.training
            row = self.scores.take(self.validated.to(self.accelerator.device), self.step)
            if self.sharded:  # which is for want of memory
                self.validated.cpu()
            self.model.train(mode)
        self.accelerator.wait_for_everyone()
        if self.processes > 1:
            from accelerate.utils import broadcast_object_list

            ((row, self.scores.waited),) = broadcast_object_list([(row, self.scores.waited)])
        return row

    def save(self) -> None:
        """Everything that `restore` needs, then history and curves."""
        states, skipped = [random_state(self.accelerator.device)], [self.skipped]
        if self.processes > 1:
            from accelerate.utils import gather_object

            states, skipped = gather_object(states), gather_object(skipped)
        weights, averages = weights_of(self.objective), averages_of(self.objective, self.optimiser.optimizer)
        moving = {} if self.ema is None else weights_of(self.ema)
        if self.accelerator.is_main_process:
            unreadable = {name: problem for of_process in skipped for name, problem in of_process.items()}
            unreadable |= self.scores.unreadable
            state = {
                "model": weights,
                "ema": moving,
                "optimiser": averages,
                "scaler": self.accelerator.scaler.state_dict() if self._scales() else {},
                "data": self.fingerprint,
                "step": self.step,
                "due": self.due,
                "seconds": time.monotonic() - self.started,
                "losses": self.losses,
                "drawn": self.rewards.drawn if self.rewards is not None else [],
                "best": self.scores.best,
                "waited": self.scores.waited,
                "history": self.history,
                "skipped": unreadable,
                "random": states,
            }
            self.states.save(self.step, state)
            if self.history:
                self.folder.write_history(self.history)
            if unreadable and self.folder.write_skipped(unreadable):
                self._say(f"{len(unreadable)} photos could not be used so far: skipped.json lists them")
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Go on exactly after the latest saved step. Raises CheckpointError for a state of another run."""
        state = self.states.load()
        try:
            if state["data"] != self.fingerprint:
                raise ValueError("photos or texts were added, removed or changed since")
            if len(state["random"]) != self.processes:
                raise ValueError(f"it was saved by {len(state['random'])} processes, and these are {self.processes}")
            load_weights(self.objective, state["model"])
            if self.ema is not None:
                load_weights(self.ema, state["ema"])
            load_averages(self.objective, self.optimiser.optimizer, state["optimiser"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.step, self.scores.best, self.scores.waited = state["step"], state["best"], state["waited"]
            self.due, self.losses, self.history = state["due"], state["losses"], state["history"]
            self.skipped, self.started = state["skipped"], time.monotonic() - state["seconds"]
            if self.rewards is not None:
                self.rewards.drawn[:] = state["drawn"]
            set_random_state(state["random"][self.accelerator.process_index], self.accelerator.device)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.states.folder}: the state does not fit this recipe, data and number of processes ({reason}); "
                "start the run anew in another folder"
            ) from error


def train(recipe: Recipe, output: Path, resume: bool = False, report: Report = print) -> list[dict[str, float]]:
    """Run a recipe to its end, or until SIGTERM; returns the history. The best checkpoint is in `output`/best.

    Raises ConfigurationError for a folder that holds another run, InputError for data that cannot be read, and
    KeyboardInterrupt, everything saved, after Ctrl-C.
    """
    keep_freed_memory()
    RunFolder(output).require(recipe, resume)  # before data and weights are read, which may take minutes
    trainer = Trainer(recipe, output, report)
    with closing(trainer.folder):
        if trainer.accelerator.is_main_process:
            trainer.folder.open(recipe, resume)
            trainer.folder.write_held_out(trainer.data)
        trainer.accelerator.wait_for_everyone()
        if resume:
            trainer.restore()
            ended = ", the last: there is nothing left to learn" if trainer.step == trainer.total else ""
            trainer._say(f"resumed after step {trainer.step}{ended}")
        history = trainer.run()
    best = trainer.folder.best
    if best.is_dir():
        trainer._say(what_ends(trainer.data, trainer.folder))
    return history
