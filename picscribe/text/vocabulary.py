"""Learning a WordPiece vocabulary from captions, the same from the same texts on every machine."""

import heapq
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from picscribe.errors import ConfigurationError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION = "##"
LONGEST_WORD = 100  # BERT's WordPiece takes longer words for [UNK], so their pieces would never be used

# Lower case only, as the tokenizer lowers its input; punctuation is a separate token, so only letters and digits
# continue.
ASCII_PIECES = (
    *string.punctuation,
    *string.digits,
    *string.ascii_lowercase,
    *(CONTINUATION + c for c in string.digits + string.ascii_lowercase),
)
SHARE_OF_PIECES = 0.1  # of the learned words, kept for pieces where whole words alone would fill the vocabulary


def learn_vocabulary(texts: Iterable[Sequence[str]], size: int, min_frequency: int = 1) -> list[str]:
    """A vocabulary of at most `size` words from texts that are already split into words.

    In order: the special tokens; ASCII characters, so that no ASCII word is unknown; other characters and whole words,
    the most frequent first; then, while there is room, pieces that spell the other words in fewer tokens. Ties go by
    spelling, so the result depends on the words' counts alone. Raises ConfigurationError for a size or frequency that
    cannot be.
    """
    base = [*SPECIAL_TOKENS, *ASCII_PIECES]
    if size < len(base):
        raise ConfigurationError(f"vocabulary size must be at least {len(base)} (special tokens and ASCII), not {size}")
    if min_frequency < 1:
        raise ConfigurationError(f"min_frequency must be at least 1, not {min_frequency}")
    counts = Counter(word for text in texts for word in text if len(word) <= LONGEST_WORD)
    wanted = _characters_and_words(counts, min_frequency, exclude=set(base))
    room = size - len(base)
    for_words = room if len(wanted) <= room else room - round(room * SHARE_OF_PIECES)
    vocabulary = base + wanted[:for_words]
    vocabulary += learn_pieces(counts, vocabulary, size - len(vocabulary), min_frequency)
    return vocabulary


def _characters_and_words(counts: Counter[str], min_frequency: int, exclude: set[str]) -> list[str]:
    """Characters (as they start or continue a word) and words, most frequent first, a word's characters before it."""
    candidates = Counter(counts)
    for word, count in counts.items():
        for index, character in enumerate(word):
            if len(word) > 1:
                candidates[character if index == 0 else CONTINUATION + character] += count
    kept = (piece for piece, count in candidates.items() if count >= min_frequency and piece not in exclude)
    return sorted(kept, key=lambda piece: (-candidates[piece], len(piece.removeprefix(CONTINUATION)), piece))


def split_into_pieces(word: str, vocabulary: set[str]) -> list[str] | None:
    """WordPiece: the longest piece in the vocabulary, then the longest of what is left; None where nothing fits."""
    pieces, start = [], 0
    while start < len(word):
        lead = CONTINUATION if start else ""
        end = next((e for e in range(len(word), start, -1) if lead + word[start:e] in vocabulary), None)
        if end is None:
            return None
        pieces.append(lead + word[start:end])
        start = end
    return pieces


def learn_pieces(counts: Counter[str], vocabulary: Iterable[str], room: int, min_frequency: int) -> list[str]:
    """At most `room` new pieces: again and again the pair of neighbouring pieces seen most often becomes one.

    Words are split as the tokenizer will split them, longest piece first, and again after every piece. Pairs seen fewer
    than `min_frequency` times are left alone.
    """
    known = set(vocabulary)
    pairs_of: dict[str, Counter[tuple[str, str]]] = {word: Counter() for word in sorted(counts)}
    frequency: Counter[tuple[str, str]] = Counter()
    heap: list[tuple[int, tuple[str, str]]] = []

    def split_anew(word: str) -> None:
        before, after = pairs_of[word], Counter(pairwise(split_into_pieces(word, known) or []))
        pairs_of[word] = after
        for pair in before.keys() | after.keys():
            if before[pair] != after[pair]:
                frequency[pair] += (after[pair] - before[pair]) * counts[word]
                heapq.heappush(heap, (-frequency[pair], pair))

    for word in pairs_of:
        split_anew(word)
    learned: list[str] = []
    while heap and len(learned) < room:
        negative, pair = heapq.heappop(heap)
        if -negative != frequency[pair]:  # has changed since; the newer count is in the heap as well
            continue
        if frequency[pair] < min_frequency:
            break
        piece = pair[0] + pair[1].removeprefix(CONTINUATION)
        known.add(piece)
        learned.append(piece)
        letters = piece.removeprefix(CONTINUATION)
        for word in pairs_of:
            if letters in word:
                split_anew(word)
    return learned
