"""The original code's rules for what text goes into the decoder: prompts, and prefix and target for training."""

from dataclasses import dataclass

from picscribe.errors import ConfigurationError, InputError
from picscribe.text.tokenizer import CLS, PAD, SEP, Tokenizer

MAX_TOKENS = 40
MAX_PROMPT = MAX_TOKENS - 2
"""Tokens of a prompt that generation goes on from, without [CLS]."""


def prompt_ids(tokenizer: Tokenizer, prompt: str | None) -> list[int]:
    """[CLS] and the prompt: its first 40 tokens, of which the last 38 where there are more than 38.

    None and "" give [CLS] alone. Generation goes on from here. Source: the original code's inference.
    Raises InputError for a prompt that holds a special token such as [SEP], which would end the text before it begins.
    """
    ids = tokenizer.encode(prompt or "")[:MAX_TOKENS]
    special = {tokenizer.pad_id: PAD, tokenizer.cls_id: CLS, tokenizer.sep_id: SEP}
    for index in ids:
        if index in special:
            raise InputError(f"the prompt {prompt!r} holds the special token {special[index]}: write it without")
    return [tokenizer.cls_id, *ids[-MAX_PROMPT:]]


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
