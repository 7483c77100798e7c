"""A loaded checkpoint that turns photos into words: the Python API."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import torch

from picscribe import checkpoints
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.generation import GenerationOptions, Hypothesis, generate
from picscribe.generation.decoding import room_for
from picscribe.media.images import ImageSource, in_memory
from picscribe.media.preprocessing import Preprocessing
from picscribe.media.reading import read_ahead
from picscribe.model import Git
from picscribe.text.prompts import prompt_ids
from picscribe.text.tokenizer import Tokenizer

PATIENCE = 8
"""A batch is computed before it is full where it takes more than so many times its size to find enough good images."""

Image: TypeAlias = ImageSource | torch.Tensor
"""What can be captioned: whatever `open_image` opens, or the pixels that `Preprocessing.read` made of it."""


@dataclass(frozen=True)
class Caption:
    """One caption: `text` is what comes after the prompt.

    score: what the search ranked by, a length-normalised log-probability; higher is better.
    confidence: exp of the mean token log-probability, from 0 to 1.
    tokens: ids without [SEP].
    log_probabilities: one a token, and [SEP]'s after them where the caption ended by itself.
    alternatives: where several captions were asked for, all of them, best first, this one included; else empty.
    """

    text: str
    score: float
    confidence: float
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    alternatives: tuple["Caption", ...] = ()


class Scribe:
    """A checkpoint ready for use; make one with `picscribe.load`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

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
        batch_size: int = 16,
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
        batch_size: int = 16,
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
        batch_size: int = 16,
        errors: Literal["raise", "return"] = "raise",
        **fields: Any,
    ) -> Any:
        """Caption an image, or each of a list: path, bytes, stream, PIL image, numpy array or pixels (see `Image`).

        prompt: words that the caption goes on from; `Caption.text` is what comes after them.
        options: how to search; single options can be given by name instead (`beams=1`), or on top of `options`.
        batch_size: images computed at a time. Results do not depend on it.
        errors: "return" puts the error of an image that cannot be used in its place, so that the others go on.

        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        many = isinstance(images, list | tuple)
        given = images if many else [images]
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
        batch_size: int = 16,
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
        batch_size: int = 16,
        errors: Literal["return"],
        **fields: Any,
    ) -> Iterator[Caption | PicscribeError]: ...

    def captions(
        self,
        images: Iterable[Image | PicscribeError],
        *,
        prompt: str | None = None,
        options: GenerationOptions | None = None,
        batch_size: int = 16,
        errors: Literal["raise", "return"] = "raise",
        **fields: Any,
    ) -> Iterator[Any]:
        """Caption images one after the other, however many: captions come in order, as soon as a batch is done.

        Images of the next batch are opened in threads meanwhile, so one given as an array or Pillow image must stay as
        it is until its caption comes; one that cannot be used leaves no hole in a batch. Streams are read as they are
        drawn, by the caller's thread. An error among the images stands for one that could not be got.
        Arguments and errors are those of `caption`; options are checked at once, images as their turn comes.
        """
        if errors not in ("raise", "return"):
            raise ConfigurationError(f"errors must be 'raise' or 'return', not {errors!r}")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigurationError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
        chosen = _options(options, fields)
        return self._caption_each(images, prompt_ids(self.tokenizer, prompt), chosen, batch_size, errors)

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
        if isinstance(questions, str) or not questions:
            raise InputError(f"questions must be a list of at least one text, not {questions!r}")
        chosen = _options(options, fields)
        prompts = [prompt_ids(self.tokenizer, question) for question in questions]
        pixels = self.preprocessing.read(image)[None]
        found = self._search(pixels, prompts, chosen)[0]
        return [self._caption_of(hypotheses, prompt) for hypotheses, prompt in zip(found, prompts, strict=True)]

    def _caption_each(
        self,
        images: Iterable[Image | PicscribeError],
        prompt: Sequence[int],
        options: GenerationOptions,
        batch_size: int,
        errors: Literal["raise", "return"],
    ) -> Iterator[Caption | PicscribeError]:
        read = read_ahead(map(_held, images), self._read, ahead=batch_size)
        with contextlib.closing(read):
            while batch := _next_batch(read, batch_size):
                for result in self._caption_batch(batch, prompt, options):
                    if errors == "raise" and isinstance(result, PicscribeError):
                        raise result
                    yield result

    def _read(self, image: Image | PicscribeError) -> torch.Tensor:
        if isinstance(image, PicscribeError):
            raise image
        return self.preprocessing.read(image)

    def _caption_batch(
        self, batch: Sequence[torch.Tensor | PicscribeError], prompt: Sequence[int], options: GenerationOptions
    ) -> list[Caption | PicscribeError]:
        """A caption for each image's pixels; errors stay in their places."""
        results: list[Caption | PicscribeError | None] = [x if isinstance(x, PicscribeError) else None for x in batch]
        pixels = {place: x for place, x in enumerate(batch) if isinstance(x, torch.Tensor)}
        for places in _equal_sizes(pixels):
            found = self._search(torch.stack([pixels[place] for place in places]), [prompt], options)
            for place, of_image in zip(places, found, strict=True):
                try:
                    results[place] = self._caption_of(of_image[0], prompt)
                except PicscribeError as error:
                    results[place] = error
        return [result for result in results if result is not None]

    @torch.inference_mode()
    def _search(
        self, pixels: torch.Tensor, prompts: Sequence[Sequence[int]], options: GenerationOptions
    ) -> list[list[list[Hypothesis]]]:
        """For each image of one size, `pixels` (B, 3, height, width), and each of P prompts, the best hypotheses."""
        norm = self.model.projection_norm.weight  # a float where other weights are int8
        room = room_for(len(prompts), max(map(len, prompts)), options.beams, options.max_new_tokens)
        if norm.device.type == "cuda":
            pixels = pixels.pin_memory()
        prefix = self.model.encode(pixels.to(norm.device, norm.dtype, non_blocking=True), room)
        banned = [tokens for word in options.banned_words for tokens in self.tokenizer.spellings(word)]
        return generate(self.model, prefix, [prompts] * len(pixels), options, self.tokenizer.never_written, banned)

    def _caption_of(self, hypotheses: Sequence[Hypothesis], prompt: Sequence[int]) -> Caption:
        if not hypotheses:
            raise InputError("no caption fits the options: allow more words or a shorter caption")
        captions = tuple(
            Caption(self._text_after(prompt, h.tokens), h.score, h.confidence, h.tokens, h.log_probabilities)
            for h in hypotheses
        )
        return replace(captions[0], alternatives=captions) if len(captions) > 1 else captions[0]

    def _text_after(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The words of `tokens`; where they go on within the prompt's last word, without the mark of a word's piece."""
        before = self.tokenizer.decode(prompt)
        together = self.tokenizer.decode([*prompt, *tokens])
        return together[len(before) :].lstrip() if together.startswith(before) else self.tokenizer.decode(tokens)


def _held(image: Image | PicscribeError) -> Image | PicscribeError:
    """The image, without a stream behind it that a thread could wait for beyond Ctrl-C, or share with another."""
    if isinstance(image, torch.Tensor | PicscribeError):
        return image
    try:
        return in_memory(image)
    except InputError as error:
        return error


def _next_batch(read: Iterator[torch.Tensor | PicscribeError], size: int) -> list[torch.Tensor | PicscribeError]:
    """Results up to the `size`th image's pixels, the errors among them included; [] at the end.

    Errors that no image goes before need not wait for one: each is a batch of its own.
    """
    batch: list[torch.Tensor | PicscribeError] = []
    missing = size
    for result in read:
        batch.append(result)
        missing -= isinstance(result, torch.Tensor)
        if missing in (0, size) or len(batch) == PATIENCE * size:
            break
    return batch


def _equal_sizes(pixels: Mapping[int, torch.Tensor]) -> list[list[int]]:
    """The places of images that can go through the network together; one group unless aspects are kept."""
    groups: dict[torch.Size, list[int]] = {}
    for place, image in pixels.items():
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())


def _options(options: GenerationOptions | None, fields: dict[str, Any]) -> GenerationOptions:
    if options is not None and not isinstance(options, GenerationOptions):
        raise ConfigurationError(f"options must be a GenerationOptions, not {type(options).__name__}")
    unknown = sorted(set(fields) - set(GenerationOptions.names()))
    if unknown:
        known = ", ".join(GenerationOptions.names())
        raise ConfigurationError(f"unknown option {', '.join(unknown)}; known are {known}")
    return replace(options or GenerationOptions(), **fields)


def load(
    name_or_folder: str | os.PathLike[str] = "nano",
    *,
    device: str = "cpu",
    revision: str | None = None,
    dtype: str = "float32",
    quantize: str | None = None,
    compile: bool = False,
) -> Scribe:
    """Load a checkpoint: "nano" (bundled), a name that `picscribe models` lists, a hub name, or a folder.

    A `Path` is a folder always, a string only where it is no known name.

    device: "cpu", "cuda", "cuda:1", "mps", "xpu". revision: of a hub repository.
    dtype, quantize, compile: what changes numbers for speed, see `picscribe.checkpoints.load`: "bfloat16" or "float16"
    weights; "int8" weights in linear layers; torch.compile.
    Hub downloads go through huggingface_hub: HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are honoured. VQA and TextVQA
    checkpoints, loaded by their registered names, keep the photo's aspect as the original code does.
    On a CPU the network is laid out for inference (`Git.pack`): what its linear layers hold is in its `state_dict()`;
    to train it, load it with `picscribe.checkpoints.load`.
    Raises CheckpointError where it cannot be found or read, ConfigurationError for a device that is not there or a
    revision of what has none.
    """
    where = name_or_folder if isinstance(name_or_folder, str) else Path(name_or_folder)
    checkpoint = checkpoints.load(
        where, revision=revision, device=device, dtype=dtype, quantize=quantize, compile=compile
    )
    if not compile:  # a compiler lays weights out itself
        checkpoint.model.pack()
    return Scribe(checkpoint)
