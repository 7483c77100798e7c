"""The training loop: steps, validations and saved states between them, and how a run continues."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import torch

from picscribe.errors import CheckpointError, InputError, PicscribeError
from picscribe.training.data.batches import BatchReader, TrainingBatch
from picscribe.training.data.frozen_features import KeptViews
from picscribe.training.data.mixture import BatchSchedule
from picscribe.training.data.reading import read_data
from picscribe.training.learner import DIVERGED, Learner
from picscribe.training.recipe import Recipe
from picscribe.training.recipe_file import dump_recipe
from picscribe.training.run.progress import Progress, describe_beginning, describe_end, format_line
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.run.states import States, read_random_state, set_random_state
from picscribe.training.run.stopping import Stopped, on_signals
from picscribe.training.run.validation import Validation
from picscribe.training.setup.machine import (
    NO_BFLOAT16,
    choose_precision,
    keep_freed_memory,
    make_accelerator,
    sum_over_processes,
)
from picscribe.training.setup.start import load_start

Report = Callable[[str], None]
REPORT_EVERY = 20


class Trainer:
    """State of one run; `run` continues from wherever it stands."""

    def __init__(self, recipe: Recipe, output: Path, report: Report) -> None:
        self.recipe, self.folder, self.report = recipe, RunFolder(output), report
        self.states = States(output / "states", recipe.saving.every_steps)
        self.accelerator = make_accelerator(recipe, output)
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        optimisation = recipe.optimisation
        if choose_precision(optimisation.precision) != optimisation.precision:
            self._say(NO_BFLOAT16)
        self.data = read_data(recipe.data, recipe.seed)
        self.folder.require_apart(self.data.folders)
        shares = processes * optimisation.accumulate
        self.schedule = BatchSchedule(self.data, recipe.seed, optimisation.batch_images, shares)
        self.total = self.schedule.count_steps(optimisation)
        torch.manual_seed(recipe.seed)
        self.start = load_start(recipe, self.data)
        self.learner = Learner(recipe, self.start, self.data, self.accelerator)
        torch.manual_seed(recipe.seed + process)
        self.validation = Validation(recipe, data=self.data, start=self.start, folder=self.folder, say=self._say)
        kept = None
        if recipe.image.views:
            folder = Path(recipe.image.features) if recipe.image.features else output / "features"
            kept = KeptViews(
                recipe, start=self.start, data=self.data, folder=folder, report=self._say, processes=processes
            )
        self.reader = BatchReader(recipe, self.start, self.schedule, processes=processes, process=process, kept=kept)
        self.fingerprint = self.data.fingerprint()
        self.step, self.due = 0, False  # due: the validation after this step is still to come
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []  # since the last row of the history
        self.skipped: dict[str, str] = self.data.unusable()
        self.empty_steps = 0  # steps without a photo that could be read, one after the other
        self.stop_asked = False
        self.started = time.monotonic()

    # Steps

    def run(self) -> list[dict[str, float]]:
        """Every step that is left, with validations and saved states between; returns the history, a row each."""
        model = self.learner.model.train()
        if self.recipe.trackers:
            self.accelerator.init_trackers(self.recipe.name, config={"recipe": dump_recipe(self.recipe)})
        for line in describe_beginning(model, self.data, self.total, self.start.tokenizer, self.recipe):
            self._say(line)
        # Stopped, or failed, before it was made; or wanted of the start.
        if self.due or (self.recipe.validation.before and not self.step and not self.history):
            self._add_row()
        first = self.total if self._lost_patience() else self.step
        with on_signals(self._ask_to_stop):
            try:
                with closing(self.reader.read_batches(first, self.total, self._stop_if_asked)) as batches:
                    self._learn_from(batches)
            except Stopped:
                self.save()
                self._say(f"stopped after step {self.step}; continue with --resume")
        self.accelerator.end_training()
        return self.history

    def _learn_from(self, batches: Iterable[TrainingBatch]) -> None:
        """Take the steps as they are read, to the last or where patience ends. Raises Stopped where asked to stop."""
        progress = Progress(REPORT_EVERY)
        for batch in batches:
            self.skipped.update(batch.skipped)
            if self._has_photos(batch):
                self.losses.append(self.train_step(batch))
            self.step += 1
            progress.add(batch.count_images() * self.accelerator.num_processes)
            if progress.is_due():
                self._report_progress(progress)
            if self._finish_step():
                return

    def train_step(self, batch: TrainingBatch) -> float:
        """One update of the weights; returns the loss a predicted token. Raises PicscribeError where it is not finite,
        with the state that is left to continue from."""
        try:
            return self.learner.update(batch, self.step, self.total)
        except PicscribeError as error:
            raise PicscribeError(f"{error}; {self.states.describe_kept()}") from error

    def _ask_to_stop(self) -> None:
        self.stop_asked = True

    def _stop_if_asked(self) -> None:
        if self.stop_asked:
            raise Stopped

    def _has_photos(self, batch: TrainingBatch) -> bool:
        """Whether any process has a photo to learn from. Raises InputError after a whole epoch of none."""
        if self._sum(float(batch.count_images())):
            self.empty_steps = 0
            return True
        self.empty_steps += 1
        if self.empty_steps >= self.schedule.steps_an_epoch:
            name, problem = next(iter(self.skipped.items()), ("another process's photos", "none can be read"))
            raise InputError(
                f"no photo of a whole epoch could be read (check data.train and its images), such as {name}: {problem}"
            )
        return False

    def _report_progress(self, progress: Progress) -> None:
        drawn = self.learner.rewards.drawn if self.learner.rewards is not None else ()
        name, values = ("reward", drawn) if drawn else ("loss", self.losses)
        left = round((self.total - self.step) * self.data.epoch_size() / self.schedule.steps_an_epoch)
        row = progress.report(name, values, self.learner.learning_rate, left)
        self.accelerator.log(row, step=self.step)
        self._say(f"step {self.step}/{self.total}  {format_line(row)}")

    def _finish_step(self) -> bool:
        """Save and validate where it is time; whether the run is at its end. Raises Stopped where asked to stop."""
        every = self.recipe.validation.every_steps or self.schedule.steps_an_epoch
        last = self.step == self.total
        self.due = last or self.step % every == 0
        if self._is_any(self.stop_asked) and not last:
            raise Stopped
        if self.due or self._is_any(self.accelerator.is_main_process and self.states.is_due(self.step)):
            self.save()  # before validating: whatever goes wrong there loses no step
        if self.due:
            self._add_row()
        return last or self._lost_patience()

    def _lost_patience(self) -> bool:
        waited, patience = self.validation.waited, self.recipe.validation.patience
        lost = 0 < patience <= waited and self.step < self.total
        if lost:
            self._say(f"no better score in {waited} validations: stopped after step {self.step}")
        return lost

    def _sum(self, value: float) -> float:
        return sum_over_processes(self.accelerator, value)

    def _is_any(self, asked: bool) -> bool:
        return self._sum(float(asked)) > 0

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.report(text)

    # Validation, and what is saved

    def _add_row(self) -> None:
        """Validate: a row of the history, and the state with it."""
        row, rewards = {"step": float(self.step)}, self.learner.rewards
        if self.losses:  # else not one photo could be read since the last row
            row["loss"] = sum(self.losses) / len(self.losses)
        if rewards is not None and (drawn := self._sum(len(rewards.drawn))):
            row["reward"] = self._sum(sum(rewards.drawn)) / drawn
            rewards.drawn.clear()
        seconds = time.monotonic() - self.started
        if self.step:  # at the start none was learned at
            row["learning_rate"] = self.learner.learning_rate
        row |= {"seconds": seconds} | self.validate()
        self.losses.clear()
        self.due = False
        self.history.append(row)
        self.accelerator.log(row, step=self.step)
        self._say("  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        self.save()

    def validate(self) -> dict[str, float]:
        """Scores on the validation data, by the first process. Raises PicscribeError for weights that diverged."""
        if self._is_any(not self.learner.has_finite_weights()):
            raise PicscribeError(f"weights are not finite after step {self.step}: {DIVERGED}")
        row: dict[str, float] = {}
        model = self.learner.gather_validated()
        if self.accelerator.is_main_process:
            mode = self.learner.model.training
            row = self.validation.score(model.to(self.accelerator.device), self.step)
            if self.learner.sharded:  # which is for want of memory
                model.cpu()
            self.learner.model.train(mode)
        self.accelerator.wait_for_everyone()
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            ((row, self.validation.waited),) = broadcast_object_list([(row, self.validation.waited)])
        return row

    def save(self) -> None:
        """Everything that `restore` needs, then history and curves."""
        random_states, skipped = [read_random_state(self.accelerator.device)], [self.skipped]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            random_states, skipped = gather_object(random_states), gather_object(skipped)
        state = self.learner.read_state()
        if self.accelerator.is_main_process:
            unreadable = {name: problem for of_process in skipped for name, problem in of_process.items()}
            unreadable |= self.validation.unreadable
            state |= {
                "data": self.fingerprint,
                "step": self.step,
                "due": self.due,
                "seconds": time.monotonic() - self.started,
                "losses": self.losses,
                "best": self.validation.best,
                "waited": self.validation.waited,
                "history": self.history,
                "skipped": unreadable,
                "random": random_states,
            }
            self.states.save(self.step, state)
            if self.history:
                self.folder.write_history(self.history)
            if unreadable and self.folder.write_skipped(unreadable):
                self._say(f"{len(unreadable)} photos could not be used so far: skipped.json lists them")
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Go on exactly after the latest saved step. Raises CheckpointError for a state of another run."""
        state, processes = self.states.load(), self.accelerator.num_processes
        try:
            if state["data"] != self.fingerprint:
                raise ValueError("photos or texts were added, removed or changed since")
            if len(state["random"]) != processes:
                raise ValueError(f"it was saved by {len(state['random'])} processes, and these are {processes}")
            self.learner.load_state(state)
            self.step, self.validation.best, self.validation.waited = state["step"], state["best"], state["waited"]
            self.due, self.losses, self.history = state["due"], state["losses"], state["history"]
            self.skipped, self.started = state["skipped"], time.monotonic() - state["seconds"]
            set_random_state(state["random"][self.accelerator.process_index], self.accelerator.device)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.states.folder}: the state does not fit this recipe, data and number of processes ({reason}); "
                "start the run again in another folder"
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
    if trainer.folder.best.is_dir():
        trainer._say(describe_end(trainer.data, trainer.folder))
    return history
