"""A loaded checkpoint that turns photos and videos into words: the Python API.

Every job comes in three forms, which are one loop underneath: for one image or a list (`caption`), for any number of
images, one after the other (`captions`), and as a task among others of any kind (`CaptionTask`, `Scribe.run`).
`errors="return"` puts an error in the place of what cannot be used, so that the rest continues.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, cast, overload

import numpy as np
import torch

from picscribe import checkpoints
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.forking import survive_forks
from picscribe.acceleration.precision import Precision, find_fast_precision
from picscribe.batches import Batches
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.checkpoints.fingerprint import fingerprint
from picscribe.errors import ConfigurationError, PicscribeError
from picscribe.generation import GenerationOptions, OptionFields
from picscribe.generation.explanation import Method
from picscribe.generation.options import whole_number
from picscribe.inference import Inference
from picscribe.media.preprocessing import FAST_DETAIL, Preprocessing, resized
from picscribe.model import Git, GitConfig
from picscribe.results import Caption, Classification, Explanation, TextScore
from picscribe.tasks import AskTask, CaptionTask, ClassifyTask, ExplainTask, Image, ScoreTask, Task
from picscribe.text.labels import Labels
from picscribe.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

SMALL_BATCH, LARGE_BATCH = 16, 64
"""Images computed at a time on a CPU, unless told otherwise: of a large network, and of a small one."""
BATCH_BYTES = 128 * 2**20
"""A network is small if pixels and prefixes of a large batch take less."""

PRECISIONS = ("exact", "fast", "auto")
"""What `load` takes; "auto" is another name of "fast"."""

Raise: TypeAlias = Literal["raise"]
Return: TypeAlias = Literal["return"]
Given: TypeAlias = Image | PicscribeError
"""An image, or the error of one that could not be obtained."""

Result = TypeVar("Result")
Encoder: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Wrapped = TypeVar("Wrapped", bound=Encoder)


class SearchArguments(OptionFields, total=False):
    """How to search: an object, or single options by name, which win over it."""

    options: GenerationOptions | None


class CaptionArguments(SearchArguments, total=False):
    """What `caption` and `captions` take besides images."""

    prompt: str | None
    batch_size: int | None


class AnswerArguments(SearchArguments, total=False):
    """What `answers` takes besides images and questions."""

    batch_size: int | None


class Loading(TypedDict):
    """The arguments of `load` that a precision stands for."""

    dtype: str
    quantize: str | None


class ClassifyArguments(TypedDict, total=False):
    """What `classify` and `classifications` take besides images and labels."""

    top_k: int
    exact: bool
    prompt: str | None
    batch_size: int | None


class ScoreArguments(TypedDict, total=False):
    """What `scores` takes besides images and texts."""

    prompt: str | None
    batch_size: int | None


survive_forks()


class Scribe:
    """A checkpoint ready for use, from any number of threads; make one with `picscribe.load`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._network = Accelerated(checkpoint.model)
        self._inference = Inference(checkpoint, self._network)
        self._fitting: dict[GenerationOptions, int] = {}
        self._precision: Precision | None = None

    @property
    def name(self) -> str:
        """The name or folder that was loaded."""
        return self._checkpoint.name

    @property
    def precision(self) -> str:
        """What it computes in, and where `load` chose that, why."""
        if self._precision is not None:
            return str(self._precision)
        if self._checkpoint.is_int8:
            return "int8"
        return self._dtype

    @property
    def loading(self) -> Loading:
        """What makes `load` compute as this does, whatever precision it was asked for."""
        return {"dtype": self._dtype, "quantize": "int8" if self._checkpoint.is_int8 else None}

    @property
    def _dtype(self) -> str:
        return str(next(self._checkpoint.model.parameters()).dtype).removeprefix("torch.")

    @property
    def config(self) -> GitConfig:
        """Sizes of the network."""
        return self._checkpoint.model.config

    @property
    def model(self) -> Git:
        """The network, an ordinary PyTorch module: read, change, copy, save or train it as any other.

        `load` computes with a faster form of it. Since a change to the network can go unnoticed there, captions come
        from the network itself, changed or not, once this has been asked for. `config` has its sizes without that.
        """
        return self._network.hand_out()

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint with its network, which computes from then on: see `model`."""
        return replace(self._checkpoint, model=self._network.hand_out())

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The network's weights by name, sorted, to be read; a weight may be a copy."""
        return self._network.weights()

    def wrap_encoder(self, wrap: Callable[[Encoder], Wrapped]) -> Wrapped:
        """Replace the image encoder with what `wrap` returns for it, such as one that keeps its results.

        An encoder takes pixels (B, 3, height, width) or (B, F, 3, height, width), as `pixels` makes them, stacked, and
        gives visual features (B, I, visual width). `explain` continues with the network's own.
        """
        wrapped = wrap(self._inference.encoder)
        self._inference.encoder = wrapped
        return wrapped

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return self._checkpoint.tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """Images to pixels."""
        return self._checkpoint.preprocessing

    def fingerprint(self) -> str:
        """What tells this checkpoint from others: see `checkpoints.fingerprint`."""
        return fingerprint(self._checkpoint, self._network.weights())

    def __getstate__(self) -> dict[str, Any]:
        self._network.network()  # all weights, wherever they are held
        return self.__dict__

    # The loop that every job goes through

    @overload
    def run(
        self,
        tasks: Iterable[Task[Result]],
        *,
        batch_size: int | None = None,
        errors: Raise = "raise",
        cancelled: Callable[[int], bool] | None = None,
        finished: Callable[[int, Result | PicscribeError], None] | None = None,
    ) -> Iterator[Result]: ...

    @overload
    def run(
        self,
        tasks: Iterable[Task[Result]],
        *,
        batch_size: int | None = None,
        errors: Return,
        cancelled: Callable[[int], bool] | None = None,
        finished: Callable[[int, Result | PicscribeError], None] | None = None,
    ) -> Iterator[Result | PicscribeError]: ...

    def run(
        self,
        tasks: Iterable[Task[Result]],
        *,
        batch_size: int | None = None,
        errors: Raise | Return = "raise",
        cancelled: Callable[[int], bool] | None = None,
        finished: Callable[[int, Result | PicscribeError], None] | None = None,
    ) -> Iterator[Result] | Iterator[Result | PicscribeError]:
        """Do tasks of any kinds, however many: their results come in order, as soon as a batch is done.

        Within a batch each different image is encoded once, and what can be computed together is. Images of the next
        batch are opened in threads meanwhile, so one given as an array or Pillow image must stay as it is until its
        result comes; one that cannot be used leaves no hole in a batch. Streams are read as tasks are drawn, by the
        caller's thread. Close the iterator, or go through it to its end, for the threads to end.

        batch_size: images computed at a time; by default 16 to 64, on a GPU as many as its memory holds.
        errors: "return" puts the error of a task that cannot be done in its place, and the error of a single question
            or text in the place of its answer or score; "raise" raises the first.
        cancelled: asked with the task's number before its image is opened and before it is computed, also from other
            threads; where it says True, the task's result is a `Cancelled` error.
        finished: called with a task's number and its result, or error, as soon as that is known, which may be before
            the results of tasks before it.
        """
        _check_errors(errors)
        batches = Batches(self._inference, self._checked(batch_size, None), cancelled, cast("Any", finished))
        return self._results(batches, tasks, errors)

    def _run(self, tasks: Iterable[Task[Result]], batch_size: int, errors: Raise | Return) -> Iterator[Result]:
        """`run` for the methods below, which warn of words that the network does not get to read."""
        return self._results(Batches(self._inference, batch_size, warns=True), tasks, errors)

    def _results(self, batches: Batches, tasks: Iterable[Task[Result]], errors: Raise | Return) -> Iterator[Result]:
        for result in batches.run(tasks):
            if errors == "raise":
                for one in result if isinstance(result, list) else [result]:
                    if isinstance(one, PicscribeError):
                        raise one
            yield cast(Result, result)

    def _checked(self, batch_size: int | None, options: GenerationOptions | None) -> int:
        if batch_size is None:
            return self.fitting_batch_size(options)
        return whole_number("batch_size", batch_size, 1)

    # Captions. A text is one image, though to a type checker it is a sequence of texts as well: hence the ignores.

    @overload
    def caption(self, images: Given, *, errors: Raise = "raise", **how: "Unpack[CaptionArguments]") -> Caption: ...  # type: ignore[overload-overlap]

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, images: Given, *, errors: Return, **how: "Unpack[CaptionArguments]"
    ) -> Caption | PicscribeError: ...

    @overload
    def caption(
        self, images: Sequence[Given], *, errors: Raise = "raise", **how: "Unpack[CaptionArguments]"
    ) -> list[Caption]: ...

    @overload
    def caption(
        self, images: Sequence[Given], *, errors: Return, **how: "Unpack[CaptionArguments]"
    ) -> list[Caption | PicscribeError]: ...

    def caption(
        self, images: Given | Sequence[Given], *, errors: Raise | Return = "raise", **how: "Unpack[CaptionArguments]"
    ) -> Caption | PicscribeError | list[Caption] | list[Caption | PicscribeError]:
        """Caption an image, or each of a list: path, bytes, stream, PIL image, numpy array or pixels (see `Image`).

        prompt: words that the caption continues from; `Caption.text` is what comes after them.
            Words of it that the network does not get to read, unknown ones and those beyond 38 tokens, are warned of.
        options: how to search; single options can be given by name instead (`beams=1`), or on top of `options`.
        batch_size: images computed at a time; by default 16 to 64, on a GPU as many as its memory holds. Results do not
            depend on it.
        errors: "return" puts the error of an image that cannot be used in its place, so that the others continue.

        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        given = _listed(images)
        how.setdefault("batch_size", _small(given))
        results = list(self.captions(given, errors=cast(Return, errors), **how))
        return results if _several(images) else results[0]

    @overload
    def captions(
        self, images: Iterable[Given], *, errors: Raise = "raise", **how: "Unpack[CaptionArguments]"
    ) -> Iterator[Caption]: ...

    @overload
    def captions(
        self, images: Iterable[Given], *, errors: Return, **how: "Unpack[CaptionArguments]"
    ) -> Iterator[Caption | PicscribeError]: ...

    def captions(
        self,
        images: Iterable[Given],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Raise | Return = "raise",
        **fields: "Unpack[OptionFields]",
    ) -> Iterator[Caption] | Iterator[Caption | PicscribeError]:
        """Caption images one after the other, however many, as `run` does tasks.

        An error among the images takes the place of one that could not be obtained. Arguments and errors are those of
        `caption`; options are checked at once, images as their turn comes.
        """
        _check_errors(errors)
        chosen = GenerationOptions.choose(options, fields)
        self._inference.prompt(prompt, chosen)
        tasks = (CaptionTask(image, prompt, chosen) for image in _each(images))
        return self._run(tasks, self._checked(batch_size, chosen), errors)

    # Questions

    @overload
    def ask(
        self, image: Image, questions: Sequence[str], *, errors: Raise = "raise", **how: "Unpack[SearchArguments]"
    ) -> list[Caption]: ...

    @overload
    def ask(
        self, image: Image, questions: Sequence[str], *, errors: Return, **how: "Unpack[SearchArguments]"
    ) -> list[Caption | PicscribeError]: ...

    def ask(
        self,
        image: Image,
        questions: Sequence[str],
        *,
        errors: Raise | Return = "raise",
        **how: "Unpack[SearchArguments]",
    ) -> list[Caption] | list[Caption | PicscribeError]:
        """Answer each question about one image, which is encoded once for all of them; options as in `caption`.

        errors: "return" puts the error of a question that cannot be asked in its place.
        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        (answers,) = self.answers([(image, questions)], batch_size=1, errors=cast(Return, errors), **how)
        if isinstance(answers, PicscribeError):
            raise answers
        return answers

    @overload
    def answers(
        self,
        asked: Iterable[tuple[Given, Sequence[str]]],
        *,
        errors: Raise = "raise",
        **how: "Unpack[AnswerArguments]",
    ) -> Iterator[list[Caption]]: ...

    @overload
    def answers(
        self, asked: Iterable[tuple[Given, Sequence[str]]], *, errors: Return, **how: "Unpack[AnswerArguments]"
    ) -> Iterator[list[Caption | PicscribeError] | PicscribeError]: ...

    def answers(
        self,
        asked: Iterable[tuple[Given, Sequence[str]]],
        *,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Raise | Return = "raise",
        **fields: "Unpack[OptionFields]",
    ) -> Iterator[list[Caption]] | Iterator[list[Caption | PicscribeError] | PicscribeError]:
        """Answer questions about images, `asked` (image, its questions), however many: a list of answers an image.

        Each image is encoded once, and images with their questions, however many and long, are answered together as
        one by one. With errors="return" the error of a question comes in its place in the list, that of an image in
        place of the list. Other arguments and errors are those of `captions`.
        """
        _check_errors(errors)
        chosen = GenerationOptions.choose(options, fields)
        self._inference.prompt(None, chosen)
        tasks = (AskTask(image, questions, chosen) for image, questions in asked)
        return self._run(tasks, self._checked(batch_size, chosen), errors)

    # Classes

    @overload
    def classify(  # type: ignore[overload-overlap]
        self,
        images: Given,
        labels: Labels | Sequence[str],
        *,
        errors: Raise = "raise",
        **how: "Unpack[ClassifyArguments]",
    ) -> Classification: ...

    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: Given, labels: Labels | Sequence[str], *, errors: Return, **how: "Unpack[ClassifyArguments]"
    ) -> Classification | PicscribeError: ...

    @overload
    def classify(
        self,
        images: Sequence[Given],
        labels: Labels | Sequence[str],
        *,
        errors: Raise = "raise",
        **how: "Unpack[ClassifyArguments]",
    ) -> list[Classification]: ...

    @overload
    def classify(
        self,
        images: Sequence[Given],
        labels: Labels | Sequence[str],
        *,
        errors: Return,
        **how: "Unpack[ClassifyArguments]",
    ) -> list[Classification | PicscribeError]: ...

    def classify(
        self,
        images: Given | Sequence[Given],
        labels: Labels | Sequence[str],
        *,
        errors: Raise | Return = "raise",
        **how: "Unpack[ClassifyArguments]",
    ) -> Classification | PicscribeError | list[Classification] | list[Classification | PicscribeError]:
        """The class of an image, or of each of a list, among `labels`: generation that can write nothing else.

        exact: the `top_k` likeliest labels, best first, common beginnings computed once, with probabilities among all
        labels to a thousandth: labels that begin so unlikely that together they hold less are not gone through. Else
        greedy, as the original code: the one label that is found word by word, its probability not known (nan).
        `Labels.of(scribe.tokenizer, names).notes` tells what is odd about labels, and which are left out.
        Raises InputError for an image or labels that cannot be used.
        """
        given = _listed(images)
        how.setdefault("batch_size", _small(given))
        results = list(self.classifications(given, labels, errors=cast(Return, errors), **how))
        return results if _several(images) else results[0]

    @overload
    def classifications(
        self,
        images: Iterable[Given],
        labels: Labels | Sequence[str],
        *,
        errors: Raise = "raise",
        **how: "Unpack[ClassifyArguments]",
    ) -> Iterator[Classification]: ...

    @overload
    def classifications(
        self,
        images: Iterable[Given],
        labels: Labels | Sequence[str],
        *,
        errors: Return,
        **how: "Unpack[ClassifyArguments]",
    ) -> Iterator[Classification | PicscribeError]: ...

    def classifications(
        self,
        images: Iterable[Given],
        labels: Labels | Sequence[str],
        *,
        top_k: int = 5,
        exact: bool = True,
        prompt: str | None = None,
        batch_size: int | None = None,
        errors: Raise | Return = "raise",
    ) -> Iterator[Classification] | Iterator[Classification | PicscribeError]:
        """`classify` for images, however many, one after the other."""
        _check_errors(errors)
        named, few = self._inference.labels(labels), self._inference.top_k(top_k)
        self._inference.prompt(prompt)
        tasks = (ClassifyTask(image, named, few, prompt, exact) for image in _each(images))
        return self._run(tasks, self._checked(batch_size, None), errors)

    # Scores

    @overload
    def score(
        self, image: Image, texts: Sequence[str], *, prompt: str | None = None, errors: Raise = "raise"
    ) -> list[TextScore]: ...

    @overload
    def score(
        self, image: Image, texts: Sequence[str], *, prompt: str | None = None, errors: Return
    ) -> list[TextScore | PicscribeError]: ...

    def score(
        self, image: Image, texts: Sequence[str], *, prompt: str | None = None, errors: Raise | Return = "raise"
    ) -> list[TextScore] | list[TextScore | PicscribeError]:
        """How likely each of `texts` is for one image, which is encoded once for all of them.

        errors: "return" puts the error of a text that cannot be scored in its place.
        Raises InputError for an image or a text that cannot be used.
        """
        (scores,) = self.scores([(image, texts)], prompt=prompt, batch_size=1, errors=cast(Return, errors))
        if isinstance(scores, PicscribeError):
            raise scores
        return scores

    @overload
    def scores(
        self, pairs: Iterable[tuple[Given, Sequence[str]]], *, errors: Raise = "raise", **how: "Unpack[ScoreArguments]"
    ) -> Iterator[list[TextScore]]: ...

    @overload
    def scores(
        self, pairs: Iterable[tuple[Given, Sequence[str]]], *, errors: Return, **how: "Unpack[ScoreArguments]"
    ) -> Iterator[list[TextScore | PicscribeError] | PicscribeError]: ...

    def scores(
        self,
        pairs: Iterable[tuple[Given, Sequence[str]]],
        *,
        prompt: str | None = None,
        batch_size: int | None = None,
        errors: Raise | Return = "raise",
    ) -> Iterator[list[TextScore]] | Iterator[list[TextScore | PicscribeError] | PicscribeError]:
        """`score` for images with their texts, `pairs` (image, texts), however many: a list of scores an image.

        With errors="return" the error of a text comes in its place in the list, that of an image in place of the list.
        """
        _check_errors(errors)
        self._inference.prompt(prompt)
        tasks = (ScoreTask(image, texts, prompt) for image, texts in pairs)
        return self._run(tasks, self._checked(batch_size, None), errors)

    # One image at a time

    def stream(
        self,
        image: Image,
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        **fields: "Unpack[OptionFields]",
    ) -> Iterator[str]:
        """The caption of one image as it is written, piece by piece; joined, the caption of greedy search or sampling.

        `beams` is 1 unless given. Raises as `caption`, and ConfigurationError for a beam search.
        """
        if options is None and not fields.get("temperature"):
            fields = {"beams": 1, **fields}
        chosen = GenerationOptions.choose(options, fields)
        read = self._inference.prompt(prompt, chosen)
        for note in read.notes:
            warnings.warn(note, stacklevel=2)
        return self._inference.stream(self.pixels(image), read.ids, chosen)

    def explain(
        self,
        image: Image,
        *,
        prompt: str | None = None,
        method: Method = "gradient",
        options: GenerationOptions | None = None,
        **fields: "Unpack[OptionFields]",
    ) -> Explanation:
        """Caption an image or video, and show where the network looked for each word.

        method: "gradient", attention times its gradient, or "rollout", attention alone; see `generation.explanation`.
        Other arguments and errors are those of `caption`; ConfigurationError also for gradients of int8 weights.
        """
        task = ExplainTask(image, prompt, method, GenerationOptions.choose(options, fields))
        (explanation,) = self._run([task], 1, "raise")
        return explanation

    def pixels(self, image: Image) -> torch.Tensor:
        """What the network is given of an image, (3, height, width), or of a video, (F, 3, height, width).

        Raises InputError for one that cannot be used.
        """
        return self._inference.pixels(image)

    def fitting_batch_size(self, options: GenerationOptions | None = None) -> int:
        """Images computed at a time unless told otherwise.

        On a CPU 16 to 64: a small network such as nano computes large batches up to a fifth faster. On a GPU as many
        as its free memory holds; two small batches are searched once for each new `options`, to see what an image
        takes.
        """
        if self._inference.device.type != "cuda":
            return _batch_size_on_cpu(self._inference.model.config)
        chosen = options or GenerationOptions()
        if chosen not in self._fitting:
            self._fitting[chosen] = self._inference.fitting_batch_size(chosen)
        return self._fitting[chosen]


