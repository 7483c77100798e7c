"""BERT's uncased WordPiece tokenizer over any vocabulary: text to ids, and ids to text as people write it.

BERT's tokenizer splits at every punctuation mark, so how words and marks are spaced says nothing about the tokens:
`write` gives "a close-up of a cat's face", whose tokens are those of "a close - up of a cat ' s face".
"""

import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from picscribe.errors import CheckpointError, ConfigurationError, InputError
from picscribe.text.vocabulary import CONTINUATION, SPECIAL_TOKENS, learn_vocabulary
from picscribe.text_files import read_json_object, read_text, split_lines

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS
LARGEST_JSON = 64 << 20
"""Bytes; BERT's tokenizer.json has less than 1 MB."""

UNUSED = re.compile(r"\[unused\d+\]")
UNCASED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}

ENDINGS = frozenset(("s", "t", "d", "m", "re", "ve", "ll", "clock"))
"""What follows an apostrophe within a word: cat's, don't, we'll, o'clock."""

LEANS_LEFT = frozenset(",.;:?!%)]}’”…")
LEANS_RIGHT = frozenset("([{$#“‘¿¡£€")
BETWEEN_NUMBERS = frozenset(".,:")

_normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
_pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def split_words(text: str) -> list[str]:
    """The words BERT sees in `text` before WordPiece: lower case, no accents, each punctuation mark by itself."""
    return [word for word, _ in _pre_tokenizer.pre_tokenize_str(_normalizer.normalize_str(text))]


