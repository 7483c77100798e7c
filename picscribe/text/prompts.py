"""The original code's rules for what text goes into the decoder: prompts, and prefix and target for training."""

from collections.abc import Sequence
from dataclasses import dataclass

from picscribe.errors import ConfigurationError, InputError
from picscribe.text.tokenizer import CLS, PAD, SEP, Tokenizer, quote

MAX_TOKENS = 40
MAX_PROMPT = MAX_TOKENS - 2
"""Tokens of a prompt that generation continues from, without [CLS]."""


@dataclass(frozen=True)
class Prompt:
    """What generation continues from: `ids`, [CLS] first; `notes` say what is left out of the text, a sentence each."""

    ids: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer, text: str | None, kind: str = "prompt") -> "Prompt":
        """[CLS] and the prompt: its first 40 tokens, of which the last 38 where there are more than 38.

        None and "" give [CLS] alone. `kind` is what notes and errors call the text. Source: the original code's
        inference.
        Raises InputError for a prompt that holds a special token such as [SEP], which would end the text before it
        begins.
        """
        whole = tokenizer.encode(text or "")
        first = whole[:MAX_TOKENS]
        ids = first[-MAX_PROMPT:]
        special = {tokenizer.pad_id: PAD, tokenizer.cls_id: CLS, tokenizer.sep_id: SEP}
        for index in first:
            if index in special:
                raise InputError(f"the {kind} {text!r} has the special token {special[index]}: remove it")
        notes = []
        if text and tokenizer.unk_id in ids:
            notes.append(unknown_note(tokenizer, f"the {kind} {quote(text)}", text, ids))
        if text and len(ids) < len(whole):
            lost = [first[: len(first) - len(ids)], whole[MAX_TOKENS:]]
            words = " and ".join(quote(tokenizer.decode(part)) for part in lost if part)
            notes.append(
                f"the {kind} {quote(text)} has {len(whole)} tokens, of which only {len(ids)} are read: it is read "
                f"without {words}"
            )
        return cls((tokenizer.cls_id, *ids), tuple(notes))


def unknown_note(tokenizer: Tokenizer, name: str, text: str, ids: Sequence[int]) -> str:
    """What to say of a text, called `name`, whose `ids` hold [UNK]."""
    if all(index == tokenizer.unk_id for index in ids):
        return f"{name} has no word that the checkpoint knows: use words of its language"
    unknown = ", ".join(map(quote, tokenizer.unknown_words(text)))
    return f"{name} has words that the checkpoint does not know: {unknown}"


def prompt_ids(tokenizer: Tokenizer, prompt: str | None) -> list[int]:
    """The ids of `Prompt.of`."""
    return list(Prompt.of(tokenizer, prompt).ids)


@dataclass(frozen=True)
class TrainingExample:
    """[CLS] + prefix + target + [SEP], and which of these the loss counts: the target's tokens and [SEP]."""

    tokens: tuple[int, ...]
    predict: tuple[bool, ...]

    @property
    def answers(self) -> bool:
        """Whether there is something given, such as a question, before what is learned."""
        return not all(self.predict[1:])


def training_example(tokenizer: Tokenizer, prefix: str, target: str, max_tokens: int = MAX_TOKENS) -> TrainingExample:
    """One text to learn from: the prefix (a question, or "") is given, the target is learned.

    Each is cut to its first `max_tokens`; where both together are longer, the last `max_tokens - 2` stay, so an example
    has at most `max_tokens + 2` tokens. Source: the original code's training data.
    Raises ConfigurationError for a `max_tokens` below 3.
    """
    if max_tokens < 3:
        raise ConfigurationError(f"max_tokens must be at least 3, not {max_tokens}")
    given = tokenizer.encode(prefix)[:max_tokens]
    learned = tokenizer.encode(target)[:max_tokens]
    tokens = given + learned
    predict = [False] * len(given) + [True] * len(learned)
    if len(tokens) > max_tokens:
        tokens, predict = tokens[-(max_tokens - 2) :], predict[-(max_tokens - 2) :]
    return TrainingExample((tokenizer.cls_id, *tokens, tokenizer.sep_id), (False, *predict, True))
