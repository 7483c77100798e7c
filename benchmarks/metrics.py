"""How long BLEU-1 to -4, ROUGE-L and CIDEr take from raw captions, ours and pycocoevalcap's with its Java start.

    python -m benchmarks.metrics dataset_flickr8k.json [--images-count 1000] [--runs 5] [--alone]

DATA_JSON is a Karpathy file. Each val image's references are held against the first caption of the next image; with
more images than val has, those of the other splits follow, then all again. Every run is a fresh process, so that
nothing is remembered from the one before; runs alternate, so that a machine whose speed drifts slows both alike. Prints
for the metrics alone and for the whole process (Python, imports, reading the file) median, minimum and maximum, the
ratios, and the largest difference between the figures of both. `--alone` leaves pycocoevalcap out.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Predictions = dict[str, str]
References = dict[str, list[str]]
Score = Callable[[Predictions, References], list[float]]

NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]


def read_captions(path: Path, count: int) -> tuple[Predictions, References]:
    """Predictions and references of `count` images, those of val first."""
    images = json.loads(path.read_text(encoding="utf-8"))["images"]
    images.sort(key=lambda image: image["split"] != "val")
    captions = itertools.cycle([sentence["raw"] for sentence in image["sentences"]] for image in images)
    references = {str(number): texts for number, texts in enumerate(itertools.islice(captions, count))}
    firsts = [texts[0] for texts in references.values()]
    return dict(zip(references, firsts[1:] + firsts[:1], strict=True)), references


def picscribe() -> Score:
    """Imports ours."""
    from picscribe.metrics.bleu import bleu_counts, bleu_from_counts
    from picscribe.metrics.cider import cider_of_pairs
    from picscribe.metrics.pairs import pair_captions
    from picscribe.metrics.rouge import rouge_of_pairs

    def score(predictions: Predictions, references: References) -> list[float]:
        pairs = pair_captions(predictions, references)
        bleu = bleu_from_counts(bleu_counts(pairs).sum(axis=0)).tolist()
        return [*bleu, rouge_of_pairs(pairs).corpus, cider_of_pairs(pairs).corpus]

    return score


def pycocoevalcap() -> Score:
    """Imports pycocoevalcap, to be run as its own example does."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    def score(predictions: Predictions, references: References) -> list[float]:
        tokenizer = PTBTokenizer()
        given = tokenizer.tokenize({name: [{"caption": text} for text in texts] for name, texts in references.items()})
        said = tokenizer.tokenize({name: [{"caption": text}] for name, text in predictions.items()})
        bleu, _ = Bleu(4).compute_score(given, said, verbose=0)
        return [*bleu, float(Rouge().compute_score(given, said)[0]), float(Cider().compute_score(given, said)[0])]

    return score


SIDES: dict[str, Callable[[], Score]] = {"picscribe": picscribe, "pycocoevalcap": pycocoevalcap}


def run_side(side: str, data: Path, count: int) -> None:
    """What a fresh process does: print seconds and figures as JSON."""
    score = SIDES[side]()
    captions = read_captions(data, count)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        figures = score(*captions)
    print(json.dumps({"seconds": time.perf_counter() - started, "figures": figures}))


def main() -> None:
    """Time both in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_json", type=Path)
    parser.add_argument("--images-count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, arguments.data_json, arguments.images_count)
        return
    sides = ["picscribe"] if arguments.alone else list(SIDES)
    seconds: dict[str, list[float]] = {f"{side}, {what}": [] for what in ("metrics", "process") for side in sides}
    figures: dict[str, list[float]] = {}
    for run in range(arguments.runs + 1):
        for side in sides:
            command = [sys.executable, "-m", "benchmarks.metrics", *sys.argv[1:], "--side", side]
            started = time.perf_counter()
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            process = time.perf_counter() - started
            figures[side] = answer["figures"]
            if run:  # the first round warms the disk cache
                seconds[f"{side}, metrics"].append(answer["seconds"])
                seconds[f"{side}, process"].append(process)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {arguments.runs} runs")
    print(f"{arguments.images_count:,} images")
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        print(f"{name:24} median {medians[name]:.3f} s   min {min(taken):.3f}   max {max(taken):.3f}")
    print("   ".join(f"{name} {figure:.6f}" for name, figure in zip(NAMES, figures["picscribe"], strict=True)))
    if not arguments.alone:
        for what in ("metrics", "process"):
            times = medians[f"pycocoevalcap, {what}"] / medians[f"picscribe, {what}"]
            print(f"{what}: pycocoevalcap takes {times:.1f} times as long")
        apart = max(abs(a - b) for a, b in zip(figures["picscribe"], figures["pycocoevalcap"], strict=True))
        print(f"largest difference of a figure: {apart:.1e}")


if __name__ == "__main__":
    main()