class Tokenizer:
    """BERT's uncased tokenizer, equal to transformers' `BertTokenizer` over the same vocabulary.

    As there, "[SEP]" and its like written in a text become the special token, and a word of over 100 characters is
    [UNK].
    """

    def __init__(self, words: Sequence[str]) -> None:
        """`words[i]` is the word of id i, [PAD], [UNK], [CLS] and [SEP] among them; else raises ConfigurationError."""
        _check_vocabulary(words)
        ids = {word: index for index, word in enumerate(words)}
        wrapped = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=UNK, max_input_chars_per_word=100))
        wrapped.normalizer = _normalizer
        wrapped.pre_tokenizer = _pre_tokenizer
        wrapped.decoder = decoders.WordPiece(prefix=CONTINUATION, cleanup=True)
        wrapped.post_processor = processors.TemplateProcessing(
            single=f"{CLS}:0 $A:0 {SEP}:0",
            pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
            special_tokens=[(CLS, ids[CLS]), (SEP, ids[SEP])],
        )
        wrapped.add_special_tokens([word for word in SPECIAL_TOKENS if word in ids])
        self._tokenizer = wrapped
        self._ids = ids
        self.vocabulary = tuple(words)
        self.vocabulary_size = len(words)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (ids[word] for word in (PAD, UNK, CLS, SEP))
        self.never_written = tuple(
            index for index, word in enumerate(words) if word in (PAD, UNK, CLS, MASK) or UNUSED.fullmatch(word)
        )

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "Tokenizer":
        """Read a checkpoint folder's tokenizer.json, or its vocab.txt where there is none. Raises CheckpointError."""
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            path = Path(folder) / "vocab.txt"
        if not path.is_file():
            raise CheckpointError(f"{folder} has neither tokenizer.json nor vocab.txt: download the checkpoint again")
        try:
            words = _words_of_json(path) if path.suffix == ".json" else _words_of_text(path)
            return cls(words)
        except ConfigurationError as error:
            raise CheckpointError(f"{path}: {error}") from error

    @classmethod
    def learn(cls, texts: Iterable[str], size: int, min_frequency: int = 1) -> "Tokenizer":
        """A tokenizer of at most `size` words learned from `texts`; the same texts give the same vocabulary.

        [PAD] is 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4. Words and pieces seen fewer than `min_frequency` times are left
        out, but every printable ASCII character is in, so that ASCII text never needs [UNK]. See `learn_vocabulary`.
        Raises ConfigurationError where `size` cannot hold even those.
        """
        return cls(learn_vocabulary((split_words(text) for text in texts), size, min_frequency))

    @property
    def word_pieces(self) -> tuple[bool, ...]:
        """Of each id whether it continues within a word, as "##s" does."""
        return tuple(word.startswith(CONTINUATION) for word in self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without [CLS] and [SEP]. Raises InputError for text that is not valid Unicode."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, as `encode` gives them."""
        for text in texts:
            _check_text(text)
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` that hold what the vocabulary cannot spell, so that they become [UNK]."""
        return [word for word in split_words(text) if self.unk_id in self.encode(word)]

    def spellings(self, text: str, most: int = 256) -> list[tuple[int, ...]]:
        """The ways in which the vocabulary's pieces can spell `text`, those of fewest pieces first, at most `most`.

        A generator that may not write a word must not write it in other pieces either: "dog" is also "do" and "##g".
        A phrase shares the limit among its words, each of which keeps its spellings of fewest pieces.
        """
        words = split_words(text)
        each = max(1, int(most ** (1 / max(1, len(words)))))
        spelled = itertools.product(*(self._spellings_of_word(word, each) for word in words))
        return sorted((tuple(itertools.chain.from_iterable(pieces)) for pieces in spelled if pieces), key=len)

    def _spellings_of_word(self, word: str, most: int) -> list[tuple[int, ...]]:
        whole: list[tuple[int, ...]] = []
        begun: list[tuple[tuple[int, ...], int]] = [((), 0)]
        while begun and len(whole) < most:
            longer = []
            for pieces, start in begun:
                for end in range(len(word), start, -1):
                    piece = self._ids.get(word[start:end] if start == 0 else CONTINUATION + word[start:end])
                    if piece is not None and end == len(word):
                        whole.append((*pieces, piece))
                    elif piece is not None:
                        longer.append(((*pieces, piece), end))
            begun = longer[: 4 * most]  # bounds the work for very long words
        return whole[:most]

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → text as the original code gives it: special tokens left out, word pieces joined, no space before .,?!

        Raises InputError for an id outside the vocabulary.
        """
        ids = [int(index) for index in ids]
        for index in ids:
            if not 0 <= index < self.vocabulary_size:
                raise InputError(f"token id {index} is not in the vocabulary of {self.vocabulary_size} words")
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def words(self, ids: Iterable[int]) -> list[str]:
        """Ids → words and punctuation marks: special tokens left out, word pieces joined.

        A piece that comes first is written without its mark. Raises InputError as `decode`.
        """
        words = list[str]()
        for index in ids:
            if not 0 <= index < self.vocabulary_size:
                raise InputError(f"token id {index} is not in the vocabulary of {self.vocabulary_size} words")
            token = self.vocabulary[index]
            if token in SPECIAL_TOKENS:
                continue
            if words and token.startswith(CONTINUATION):
                words[-1] += token.removeprefix(CONTINUATION)
            else:
                words.append(token.removeprefix(CONTINUATION))
        return words

    def write(self, ids: Iterable[int]) -> str:
        """Ids → text as people write it: "a cat's face", where `decode` gives "a cat ' s face"."""
        return write_words(self.words(ids))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, vocab.txt and tokenizer_config.json, as transformers' `BertTokenizer` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "vocab.txt").write_bytes("".join(f"{word}\n" for word in self.vocabulary).encode())
        configuration = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "pad_token": PAD,
            "unk_token": UNK,
            "cls_token": CLS,
            "sep_token": SEP,
            "mask_token": MASK,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(configuration, indent=2) + "\n", encoding="utf-8")


def quote(text: str) -> str:
    """The text in quotes for a message, its beginning where it is long."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"text must be a str, not {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        where = f"{error.reason} at character {error.start}"
        raise InputError(f"text {text[:60]!r} is not valid Unicode ({where}): decode its bytes again") from None


def _check_vocabulary(words: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise ConfigurationError(f"vocabulary word {index} must be a str, not {type(word).__name__}")
        if word in seen:
            raise ConfigurationError(f"vocabulary word {word!r} is there twice, as id {seen[word]} and as id {index}")
        seen[word] = index
    missing = [word for word in (PAD, UNK, CLS, SEP) if word not in seen]
    if missing:
        raise ConfigurationError(f"the vocabulary of {len(words)} words has no {', '.join(missing)}: add them")


def _words_of_text(path: Path) -> list[str]:
    words = split_lines(read_text(path, LARGEST_JSON, CheckpointError))
    while words and not words[-1]:
        words.pop()
    configuration = path.with_name("tokenizer_config.json")
    if (
        configuration.is_file()
        and read_json_object(configuration, LARGEST_JSON, CheckpointError).get("do_lower_case") is False
    ):
        raise CheckpointError(
            f"{configuration} sets do_lower_case to false, but GIT needs BERT's uncased tokenizer: set it to true"
        )
    return words


def _words_of_json(path: Path) -> list[str]:
    """The vocabulary of a tokenizer.json that is BERT's uncased tokenizer; any other is an error."""
    content = _read_configuration(path)
    model, normalizer, added = (content.get(key) for key in ("model", "normalizer", "added_tokens"))
    vocabulary = model.get("vocab") if isinstance(model, dict) and model.get("type") in (None, "WordPiece") else None
    if not isinstance(vocabulary, dict) or not all(type(index) is int for index in vocabulary.values()):
        raise CheckpointError(
            f"{path} has no WordPiece vocabulary (word to id), which GIT needs: download the checkpoint again"
        )
    if not isinstance(normalizer, dict) or any(normalizer.get(key) != value for key, value in UNCASED.items()):
        raise CheckpointError(
            f"{path} normalises text by {normalizer!r}, but GIT needs BERT's uncased rule {UNCASED!r}"
        )
    for token in added if isinstance(added, list) else []:
        if not isinstance(token, dict) or token.get("content") not in vocabulary:
            raise CheckpointError(
                f"{path} adds {token!r} to its WordPiece vocabulary, which GIT cannot use: remove it from added_tokens"
            )
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    for index, word in enumerate(words):
        if vocabulary[word] != index:
            raise CheckpointError(
                f"{path} has no word with the id {index}: the next one, {word!r}, has {vocabulary[word]}"
            )
    return words


def _read_configuration(path: Path) -> dict[str, Any]:
    return read_json_object(path, LARGEST_JSON, CheckpointError)


# Words as people space them


def write_words(words: Sequence[str]) -> str:
    """The words and punctuation marks of a text, spaced as people space them."""
    return _written(words, _joins(words)[0], len(words))


def write_settled_words(words: Sequence[str]) -> str:
    """What is written already of a text that continues after `words`, and stays as it is whatever comes.

    Held back are a mark until the two words after it are known, and an apostrophe that may open a quotation until
    another one closes it.
    """
    joins, settled = _joins(words)
    return _written(words, joins, settled)


def is_mark(word: str) -> bool:
    """Whether a word is a punctuation mark or symbol."""
    return all(unicodedata.category(character)[0] in "PS" for character in word)


def _written(words: Sequence[str], joins: Sequence[bool], count: int) -> str:
    spaced = (word if not place or joins[place] else f" {word}" for place, word in enumerate(words[:count]))
    return "".join(spaced)


def _joins(words: Sequence[str]) -> tuple[list[bool], int]:
    """For each word whether it follows the one before it without a space, and how many words are settled."""
    joins, settled = [False] * (len(words) + 1), len(words)
    quoted: set[str] = set()
    for place, word in enumerate(words):
        if not is_mark(word):
            continue
        # If one of the last two is an apostrophe, it may close a quotation or be inside a word.
        may_open = word == "'" and word not in quoted and _is_loose(words, place)
        may_open = may_open and not _is_followed(words, place, len(words) - 2)
        before, after = _leans(words, place, quoted)
        joins[place] |= before
        joins[place + 1] |= after
        if place >= len(words) - 2 or (may_open and words[place - 1].endswith("s")):
            settled = min(settled, place)
    return joins, settled


def _leans(words: Sequence[str], place: int, quoted: set[str]) -> tuple[bool, bool]:
    """Whether a mark joins the word before it, and the one after it; `quoted` are the quotation marks that are open."""
    mark = words[place]
    before, after = (words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else "")
    inside = bool(before and after) and not is_mark(before) and not is_mark(after)
    if mark in "-/":
        return inside, inside
    if mark in BETWEEN_NUMBERS and before[-1:].isdigit() and after[:1].isdigit():
        return True, mark != "," or len(after) == 3
    if mark == "." and inside and len(before) == len(after) == 1 and words[place + 2 : place + 3] == ["."]:
        return True, True
    if mark in "'’" and not _is_loose(words, place):
        return True, True
    if mark in LEANS_RIGHT:
        return False, bool(after)
    if mark in LEANS_LEFT:
        return bool(before), False
    if mark == "&":
        return (inside and len(before) == len(after) == 1,) * 2
    if mark in "'\"":
        return _leans_as_quotation(words, place, quoted)
    return False, False


def _leans_as_quotation(words: Sequence[str], place: int, quoted: set[str]) -> tuple[bool, bool]:
    mark, before = words[place], words[place - 1] if place else ""
    if mark in quoted:
        quoted.remove(mark)
        return True, False
    measure = mark == '"' and before[-1:].isdigit()
    possessive = mark == "'" and before.endswith("s") and not _is_followed(words, place, len(words))
    if measure or possessive:
        return True, False
    quoted.add(mark)
    return False, place + 1 < len(words)


def _is_loose(words: Sequence[str], place: int) -> bool:
    """Whether this is an apostrophe that is not inside a word."""
    if words[place] not in ("'", "’"):
        return False
    before, after = (words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else "")
    return not before or is_mark(before) or after not in ENDINGS


def _is_followed(words: Sequence[str], place: int, end: int) -> bool:
    """Whether another apostrophe of that kind comes later, before `end`."""
    return any(words[later] == "'" and _is_loose(words, later) for later in range(place + 1, end))