def _batch_size_on_cpu(config: GitConfig) -> int:
    encoder, decoder, frames = config.image_encoder, config.text_decoder, max(1, config.frames)
    values = 3 * encoder.image_size**2 + 2 * decoder.layers * decoder.width * encoder.tokens
    fitting = BATCH_BYTES // (4 * values * frames) // SMALL_BATCH * SMALL_BATCH
    return max(SMALL_BATCH, min(LARGE_BATCH, fitting))


def _several(images: object) -> bool:
    return isinstance(images, list | tuple)


def _listed(images: Given | Sequence[Given]) -> Sequence[Given]:
    return cast("Sequence[Given]", images) if _several(images) else [cast(Given, images)]


def _small(images: Sequence[Given]) -> int | None:
    """A batch that holds all of a few images, for which it need not be measured how many fit; None for many."""
    return max(1, len(images)) if len(images) <= SMALL_BATCH else None


def _each(images: Iterable[Given]) -> Iterable[Given]:
    """The images. Raises ConfigurationError for one image where many are wanted: a text would go by its letters."""
    one = str | bytes | bytearray | memoryview | torch.Tensor | np.ndarray
    if isinstance(images, one) or hasattr(images, "read") or not hasattr(images, "__iter__"):
        kind = type(images).__name__
        raise ConfigurationError(f"images must be a list or other iterable, not one image ({kind}): put it in []")
    return images


