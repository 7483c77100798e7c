"""What the network does for tasks: each is prepared by itself, and those of one shape are computed together."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

import torch

from picscribe.acceleration.accelerated import Accelerated
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.generation import GenerationOptions, Hypothesis, LexicalConstraints, generate, stream
from picscribe.generation.decoding import decode, room_for
from picscribe.generation.explanation import Method, explain
from picscribe.generation.greedy_search import GreedySearch
from picscribe.generation.label_trie import LabelTrie, continue_labels
from picscribe.generation.likelihood import compute_log_probabilities, rank_labels
from picscribe.generation.options import whole_number
from picscribe.media.preprocessing import pixels_of
from picscribe.model import Git, ImagePrefix
from picscribe.results import Caption, Classification, Explanation, RankedLabel, TextScore
from picscribe.tasks import Answers, AskTask, CaptionTask, ClassifyTask, ExplainTask, Scores, ScoreTask, Task
from picscribe.text.labels import Labels
from picscribe.text.prompts import Prompt, unknown_note
from picscribe.text.tokenizer import Tokenizer, quote, write_settled_words
from picscribe.text.vocabulary import CONTINUATION

QUESTIONS = 16
"""Questions of an image answered at a time."""

OPEN = 0.001
"""Share of the labels' probability that classification may leave uncomputed."""

