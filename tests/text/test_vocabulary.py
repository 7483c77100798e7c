"""Learning a vocabulary: the same in every process, no unknown ASCII, what is frequent is whole."""

import hashlib
import os
import string
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import ConfigurationError
from picscribe.text import Tokenizer
from picscribe.text.vocabulary import ASCII_PIECES, SPECIAL_TOKENS, learn_pieces, learn_vocabulary, split_into_pieces

BASE = len(SPECIAL_TOKENS) + len(ASCII_PIECES)
CAPTIONS = [
    "A skateboarder is skateboarding past two skateboarders .",
    "Two snowboarders snowboard; one snowboarder's board breaks.",
    "The surfer surfs while surfers watch the surfing.",
    "A café's crème brûlée, 日本 style",
] * 3

LEARN_AND_PRINT = """
import hashlib
from picscribe.text import Tokenizer
texts = [f"{a}{b} {b}{a}{c} {c}{b}" for a in "stra" for b in ("ing", "board", "er") for c in ("surf", "snow", "skate")]
print(hashlib.sha256("\\n".join(Tokenizer.learn(texts, 150).vocabulary).encode()).hexdigest())
"""


def digest_in_process(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", LEARN_AND_PRINT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_same_in_every_process() -> None:
    digests = {digest_in_process(seed) for seed in ("0", "1", "2")}
    assert len(digests) == 1 and len(digests.pop()) == hashlib.sha256().digest_size * 2


def test_order_of_texts_does_not_matter() -> None:
    assert Tokenizer.learn(CAPTIONS, 180).vocabulary == Tokenizer.learn(reversed(CAPTIONS), 180).vocabulary


def test_special_tokens_come_first() -> None:
    tokenizer = Tokenizer.learn(CAPTIONS, 200)
    assert tokenizer.vocabulary[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id) == (0, 1, 2, 3)
    assert tokenizer.never_written == (0, 1, 2, 4)


@pytest.mark.parametrize("size", [BASE, BASE + 1, BASE + 17, 180, 1000])
def test_size_is_kept_and_words_are_distinct(size: int) -> None:
    vocabulary = Tokenizer.learn(CAPTIONS, size).vocabulary
    assert len(vocabulary) <= size
    assert len(set(vocabulary)) == len(vocabulary)
    if size <= BASE + 17:
        assert len(vocabulary) == size


@given(text=st.text(alphabet=st.characters(max_codepoint=127), max_size=90), size=st.sampled_from([BASE, 150, 400]))
@settings(max_examples=200, deadline=None)
def test_no_ascii_text_is_unknown(text: str, size: int) -> None:
    tokenizer = Tokenizer.learn(CAPTIONS, size)
    written = text.replace("[UNK]", "")  # which asks for it by name
    assert tokenizer.unk_id not in tokenizer.encode(written)


def test_every_printable_character_survives() -> None:
    tokenizer = Tokenizer.learn([], 200)
    spelled = tokenizer.decode(tokenizer.encode(string.printable))
    assert spelled.replace(" ", "") == "".join(string.printable.lower().split())


def test_seen_texts_are_known() -> None:
    tokenizer = Tokenizer.learn(CAPTIONS, 1000)
    for caption in CAPTIONS:
        assert tokenizer.unk_id not in tokenizer.encode(caption)
    assert tokenizer.decode(tokenizer.encode("Café brûlée 日本")) == "cafe brulee 日 本"


def test_frequent_words_are_whole_and_rare_ones_are_spelled() -> None:
    texts = ["dog"] * 9 + ["cat"] * 5 + ["platypus"]
    tokenizer = Tokenizer.learn(texts, 1000, min_frequency=5)
    assert tokenizer.vocabulary[BASE:] == ("dog", "cat")
    assert len(tokenizer.encode("dog cat")) == 2
    assert len(tokenizer.encode("platypus")) == len("platypus")


def test_a_full_vocabulary_keeps_room_for_pieces() -> None:
    texts = [f"{start}board" for start in string.ascii_lowercase] * 2
    vocabulary = learn_vocabulary([text.split() for text in texts], BASE + 20)
    assert sum(word.startswith("##") for word in vocabulary[BASE:]) == 2
    assert "##bo" in vocabulary[BASE:] or "##rd" in vocabulary[BASE:] or "##ar" in vocabulary[BASE:]


def naive_pieces(counts: Counter[str], vocabulary: list[str], room: int, min_frequency: int) -> list[str]:
    """The rule of `learn_pieces` word for word: count all pairs of all words, take the best, begin anew."""
    learned: list[str] = []
    while len(learned) < room:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts.items():
            for pair in pairwise(split_into_pieces(word, {*vocabulary, *learned}) or []):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        learned.append(best[0] + best[1].removeprefix("##"))
    return learned


@given(
    counts=st.dictionaries(st.text("abcd", min_size=1, max_size=8), st.integers(1, 9), max_size=15),
    extra=st.lists(st.text("abc", min_size=2, max_size=4), max_size=4, unique=True),
    room=st.integers(0, 30),
    min_frequency=st.integers(1, 6),
)
@settings(max_examples=300, deadline=None)
def test_pieces_equal_the_naive_rule(counts: dict[str, int], extra: list[str], room: int, min_frequency: int) -> None:
    vocabulary = [*"abc", "##a", "##b", "##c", *extra]  # "d" is unknown: words with it cannot be split and do not count
    expected = naive_pieces(Counter(counts), vocabulary, room, min_frequency)
    assert learn_pieces(Counter(counts), vocabulary, room, min_frequency) == expected
    assert len(set(expected + vocabulary)) == len(expected) + len(vocabulary)


@given(word=st.text("abcde", min_size=1, max_size=10), extra=st.sets(st.text("abcd", min_size=1, max_size=4)))
@settings(max_examples=200, deadline=None)
def test_split_equals_the_tokenizer(word: str, extra: set[str]) -> None:
    words = [*SPECIAL_TOKENS, *sorted({*"abcd", "##a", "##b", "##d", *extra, *(f"##{piece}" for piece in extra)})]
    pieces = split_into_pieces(word, set(words)) or ["[UNK]"]
    assert Tokenizer(words).encode(word) == [words.index(piece) for piece in pieces]


def test_words_too_long_for_the_tokenizer_are_left_out() -> None:
    assert learn_vocabulary([["x" * 101]], 1000) == learn_vocabulary([], 1000)


def test_impossible_sizes() -> None:
    with pytest.raises(ConfigurationError, match=f"vocabulary size must be at least {BASE} .* not {BASE - 1}"):
        Tokenizer.learn(CAPTIONS, BASE - 1)
    with pytest.raises(ConfigurationError, match="min_frequency must be at least 1, not 0"):
        Tokenizer.learn(CAPTIONS, 1000, min_frequency=0)
