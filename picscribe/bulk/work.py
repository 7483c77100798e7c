"""What a job asks of the model for each entry, and its results as JSON has them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from picscribe.bulk.entries import Entry
from picscribe.bulk.failures import EntryError
from picscribe.errors import ConfigurationError, PicscribeError
from picscribe.text_files import split_lines

if TYPE_CHECKING:
    import torch

    from picscribe.generation import GenerationOptions
    from picscribe.scribe import Scribe
    from picscribe.tasks import Task

Kind = Literal["caption", "ask", "classify", "score"]


@dataclass(frozen=True)
class Work:
    """One job for every entry.

    questions, texts: the same for all; with `column` each entry has its own, from that column of its list.
    options: how to search, for captions and answers. labels, top_k: for classes. prompt: not for questions.
    Raises ConfigurationError for what contradicts itself.
    """

    kind: Kind = "caption"
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    top_k: int = 5
    texts: tuple[str, ...] = ()
    column: str | None = None

    def __post_init__(self) -> None:
        given = {"ask": self.questions, "score": self.texts, "classify": self.labels}
        for kind, what in given.items():
            if what and kind != self.kind:
                raise ConfigurationError(
                    "a job is for captions, questions, labels or texts, not several: run one after the other"
                )
        if self.column and self.kind not in ("ask", "score"):
            raise ConfigurationError("column works for questions and for texts only: leave it out")
        if self.column and given[self.kind]:
            raise ConfigurationError("questions or texts for all photos and a column do not go together: choose one")
        if self.kind != "caption" and not given[self.kind] and not self.column:
            raise ConfigurationError(f"{self.kind} needs what to {self.kind}")
        if self.kind == "ask" and self.prompt:
            raise ConfigurationError("a question is its own prompt: leave --prompt out")

    @property
    def generation(self) -> "GenerationOptions":
        """How to search."""
        from picscribe.generation import GenerationOptions

        return GenerationOptions(**self.options)

    def identity(self) -> dict[str, Any]:
        """What a result depends on besides the model, for the journal; only values that are not the default."""
        said: dict[str, Any] = {"task": self.kind}
        if self.kind in ("caption", "ask"):
            said |= {name: value for name, value in asdict(self.generation).items()}
        if self.kind == "classify":
            said["top_k"] = self.top_k
        named = {"prompt": self.prompt, "questions": self.questions, "labels": self.labels, "texts": self.texts}
        return said | {name: value for name, value in {**named, "column": self.column}.items() if value}

    def summary(self) -> str:
        """What it is, in a few words: the kind, and options that were given."""
        given = {"prompt": self.prompt, **self.options}
        return " ".join([self.kind, *(f"{name}={value}" for name, value in given.items() if value is not None)])

    def results(
        self, scribe: "Scribe", batch: Sequence[tuple[Entry, "torch.Tensor"]]
    ) -> Iterator[Mapping[str, Any] | EntryError]:
        """The result of each entry, given its pixels, computed together; or why it has none."""
        labels: Any = self.labels
        if self.kind == "classify":
            labels = self._labels(scribe)
        tasks = [self._task(entry, pixels, labels) for entry, pixels in batch]
        found: Iterable[Any] = scribe.run(tasks, batch_size=len(tasks), errors="return")
        for (entry, _), result in zip(batch, found, strict=True):
            if isinstance(result, PicscribeError):
                yield EntryError("not-fitting", str(result))
            else:
                try:
                    yield self.value(entry, result)
                except EntryError as error:
                    yield error

    def _labels(self, scribe: "Scribe") -> Any:
        from picscribe.text.labels import Labels

        return Labels.of(scribe.tokenizer, self.labels)

    def _task(self, entry: Entry, pixels: "torch.Tensor", labels: Any) -> "Task[Any]":
        from picscribe.tasks import AskTask, CaptionTask, ClassifyTask, ScoreTask

        if self.kind == "caption":
            return CaptionTask(pixels, self.prompt, self.generation)
        if self.kind == "ask":
            return AskTask(pixels, entry.asked or self.questions, self.generation)
        if self.kind == "classify":
            return ClassifyTask(pixels, labels, self.top_k, self.prompt)
        return ScoreTask(pixels, entry.asked or self.texts, self.prompt)

    def value(self, entry: Entry, result: Any) -> Mapping[str, Any]:
        """What a model found for an entry, as JSON has it. Raises EntryError where it found nothing."""
        if self.kind == "caption":
            value = _caption(result)
            if len(result.alternatives) > 1:
                value["captions"] = [_caption(one) for one in result.alternatives]
            return value
        if self.kind == "classify":
            ranking = [{"label": one.label, "probability": _number(one.probability)} for one in result.ranking]
            return {"label": result.label, "confidence": ranking[0]["probability"], "labels": ranking}
        if self.kind == "ask":
            return {"answers": _each("question", entry.asked or self.questions, result, _answer)}
        return {"scores": _each("text", entry.asked or self.texts, result, _score)}


def confidence_of(value: Mapping[str, Any]) -> float | None:
    """The least confidence of a result's texts; None where none is known."""
    each = [one for name in ("answers", "scores") for one in value.get(name, ())] or [value]
    known = [one["confidence"] for one in each if one.get("confidence") is not None]
    return min(known) if known else None


def with_text(value: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The result with a person's words in place of the model's, a line a caption or answer."""
    lines = [line.strip() for line in split_lines(text) if line.strip()] or [""]
    if "answers" in value:
        said = [{"question": one["question"], "answer": new} for one, new in zip(value["answers"], lines, strict=False)]
        return {"answers": said, "edited": True}
    if "label" in value:
        return {"label": lines[0], "edited": True}
    changed: dict[str, Any] = {"caption": lines[0], "edited": True}
    if len(lines) > 1:
        changed["captions"] = [{"caption": line} for line in lines]
    return changed


def _caption(caption: Any) -> dict[str, Any]:
    return {"caption": caption.text, "score": _number(caption.score), "confidence": _number(caption.confidence)}


def _answer(answer: Any) -> dict[str, Any]:
    said = _caption(answer)
    return {"answer": said.pop("caption"), **said}


def _score(score: Any) -> dict[str, Any]:
    return {"log_likelihood": _number(score.log_likelihood), "confidence": _number(score.confidence)}


def _each(name: str, asked: Sequence[str], results: Sequence[Any], said: Any) -> list[dict[str, Any]]:
    """What was found of each question or text; an error where it could not be asked, unless all could not."""
    if all(isinstance(one, PicscribeError) for one in results):
        raise EntryError("not-fitting", str(results[0]))
    return [
        {name: text, **({"error": str(one)} if isinstance(one, PicscribeError) else said(one))}
        for text, one in zip(asked, results, strict=True)
    ]


def _number(value: float) -> float | None:
    """JSON has no nan and no infinity; six digits tell more than anybody reads."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
