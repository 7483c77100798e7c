"""The states that a run can continue from: written whole or not at all, the last few kept."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from picscribe.errors import CheckpointError, PicscribeError
from picscribe.whole_files import PARTIAL, whole_file

NAME = re.compile(r"step-(\d{8})\.pt")
EVERY_MINUTES, KEPT = 10.0, 2
"""Minutes without a state after which one is saved, and how many of the latest are kept."""


class States:
    """step-00000100.pt and the like in a folder."""

    def __init__(self, folder: Path, every_steps: int = 0) -> None:
        """every_steps: 0 for by the clock alone."""
        self.folder, self.every_steps = folder, every_steps
        self._saved = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether after this step a state is to be saved, by the count of steps or by the clock."""
        late = time.monotonic() - self._saved >= 60 * EVERY_MINUTES
        return late or (self.every_steps > 0 and step % self.every_steps == 0)

    def list_steps(self) -> list[int]:
        """The steps after which a state was saved, the latest last."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for file in self.folder.iterdir() if (match := NAME.fullmatch(file.name)))

    def describe_kept(self) -> str:
        """Which state there is to continue from, in words."""
        steps = self.list_steps()
        return f"the state after step {steps[-1]} is kept" if steps else "nothing was saved yet"

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:08}.pt"

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state after `step`, then drop all but the last few.

        Raises PicscribeError where the disk is full; what was saved before stays.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file(step)) as stream:
                torch.save(dict(state), stream)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError where a write fails
            still = f"{self.describe_kept()}: make room and resume" if self.list_steps() else "make room"
            raise PicscribeError(f"{self._file(step)}: cannot be written ({error}); {still}") from error
        self._saved = time.monotonic()
        for old in self.list_steps()[:-KEPT]:
            self._file(old).unlink(missing_ok=True)
        for left in self.folder.glob(f"*{PARTIAL}"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        """The latest state. Raises CheckpointError where there is none, or it is damaged."""
        steps = self.list_steps()
        if not steps:
            raise CheckpointError(f"{self.folder}: has no saved state: start the run without --resume")
        file = self._file(steps[-1])
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            raise CheckpointError(
                f"{file}: is damaged ({type(error).__name__}): remove it to continue from the state before"
            ) from error
        return state


def read_random_state(device: torch.device) -> dict[str, Tensor]:
    """Where this process's random numbers stand."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on with the random numbers from there."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
