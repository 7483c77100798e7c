"""What is evaluated, on what and how: one frozen object that command line and Python both build."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from picscribe.datasets import Dataset, Example
from picscribe.datasets.fingerprint import hash_examples
from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.answering import Batch, plan_batches
from picscribe.evaluation.processes import MOST_PROCESSES, rank
from picscribe.generation import GenerationOptions
from picscribe.metrics.bootstrap import Resampling
from picscribe.metrics.scores import MetricName, choose_metric
from picscribe.scribe import Scribe, load
from picscribe.versions import versions


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, on what, and how.

    model: a name or folder. images: the folder that was named for the photos, for the report. metric: None for the
    usual one of the data set. labels: photos are classified among them, where there are any. batch_size: photos, or
    questions of one photo, computed at a time. dtype, quantize, compile and precision: as `picscribe.load`
    takes them.
    """

    model: str
    dataset: Dataset
    examples: tuple[Example, ...]
    split: str | None = None
    images: Path | None = None
    options: GenerationOptions = field(default_factory=GenerationOptions)
    batch_size: int = 32
    metric: str | None = None
    labels: tuple[str, ...] = ()
    resampling: Resampling = field(default_factory=Resampling)
    revision: str | None = None
    device: str = "cpu"
    processes: int = 1
    dtype: str = "float32"
    quantize: str | None = None
    compile: bool = False
    precision: str = "exact"

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError(f"{self.dataset.path}: has no examples to evaluate: name another split or file")
        if silent := next((example for example in self.examples if not example.texts), None):
            raise InputError(
                f"{silent.where or silent.id}: nothing to compare with: this split of {self.dataset.path} holds no "
                "reference texts"
            )
        self.chosen_metric  # noqa: B018 - raises where the metric does not fit
        if self.labels and self.dataset.task != "labels":
            raise ConfigurationError(
                f"labels are for classes, but {self.dataset.path} has {self.dataset.task}: leave labels out"
            )
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise ConfigurationError(f"processes must be 1 to {MOST_PROCESSES}, not {self.processes}")

    @property
    def chosen_metric(self) -> MetricName:
        """The metric given, or the usual one of the data set."""
        return choose_metric(self.metric, self.dataset.task, self.dataset.format, self.references)

    @property
    def references(self) -> dict[str, tuple[str, ...]]:
        """What people said, by example."""
        return {example.id: example.texts for example in self.examples}

    def batches(self) -> list[Batch]:
        """The examples in the batches that they are computed in."""
        return plan_batches(self.examples, self.batch_size)

    def load(self) -> Scribe:
        """The model, on this process's GPU where there are several processes."""
        device = f"cuda:{rank()}" if self.device == "cuda" and self.processes > 1 else self.device
        return load(
            self.model,
            device=device,
            revision=self.revision,
            dtype=self.dtype,
            quantize=self.quantize,
            compile=self.compile,
            precision=self.precision,
        )

    def identity(self, scribe: Scribe) -> dict[str, Any]:
        """All that the answers depend on, wherever model and data lie: runs that agree in it may share answers."""
        return {
            "model": scribe.fingerprint(),
            "data": hash_examples(self.examples),
            "generation": asdict(self.options),
            "labels": list(self.labels),
            "batch_size": self.batch_size,
            "device": torch.device(self.device).type,
            **scribe.loading,
            "compile": self.compile,
            "versions": {name: version for name, version in versions().items() if name != "machine"},
        }
