"""A loaded checkpoint that turns photos and videos into words: the Python API."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

import torch

from picscribe import checkpoints
from picscribe.batches import Batches, fitting_batch_size
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.generation import GenerationOptions
from picscribe.generation.explanation import Method
from picscribe.generation.label_trie import LabelTrie
from picscribe.jobs import Jobs
from picscribe.media.frames import pixels_of
from picscribe.media.images import ImageSource
from picscribe.media.preprocessing import Preprocessing, resized
from picscribe.media.video import Video
from picscribe.model import Git
from picscribe.results import Caption, Explanation, TextScore
from picscribe.text.labels import Labels
from picscribe.text.prompts import prompt_ids
from picscribe.text.tokenizer import Tokenizer

BATCH = 16
"""Images computed at a time on a CPU, unless told otherwise."""

Image: TypeAlias = ImageSource | torch.Tensor | Video
"""What can be captioned: whatever `open_image` opens, pixels that `Scribe.pixels` made of it, or a `Video`.

A checkpoint for videos takes files with videos and animations as they are."""

Errors: TypeAlias = Literal["raise", "return"]
Result = TypeVar("Result")


class Scribe:
    """A checkpoint ready for use; make one with `picscribe.load`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._jobs = Jobs(checkpoint)

    @property
    def name(self) -> str:
        """The name or folder that was loaded."""
        return self.checkpoint.name

    @property
    def model(self) -> Git:
        """The network."""
        return self.checkpoint.model

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        return self.checkpoint.tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """Images to pixels."""
        return self.checkpoint.preprocessing

    @overload
    def caption(
        self,
        images: Sequence[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Literal["raise"] = "raise",
        **fields: Any,
    ) -> list[Caption]: ...

    @overload
    def caption(
        self,
        images: Sequence[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Literal["return"],
        **fields: Any,
    ) -> list[Caption | PicscribeError]: ...

    @overload
    def caption(
        self,
        images: Image,
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        **fields: Any,
    ) -> Caption: ...

    def caption(
        self,
        images: Any,
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Any = "raise",
        **fields: Any,
    ) -> Any:
        """Caption an image, or each of a list: path, bytes, stream, PIL image, numpy array or pixels (see `Image`).

        prompt: words that the caption goes on from; `Caption.text` is what comes after them.
        options: how to search; single options can be given by name instead (`beams=1`), or on top of `options`.
        batch_size: images computed at a time; by default 16, on a GPU as many as its memory holds. Results do not
            depend on it.
        errors: "return" puts the error of an image that cannot be used in its place, so that the others go on.

        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        many = isinstance(images, list | tuple)
        given: Any = images if many else [images]
        results = list(
            self.captions(given, prompt=prompt, options=options, batch_size=batch_size, errors=errors, **fields)
        )
        return results if many else results[0]

    @overload
    def captions(
        self,
        images: Iterable[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Literal["raise"] = "raise",
        **fields: Any,
    ) -> Iterator[Caption]: ...

    @overload
    def captions(
        self,
        images: Iterable[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Literal["return"],
        **fields: Any,
    ) -> Iterator[Caption | PicscribeError]: ...

    def captions(
        self,
        images: Iterable[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        **fields: Any,
    ) -> Iterator[Any]:
        """Caption images one after the other, however many: captions come in order, as soon as a batch is done.

        Images of the next batch are opened in threads meanwhile, so one given as an array or Pillow image must stay as
        it is until its caption comes; one that cannot be used leaves no hole in a batch. Streams are read as they are
        drawn, by the caller's thread. An error among the images stands for one that could not be got.
        Arguments and errors are those of `caption`; options are checked at once, images as their turn comes.
        """
        chosen, ids = GenerationOptions.choose(options, fields), prompt_ids(self.tokenizer, prompt)
        tasks = ((image, [ids]) for image in images)
        found = self._each(tasks, partial(self._jobs.caption, options=chosen), batch_size, errors, chosen)
        return (one if isinstance(one, PicscribeError) else one[0] for one in found)

    def ask(
        self,
        image: Image,
        questions: Sequence[str],
        *,
        options: GenerationOptions | None = None,
        **fields: Any,
    ) -> list[Caption]:
        """Answer each question about one image, which is encoded once for all of them; options as in `caption`.

        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        return list(next(self.answers([(image, questions)], options=options, **fields)))

    def answers(
        self,
        asked: Iterable[tuple[Image | PicscribeError, Sequence[str]]],
        *,
        options: GenerationOptions | None = None,
        batch_size: int | None = None,
        errors: Errors = "raise",
        **fields: Any,
    ) -> Iterator[Any]:
        """Answer questions about images, `asked` (image, its questions), however many: a list of answers an image.

        Each image is encoded once, and images with their questions, however many and long, are answered together as
        one by one. With errors="return" the error of an image, or of its questions, comes in place of its list.
        Other arguments and errors are those of `captions`.
        """
        chosen = GenerationOptions.choose(options, fields)
        tasks = _tasks(asked, self._jobs.prompts_of)
        return self._each(tasks, partial(self._jobs.caption, options=chosen), batch_size, errors, chosen)

    def classify(
        self,
        images: Image | Sequence[Image | PicscribeError],
        labels: Labels | Sequence[str],
        *,
        top_k: int = 5,
        exact: bool = True,
        prompt: str | None = None,
        batch_size: int | None = None,
        errors: Errors = "raise",
    ) -> Any:
        """The class of an image, or of each of a list, among `labels`: generation that can write nothing else.

        exact: the `top_k` likeliest labels, best first, common beginnings computed once, with probabilities among all
        labels to a thousandth: labels that begin so unlikely that together they hold less are not gone through. Else
        greedy, as the original code: the one label that is found word by word, its probability not known (nan).
        `Labels.of(scribe.tokenizer, names).notes` tells what is odd about labels, and which are left out.
        Raises InputError for an image or labels that cannot be used.
        """
        many = isinstance(images, list | tuple)
        given: Any = images if many else [images]
        settings: dict[str, Any] = {"top_k": top_k, "exact": exact, "prompt": prompt, "batch_size": batch_size}
        results = list(self.classifications(given, labels, errors=errors, **settings))
        return results if many else results[0]

    def classifications(
        self,
        images: Iterable[Image | PicscribeError],
        labels: Labels | Sequence[str],
        *,
        top_k: int = 5,
        exact: bool = True,
        prompt: str | None = None,
        batch_size: int | None = None,
        errors: Errors = "raise",
    ) -> Iterator[Any]:
        """`classify` for images, however many, one after the other."""
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
            raise ConfigurationError(f"top_k must be a whole number of at least 1, not {top_k!r}")
        named = labels if isinstance(labels, Labels) else Labels.of(self.tokenizer, labels)
        trie = LabelTrie.of(named.tokens, self.tokenizer.sep_id)
        ids = prompt_ids(self.tokenizer, prompt)
        compute = partial(self._jobs.classify, labels=named, trie=trie, top_k=top_k if exact else 0)
        return self._each(((image, ids) for image in images), compute, batch_size, errors)

    def score(
        self,
        image: Image,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
    ) -> list[TextScore]:
        """How likely each of `texts` is for one image, which is encoded once for all of them.

        Raises InputError for an image or a text that cannot be used.
        """
        return list(next(self.scores([(image, texts)], prompt=prompt)))

    def scores(
        self,
        pairs: Iterable[tuple[Image | PicscribeError, Sequence[str]]],
        *,
        prompt: str | None = None,
        batch_size: int | None = None,
        errors: Errors = "raise",
    ) -> Iterator[Any]:
        """`score` for images with their texts, `pairs` (image, texts), however many: a list of scores an image.

        With errors="return" the error of an image, or of its texts, comes in place of its list.
        """
        ids = prompt_ids(self.tokenizer, prompt)
        tasks = _tasks(pairs, self._jobs.texts_of)
        return self._each(tasks, partial(self._jobs.score, prompt=ids), batch_size, errors)

    def stream(
        self, image: Image, *, prompt: str | None = None, options: GenerationOptions | None = None, **fields: Any
    ) -> Iterator[str]:
        """The caption of one image as it is written, piece by piece; joined, the caption of greedy search or sampling.

        `beams` is 1 unless given. Raises as `caption`, and ConfigurationError for a beam search.
        """
        if options is None and "temperature" not in fields:
            fields = {"beams": 1, **fields}
        chosen, ids = GenerationOptions.choose(options, fields), prompt_ids(self.tokenizer, prompt)
        return self._jobs.stream(self.pixels(image), ids, chosen)

    def explain(
        self,
        image: Image,
        *,
        prompt: str | None = None,
        method: Method = "gradient",
        options: GenerationOptions | None = None,
        **fields: Any,
    ) -> Explanation:
        """Caption an image or video, and show where the network looked for each word.

        method: "gradient", attention times its gradient, or "rollout", attention alone; see `generation.explanation`.
        Other arguments and errors are those of `caption`; ConfigurationError also for gradients of int8 weights.
        """
        pixels, ids = self.pixels(image), prompt_ids(self.tokenizer, prompt)
        caption = self.caption(pixels, prompt=prompt, options=options, **fields)
        if not caption.tokens:
            raise InputError("the caption holds no word to explain: ask for min_new_tokens=1")
        words, maps = self._jobs.explain(pixels, ids, caption, method)
        return Explanation(caption, words, maps.numpy(), self.preprocessing.images_of(pixels))

    def pixels(self, image: Image) -> torch.Tensor:
        """What the network is given of an image, (3, height, width), or of a video, (F, 3, height, width).

        Raises InputError for one that cannot be used.
        """
        return pixels_of(image, self.preprocessing, self.model.config.frames, self.name)

    def fitting_batch_size(self, options: GenerationOptions | None = None) -> int:
        """Images computed at a time unless told otherwise: 16 on a CPU, on a GPU as many as its free memory holds."""
        device = self.model.projection_norm.weight.device
        if device.type != "cuda":
            return BATCH
        size, chosen = self.preprocessing.size, options or GenerationOptions()

        def peak(images: int) -> int:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            self._jobs.caption(torch.zeros((images, 3, size, size)), [[[self.tokenizer.cls_id]]] * images, chosen)
            return torch.cuda.max_memory_allocated(device) - before

        return fitting_batch_size(peak, torch.cuda.mem_get_info(device)[0])

    def _each(
        self,
        tasks: Iterable[tuple[Any, Any]],
        compute: Any,
        batch_size: int | None,
        errors: Errors,
        options: GenerationOptions | None = None,
    ) -> Iterator[Any]:
        if errors not in ("raise", "return"):
            raise ConfigurationError(f"errors must be 'raise' or 'return', not {errors!r}")
        if batch_size is None:
            batch_size = self.fitting_batch_size(options)
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ConfigurationError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
        return self._raising(Batches(self.pixels, compute, batch_size).run(tasks), errors)

    def _raising(self, results: Iterator[Result | PicscribeError], errors: Errors) -> Iterator[Result | PicscribeError]:
        for result in results:
            if errors == "raise" and isinstance(result, PicscribeError):
                raise result
            yield result


def _tasks(given: Iterable[tuple[Any, Any]], read: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Images with what `read` makes of what is given beside them, or with the error that it raises in their place."""
    for image, beside in given:
        try:
            yield image, read(beside)
        except PicscribeError as error:
            yield error, None


def load(
    name_or_folder: str | os.PathLike[str] = "nano",
    *,
    device: str = "cpu",
    revision: str | None = None,
    dtype: str = "float32",
    quantize: str | None = None,
    compile: bool = False,
    resize: str | None = None,
) -> Scribe:
    """Load a checkpoint: "nano" (bundled), a name that `picscribe models` lists, a hub name, or a folder.

    A `Path` is a folder always, a string only where it is no known name.
    device: "cpu", "cuda", "cuda:1", "mps", "xpu". revision: of a hub repository.
    dtype, quantize, compile: what changes numbers for speed, see `picscribe.checkpoints.load`: "bfloat16" or "float16"
    weights; "int8" weights in linear layers; torch.compile.
    resize: "center-crop", "keep-aspect" or "square" instead of what the checkpoint says; see `resized`.
    Hub downloads go through huggingface_hub: HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are honoured. VQA and TextVQA
    checkpoints, loaded by their registered names, keep the photo's aspect as the original code does.
    On a CPU the network is laid out for inference (`Git.pack`): what its linear layers hold is in its `state_dict()`;
    to train it, load it with `picscribe.checkpoints.load`.
    Raises CheckpointError where it cannot be found or read, ConfigurationError for options that cannot be.
    """
    where = name_or_folder if isinstance(name_or_folder, str) else Path(name_or_folder)
    settings: dict[str, Any] = {"device": device, "dtype": dtype, "quantize": quantize, "compile": compile}
    checkpoint = checkpoints.load(where, revision=revision, **settings)
    if resize is not None:
        checkpoint = replace(checkpoint, preprocessing=resized(checkpoint.preprocessing, resize))
    if not compile:  # a compiler lays weights out itself
        checkpoint.model.pack()
    return Scribe(checkpoint)
