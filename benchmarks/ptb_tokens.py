"""How many odd strings `picscribe.metrics.tokenize` splits as Stanford's tokenizer does, and how fast each is.

    python -m benchmarks.ptb_tokens [--strings 20000] [--seed 0] [--show 20]

Needs Java and pycocoevalcap; run it from the repository's root. Each string stands alone: a plain line between two
keeps Stanford's tokenizer from looking on into the next string. Its seconds include Java's start and those lines.
"""

import argparse
import time

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from picscribe.metrics import tokenize
from tests.metrics.odd_strings import odd_strings


def stanford_tokens(captions: list[str]) -> list[list[str]]:
    """The words that pycocoevalcap's PTBTokenizer leaves of each caption."""
    lines = [line for caption in captions for line in (caption, "q")]
    answers = list(PTBTokenizer().tokenize({number: [{"caption": line}] for number, line in enumerate(lines)}).values())
    return [[word for word in answer[0].split(" ") if word] for answer in answers[::2]]


def main() -> None:
    """Compare and print the share equal and the first differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strings", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20, help="how many differences to print")
    arguments = parser.parse_args()
    captions = odd_strings(arguments.strings, arguments.seed)
    started = time.perf_counter()
    expected = stanford_tokens(captions)
    between = time.perf_counter()
    found = [tokenize(caption) for caption in captions]
    ended = time.perf_counter()
    differing = [number for number, words in enumerate(found) if words != expected[number]]
    for number in differing[: arguments.show]:
        print(f"{captions[number]!r}\n    Stanford  {expected[number]}\n    picscribe {found[number]}")
    print(f"seed {arguments.seed}: {len(captions) - len(differing):,} of {len(captions):,} strings equal", end=" ")
    print(f"({1 - len(differing) / len(captions):.5f})")
    print(f"seconds: Stanford's {between - started:.2f}, picscribe {ended - between:.2f}")


if __name__ == "__main__":
    main()
