"""A loaded checkpoint that turns photos into words: the Python API."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import torch

from picscribe import checkpoints
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.generation import GenerationOptions, Hypothesis, generate
from picscribe.media.images import ImageSource, open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git
from picscribe.text.prompts import prompt_ids
from picscribe.text.tokenizer import Tokenizer


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
        images: Sequence[ImageSource],
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
        images: Sequence[ImageSource],
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
        images: ImageSource,
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
        """Caption an image, or each of a list: path, bytes, stream, PIL image or numpy array.

        prompt: words that the caption goes on from; `Caption.text` is what comes after them.
        options: how to search; single options can be given by name instead (`beams=1`), or on top of `options`.
        batch_size: images computed at a time. Results do not depend on it.
        errors: "return" puts the error of an image that cannot be used in its place, so that the others go on.

        Raises InputError for an image that cannot be used, ConfigurationError for options that cannot.
        """
        if errors not in ("raise", "return"):
            raise ConfigurationError(f"errors must be 'raise' or 'return', not {errors!r}")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigurationError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
        chosen = _options(options, fields)
        given = list(images) if isinstance(images, list | tuple) else [images]
        ids = prompt_ids(self.tokenizer, prompt)
        results: list[Caption | PicscribeError] = []
        for start in range(0, len(given), batch_size):
            results += self._caption_batch(given[start : start + batch_size], ids, chosen, errors)
        return results if isinstance(images, list | tuple) else results[0]

    def ask(
        self,
        image: ImageSource,
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
        pixels = self.preprocessing(open_image(image))[None]
        found = self._search(pixels, prompts, chosen)[0]
        return [self._caption_of(hypotheses, prompt) for hypotheses, prompt in zip(found, prompts, strict=True)]

    def _caption_batch(
        self, sources: Sequence[ImageSource], prompt: Sequence[int], options: GenerationOptions, errors: str
    ) -> list[Caption | PicscribeError]:
        results: list[Caption | PicscribeError | None] = [None] * len(sources)
        pixels: dict[int, torch.Tensor] = {}
        for place, source in enumerate(sources):
            try:
                pixels[place] = self.preprocessing(open_image(source))
            except PicscribeError as error:
                if errors == "raise":
                    raise
                results[place] = error
        for places in _equal_sizes(pixels):
            batch = torch.stack([pixels[place] for place in places])
            for place, of_image in zip(places, self._search(batch, [prompt], options), strict=True):
                try:
                    results[place] = self._caption_of(of_image[0], prompt)
                except PicscribeError as error:
                    if errors == "raise":
                        raise
                    results[place] = error
        return [result for result in results if result is not None]

    @torch.inference_mode()
    def _search(
        self, pixels: torch.Tensor, prompts: Sequence[Sequence[int]], options: GenerationOptions
    ) -> list[list[list[Hypothesis]]]:
        """For each image of one size, `pixels` (B, 3, height, width), and each of P prompts, the best hypotheses."""
        weight = next(self.model.parameters())
        room = len(prompts) * options.beams * (max(map(len, prompts)) + options.max_new_tokens)
        prefix = self.model.encode(pixels.to(weight.device, weight.dtype), room)
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
    name_or_folder: str | os.PathLike[str] = "nano", *, device: str = "cpu", revision: str | None = None
) -> Scribe:
    """Load a checkpoint: "nano" (bundled), a name that `picscribe models` lists, a hub name, or a folder.

    A `Path` is a folder always, a string only where it is no known name.

    device: "cpu", "cuda", "cuda:1", "mps", "xpu". revision: of a hub repository.
    Hub downloads go through huggingface_hub: HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are honoured. VQA and TextVQA
    checkpoints, loaded by their registered names, keep the photo's aspect as the original code does.
    Raises CheckpointError where it cannot be found or read, ConfigurationError for a device that is not there or a
    revision of what has none.
    """
    where = name_or_folder if isinstance(name_or_folder, str) else Path(name_or_folder)
    return Scribe(checkpoints.load(where, revision=revision, device=device))