Ids: TypeAlias = tuple[int, ...]
TaskResult: TypeAlias = Caption | Answers | Classification | Scores | Explanation | PicscribeError
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A task with its image as pixels and its texts as tokens.

    lines: what is computed over the image, a line a caption, question, text or label; an error in its place where it
    cannot be. settings: tasks of equal ones are computed together. room: text slots that it needs behind an image.
    notes: what of its texts the network does not get to read, a sentence each.
    """

    task: Task[object]
    pixels: torch.Tensor
    lines: tuple[Ids | PicscribeError, ...]
    settings: "Writing | Likelihoods | Choosing"
    room: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Writing:
    """Lines are prompts, [CLS] first; what comes after each is searched for."""

    options: GenerationOptions


@dataclass(frozen=True)
class Likelihoods:
    """Lines are texts, [SEP] last, which continue from `prompt`."""

    prompt: Ids


@dataclass(frozen=True)
class Choosing:
    """Lines are prompts, one an image; what comes after it is one of `labels`. `top_k` 0 is greedy search."""

    labels: Labels
    top_k: int


class Inference:
    """What a checkpoint does with images and videos; safe to use from many threads."""

    def __init__(self, checkpoint: Checkpoint, network: Accelerated) -> None:
        self.network, self.tokenizer = network, checkpoint.tokenizer
        self.preprocessing, self.name = checkpoint.preprocessing, checkpoint.name
        self.encoder: Callable[[torch.Tensor], torch.Tensor] = self.encode
        """What makes visual features of pixels; see `Scribe.wrap_encoder`."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, …, 3, height, width) → visual features (B, I, visual width)."""
        return self.model.visual_features(self._on_device(pixels))

    @property
    def model(self) -> Git:
        """What computes."""
        return self.network.running

    def pixels(self, image: object) -> torch.Tensor:
        """Pixels (3, height, width) of an image, (F, 3, height, width) of a video; see `Scribe.pixels`."""
        return pixels_of(image, self.preprocessing, self.model.config.frames, self.name)  # type: ignore[arg-type]

    # What is asked for: checked and tokenised

    def prepare(self, task: Task[object], image: object) -> Prepared:
        """The task ready to be computed, of `image`, which is its own, perhaps read from its stream.

        Raises InputError or ConfigurationError for what cannot be used.
        """
        if isinstance(image, PicscribeError):
            raise image
        settings: Writing | Likelihoods | Choosing
        notes: tuple[str, ...] = ()
        if isinstance(task, CaptionTask | ExplainTask | AskTask):
            settings = Writing(task.options)
            if isinstance(task, AskTask):
                read = self._read(task.questions, "questions", lambda text: self.prompt(text, task.options, "question"))
            else:
                read = [self.prompt(task.prompt, task.options)]
            longest = max((len(line.ids) for line in read if isinstance(line, Prompt)), default=1)
            texts = min(QUESTIONS, len(read))
            room = room_for(texts, longest, task.options.lines, task.options.max_new_tokens)
        elif isinstance(task, ScoreTask):
            prompt = self.prompt(task.prompt)
            settings = Likelihoods(prompt.ids)
            read, room = self._read(task.texts, "texts", lambda text: self._text(text, len(prompt.ids))), 0
            notes = prompt.notes
        elif isinstance(task, ClassifyTask):
            settings = Choosing(self.labels(task.labels), self.top_k(task.top_k) if task.exact else 0)
            prompt = self.prompt(task.prompt)
            read, room = [prompt], room_for(1, len(prompt.ids), 1, self._trie(settings.labels).longest)
        else:
            raise ConfigurationError(
                f"{type(task).__name__} is not a task: give a CaptionTask, AskTask, ClassifyTask, ScoreTask or "
                "ExplainTask"
            )
        notes += tuple(note for line in read if isinstance(line, Prompt) for note in line.notes)
        lines = tuple(line.ids if isinstance(line, Prompt) else line for line in read)
        return Prepared(task, self.pixels(image), lines, settings, room, notes)

    def prompt(self, text: str | None, options: GenerationOptions | None = None, kind: str = "prompt") -> Prompt:
        """What generation continues from; `kind` is what notes and errors call it.

        Raises InputError for a prompt that cannot be, ConfigurationError for options that cannot continue from it.
        """
        read = Prompt.of(self.tokenizer, text, kind)
        if options is not None:
            self._check_options(options, len(read.ids))
        return read

    def labels(self, labels: Labels | Sequence[str]) -> Labels:
        """Labels as the tokenizer sees them. Raises InputError where none can be used."""
        if isinstance(labels, Labels):
            return labels
        if isinstance(labels, str):
            return Labels.of(self.tokenizer, labels)
        return _labels(self.tokenizer, tuple(labels))

    def top_k(self, top_k: int) -> int:
        """How many labels to rank. Raises ConfigurationError for anything that is not such a number."""
        return whole_number("top_k", top_k, 1)

    def _trie(self, labels: Labels) -> LabelTrie:
        return _trie(labels.tokens, self.tokenizer.sep_id, self.device)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.model.projection_norm.weight.device

    def _read(
        self, texts: Sequence[str], what: str, read: Callable[[str], Prompt]
    ) -> list[Prompt] | list[Prompt | PicscribeError]:
        """Each text as `read` reads it, or its error. Raises InputError for none, or a text for a list."""
        if isinstance(texts, str) or not texts:
            raise InputError(f"{what} must be a list of at least one text, not {texts!r}")
        lines: list[Prompt | PicscribeError] = []
        for text in texts:
            try:
                lines.append(read(text))
            except PicscribeError as error:
                lines.append(error)
        return lines

    def _text(self, text: str, prompt: int) -> Prompt:
        """Tokens of a text, [SEP] last, that is scored after a prompt of so many."""
        ids, most = self.tokenizer.encode(text), self.model.config.text_decoder.max_positions
        if not ids or self.tokenizer.sep_id in ids:
            raise InputError(f"the text {text!r} cannot be scored: it needs a word, and must not have [SEP]")
        if prompt + len(ids) + 1 > most:
            raise InputError(
                f"the text {text[:60]!r}… is {len(ids)} tokens after a prompt of {prompt}, but the model has {most}"
                " positions: shorten it"
            )
        if self.tokenizer.unk_id not in ids:
            return Prompt((*ids, self.tokenizer.sep_id))
        note = unknown_note(self.tokenizer, f"the text {quote(text)}", text, ids)
        if all(index == self.tokenizer.unk_id for index in ids):
            raise InputError(note)  # its score would be that of any other word that is not known
        return Prompt((*ids, self.tokenizer.sep_id), (note,))

    def _check_options(self, options: GenerationOptions, prompt: int) -> None:
        """Raise ConfigurationError for options that this network cannot follow after a prompt of so many tokens."""
        decoder = self.model.config.text_decoder
        if options.beams > decoder.vocabulary_size and not options.temperature:
            raise ConfigurationError(
                f"{options.beams} beams, but the vocabulary has only {decoder.vocabulary_size} words: lower beams"
            )
        if prompt + options.max_new_tokens > decoder.max_positions:
            raise ConfigurationError(
                f"a prompt of {prompt} tokens and {options.max_new_tokens} new tokens do not fit into the model's"
                f" {decoder.max_positions} positions: lower max_new_tokens"
            )
        _constraints(self.tokenizer, options)

    # What is computed

    @torch.inference_mode()
    def compute(self, items: Sequence[Prepared]) -> list[TaskResult]:
        """The results of tasks whose pixels have one shape; each different image is encoded once."""
        rows, images = _distinct([item.pixels for item in items])
        prefix = self.model.prefix_of(self.encoder(torch.stack(images)), max(item.room for item in items))
        groups: dict[Hashable, list[int]] = {}
        for number, item in enumerate(items):
            groups.setdefault(item.settings, []).append(number)
        results: dict[int, TaskResult] = {}
        for numbers in groups.values():
            # In the order of the images, so that lines about one image are together.
            numbers.sort(key=lambda number: rows[number])
            lines = [
                (rows[number], line)
                for number in numbers
                for line in items[number].lines
                if not isinstance(line, PicscribeError)
            ]
            found = iter(self._apart(items[numbers[0]].settings, prefix, lines))
            for number in numbers:
                of_lines = [line if isinstance(line, PicscribeError) else next(found) for line in items[number].lines]
                results[number] = self._result(items[number], of_lines)
        return [results[number] for number in range(len(items))]

    def fitting_batch_size(self, options: GenerationOptions) -> int:
        """How many of the largest images fit into the free memory of the GPU that the network is on."""
        size, frames = self.preprocessing.size, self.model.config.frames
        shape = (frames,) * bool(frames) + (3, size, self.preprocessing.longer_edge or size)

        def peak(images: int) -> int:
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            prompt, room = self.prompt(None), room_for(1, 1, options.lines, options.max_new_tokens)
            # Different ones: equal ones would be encoded once.
            pixels = [torch.full(shape, 0.01 * number) for number in range(images)]
            task, settings = CaptionTask(pixels[0]), Writing(options)
            self.compute([Prepared(task, one, (prompt.ids,), settings, room, ()) for one in pixels])
            return torch.cuda.max_memory_allocated(self.device) - before

        try:
            return fitting_batch_size(peak, torch.cuda.mem_get_info(self.device)[0])
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            return 1

    def _apart(self, settings: object, prefix: ImagePrefix, lines: "list[tuple[int, Ids]]") -> list[Any]:
        """A result for each line (which image, tokens): all together, or where that fails in halves, down to the line
        whose error it is."""
        if not lines:
            return []
        try:
            if isinstance(settings, Writing):
                return self._write(prefix, lines, settings.options)
            if isinstance(settings, Likelihoods):
                return self._likelihoods(prefix, lines, settings.prompt)
            assert isinstance(settings, Choosing)
            return self._choose(prefix, lines, settings)
        except PicscribeError as error:
            if len(lines) == 1:
                return [error]
        half = len(lines) // 2
        return [found for part in (lines[:half], lines[half:]) for found in self._apart(settings, prefix, part)]

    def _result(self, item: Prepared, of_lines: list[Any]) -> TaskResult:
        if isinstance(item.task, AskTask):
            return cast(Answers, of_lines)
        if isinstance(item.task, ScoreTask):
            scores = zip(item.task.texts, of_lines, strict=True)
            return [one if isinstance(one, PicscribeError) else replace(one, text=text) for text, one in scores]
        (found,) = of_lines
        if isinstance(item.task, ExplainTask) and isinstance(found, Caption):
            return self._explain(item, found, item.task.method)
        return cast(TaskResult, found)

    def _write(
        self, prefix: ImagePrefix, lines: "list[tuple[int, Ids]]", options: GenerationOptions
    ) -> list[Caption | PicscribeError]:
        """What comes after each prompt, QUESTIONS of an image at a time."""
        prompts: dict[int, list[Ids]] = {}
        for row, prompt in lines:
            prompts.setdefault(row, []).append(prompt)
        found: dict[int, list[list[Hypothesis]]] = {row: [] for row in prompts}
        for start in range(0, max(map(len, prompts.values())), QUESTIONS):
            some = {row: p[start : start + QUESTIONS] for row, p in prompts.items() if p[start:]}
            answered = generate(
                self.model,
                _select(prefix, list(some)),
                list(some.values()),
                options,
                _constraints(self.tokenizer, options),
            )
            for row, of_image in zip(some, answered, strict=True):
                found[row] += of_image
        hypotheses = (of_prompt for of_image in found.values() for of_prompt in of_image)
        return [self._caption_of(of_prompt, prompt) for of_prompt, (_, prompt) in zip(hypotheses, lines, strict=True)]

    def _likelihoods(self, prefix: ImagePrefix, lines: "list[tuple[int, Ids]]", prompt: Ids) -> list[TextScore]:
        texts: dict[int, list[Ids]] = {}
        for row, text in lines:
            texts.setdefault(row, []).append(text)
        found = compute_log_probabilities(
            self.model, _select(prefix, list(texts)), [prompt] * len(texts), list(texts.values())
        )
        log_probs = (of_text for of_image in found for of_text in of_image)
        return [_text_score(text, of_text) for (_, text), of_text in zip(lines, log_probs, strict=True)]

    def _choose(self, prefix: ImagePrefix, lines: "list[tuple[int, Ids]]", settings: Choosing) -> list[Classification]:
        labels, trie, prompts = settings.labels, self._trie(settings.labels), [prompt for _, prompt in lines]
        chosen = _select(prefix, [row for row, _ in lines])
        if settings.top_k:
            found = rank_labels(self.model, chosen, prompts, trie, settings.top_k, OPEN)
            columns = (found.label.tolist(), found.log_likelihood.tolist(), found.probability().tolist())
            rows: Iterator[tuple[list[int], list[float], list[float]]] = zip(*columns, strict=True)
        else:
            rows = self._choose_greedily(chosen, prompts, labels, trie)
        return [
            Classification(tuple(RankedLabel(labels.names[x], value, p) for x, value, p in zip(*row, strict=True)))
            for row in rows
        ]

    def _choose_greedily(
        self, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], labels: Labels, trie: LabelTrie
    ) -> Iterator[tuple[list[int], list[float], list[float]]]:
        """For each image the number of its label, the log-likelihood, and no probability, a list each."""
        chooser = GreedySearch(trie.longest, self.tokenizer.sep_id, len(prompts), self.device)
        found = decode(self.model, prefix, [[p] for p in prompts], chooser, [continue_labels(trie)], trie.longest)
        for (hypothesis,) in found:
            yield [labels.tokens.index(hypothesis.tokens)], [hypothesis.score], [math.nan]

    def _explain(self, item: Prepared, caption: Caption, method: Method) -> Explanation | PicscribeError:
        """The words of a caption, and for each its map, (words, F, rows, columns)."""
        if not caption.tokens:
            return InputError("the caption has no word to explain: set min_new_tokens=1")
        (prompt,) = item.lines
        assert not isinstance(prompt, PicscribeError)
        try:
            model = self.network.network() if method == "gradient" else self.model
            maps = explain(model, item.pixels, prompt, caption.tokens, method).cpu()
        except PicscribeError as error:
            return error
        words, joined = list[str](), list[list[torch.Tensor]]()
        for token, of_token in zip(caption.tokens, maps, strict=True):
            if joined and self.tokenizer.word_pieces[token]:
                words[-1] += self.tokenizer.vocabulary[token].removeprefix(CONTINUATION)
                joined[-1].append(of_token)
            else:
                words.append(self.tokenizer.vocabulary[token].removeprefix(CONTINUATION))
                joined.append([of_token])
        of_words = torch.stack([torch.stack(parts).mean(0) for parts in joined])
        return Explanation(caption, tuple(words), of_words.numpy(), self.preprocessing.images_of(item.pixels))

    def stream(self, pixels: torch.Tensor, prompt: Sequence[int], options: GenerationOptions) -> Iterator[str]:
        """What comes after the prompt of one image, (…, 3, height, width), piece by piece as it is found."""
        with torch.inference_mode():
            room = room_for(1, len(prompt), options.lines, options.max_new_tokens)
            prefix = self.model.prefix_of(self.encoder(pixels[None]), room)
        said, tokens = 0, list[int]()
        for token in stream(self.model, prefix, prompt, options, _constraints(self.tokenizer, options)):
            tokens.append(token)
            text = write_settled_words(self.tokenizer.words(tokens))
            if len(text) > said:
                yield text[said:]
                said = len(text)
        if rest := self.tokenizer.write(tokens)[said:]:
            yield rest

    def _on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        norm = self.model.projection_norm.weight  # a float where other weights are int8
        if norm.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels.to(norm.device, norm.dtype, non_blocking=True)

    def _caption_of(self, hypotheses: Sequence[Hypothesis], prompt: Sequence[int]) -> Caption | PicscribeError:
        if not hypotheses:
            return InputError("no caption fits the options: ban and require fewer words, or lower min_new_tokens")
        captions = tuple(
            Caption(
                self.tokenizer.write(h.tokens),
                h.score,
                _confidence(h.log_probabilities),
                h.tokens,
                h.log_probabilities,
                decoded=self._decode_after(prompt, h.tokens),
            )
            for h in hypotheses
        )
        return replace(captions[0], alternatives=captions) if len(captions) > 1 else captions[0]

    def _decode_after(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The words of `tokens`; if they continue the prompt's last word, without the mark of a word's piece."""
        before = self.tokenizer.decode(prompt)
        together = self.tokenizer.decode([*prompt, *tokens])
        return together[len(before) :].lstrip() if together.startswith(before) else self.tokenizer.decode(tokens)


@lru_cache(maxsize=64)
def _constraints(tokenizer: Tokenizer, options: GenerationOptions) -> LexicalConstraints:
    """The words of options as tokens. Raises ConfigurationError for one that the vocabulary cannot write."""
    banned = [tokens for word in options.banned_words for tokens in tokenizer.spellings(word)]
    if not options.required_words:
        return LexicalConstraints(tokenizer.never_written, banned)
    required = [tokenizer.encode(word) for word in options.required_words]
    for word, tokens in zip(options.required_words, required, strict=True):
        if set(tokens) & {tokenizer.unk_id, *tokenizer.never_written}:
            raise ConfigurationError(
                f"the required word {word!r} cannot be written with this model's vocabulary: require another word"
            )
    return LexicalConstraints(tokenizer.never_written, banned, required, torch.tensor(tokenizer.word_pieces))


@lru_cache(maxsize=8)
def _labels(tokenizer: Tokenizer, names: tuple[str, ...]) -> Labels:
    return Labels.of(tokenizer, names)


@lru_cache(maxsize=8)
def _trie(tokens: tuple[Ids, ...], sep_id: int, device: torch.device) -> LabelTrie:
    return LabelTrie.of(tokens, sep_id).to(device)


def _text_score(ids: Ids, log_probs: tuple[float, ...]) -> TextScore:
    return TextScore("", math.fsum(log_probs), _confidence(log_probs), ids[:-1], log_probs)


def _confidence(log_probs: Sequence[float]) -> float:
    """exp of the mean token log-probability, in [0, 1]; 0 of no token."""
    return math.exp(math.fsum(log_probs) / len(log_probs)) if log_probs else 0.0


def _distinct(pixels: Sequence[torch.Tensor]) -> tuple[list[int], list[torch.Tensor]]:
    """For each image of one shape the number of its row, and the images of the rows, each different one once."""
    seen: dict[bytes, int] = {}
    rows, images = list[int](), list[torch.Tensor]()
    for image in pixels:
        row = seen.setdefault(image.numpy().tobytes(), len(images))
        if row == len(images):
            images.append(image)
        rows.append(row)
    return rows, images


def _select(prefix: ImagePrefix, rows: Sequence[int]) -> ImagePrefix:
    """The prefix of these rows; of all of them in order without a copy."""
    if list(rows) == list(range(len(prefix))):
        return prefix
    return prefix.select(torch.tensor(rows, device=prefix.keys[0].device))


def fitting_batch_size(peak: Callable[[int], int], free: int, most: int = 256, share: float = 0.8) -> int:
    """How many images fit into `free` bytes, of which `share` may be used: at least 1, at most `most`.

    `peak(n)` runs a batch of n images and tells how many bytes it took at most; memory grows evenly with the images.
    """
    one, three = peak(1), peak(3)
    each = max(1, (three - one) // 2)
    room = int(share * free) - (one - each)
    return max(1, min(most, room // each))