def _check_errors(errors: object) -> None:
    if errors not in ("raise", "return"):
        raise ConfigurationError(f"errors must be 'raise' or 'return', not {errors!r}")


def load(
    name_or_folder: str | os.PathLike[str] = "nano",
    *,
    device: str = "cpu",
    revision: str | None = None,
    dtype: str = "float32",
    quantize: str | None = None,
    compile: bool = False,
    resize: str | None = None,
    precision: str = "exact",
) -> Scribe:
    """Load a checkpoint: "nano" (bundled), a name that `picscribe models` lists, a hub name, or a folder.

    A `Path` is a folder always, a string only where it is no known name.
    device: "cpu", "cuda", "cuda:1", "mps", "xpu". revision: of a hub repository.
    dtype, quantize, compile: what changes numbers for speed, see `picscribe.checkpoints.load`: "bfloat16" or "float16"
    weights; "int8" weights in linear layers; torch.compile. In other types than float32 large JPEGs are also read at a
    smaller scale, see `media.preprocessing.FAST_DETAIL`.
    precision: "exact" computes in `dtype`. "fast", or "auto", is whichever of float32, bfloat16 and int8 is fastest on
    this machine: measured once, for some seconds, and remembered. `Scribe.precision` says what was chosen and why.
    resize: "center-crop", "keep-aspect" or "square" instead of what the checkpoint says; see `resized`.
    Hub downloads go through huggingface_hub: HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are honoured. VQA and TextVQA
    checkpoints, loaded by their registered names, keep the photo's aspect as the original code does.
    On a CPU a faster form of the network computes, until `Scribe.model` is asked for.
    Raises CheckpointError where it cannot be found or read, ConfigurationError for options that cannot be.
    """
    where = name_or_folder if isinstance(name_or_folder, str) else Path(name_or_folder)
    settings: dict[str, Any] = {"device": device, "dtype": dtype, "quantize": quantize, "compile": compile}
    if precision not in PRECISIONS:
        raise ConfigurationError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    chooses = precision != "exact"
    if chooses and (dtype != "float32" or quantize is not None):
        raise ConfigurationError(f"precision {precision} sets the number type: leave out dtype and quantize")
    checkpoint, chosen = checkpoints.load(where, revision=revision, **settings), None
    if chooses and not checkpoint.is_int8:
        chosen = find_fast_precision(checkpoint.model.config, device)
        if (chosen.dtype, chosen.quantize) != (dtype, quantize):
            settings |= {"dtype": chosen.dtype, "quantize": chosen.quantize}
            checkpoint = checkpoints.load(where, revision=revision, **settings)
    if checkpoint.is_int8 or settings["dtype"] != "float32":
        checkpoint = replace(checkpoint, preprocessing=replace(checkpoint.preprocessing, detail=FAST_DETAIL))
    if resize is not None:
        checkpoint = replace(checkpoint, preprocessing=resized(checkpoint.preprocessing, resize))
    scribe = Scribe(checkpoint)
    scribe._precision = chosen
    if not compile:  # a compiler lays weights out itself
        scribe._network.accelerate()
    return scribe
