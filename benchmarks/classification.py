"""Exact classification against captioning the same images: what each label costs beside a beam search.

    python -m benchmarks.classification [--images 32] [--labels 1000] [--size base] [--runs 3] [--std 0.02]
                                        [--int8] [--tolerance 1 0.01]

A random model (`--std`: of its output weights; 0.02, as before training, makes all labels about equally likely, the
worst case of a ranking; wider is more decided) and random labels of 1 to 4 word pieces with the shape of ImageNet's
names: most begin alone. Rounds alternate in one process, each from pixels on: captions with 4 beams and 20 new tokens,
every label's log-likelihood (`all`), and the 5 best labels exactly, for each share of the probability that may stay
open. For each: median seconds, the ratio to captioning of the same round (median, least and most), and which part of
the trie's nodes went through the network.
"""

import argparse
import os
import platform
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import picscribe
from benchmarks.generate import CLS, CONFIGS, SEP, fast, pixels_of, rounds, spread
from picscribe.acceleration.int8 import quantize
from picscribe.generation import GenerationOptions, generate
from picscribe.generation.decoding import room_for
from picscribe.generation.label_trie import LabelTrie
from picscribe.generation.likelihood import compute_label_likelihoods, rank_labels
from picscribe.model import Git

LENGTHS = (0.25, 0.4, 0.25, 0.1)
"""Of labels of 1, 2, 3 and 4 word pieces."""

SHARED = 0.3
"""Of labels of several pieces, those that begin as a label before them."""

OPTIONS = GenerationOptions(beams=4, max_new_tokens=20, min_new_tokens=20, special_tokens=True)


def make_labels(count: int, words: int) -> list[list[int]]:
    """Distinct labels of 1 to 4 tokens, the same in every run."""
    draw = random.Random(0)
    labels: list[list[int]] = []
    seen: set[tuple[int, ...]] = set()
    while len(labels) < count:
        length = draw.choices(range(1, 5), LENGTHS)[0]
        begin = draw.choice(labels)[: length - 1] if labels and draw.random() < SHARED else []
        label = begin + [draw.randrange(1000, words) for _ in range(length - len(begin))]
        if tuple(label) not in seen:
            seen.add(tuple(label))
            labels.append(label)
    return labels


def make_model(size: str, std: float, int8: bool) -> Git:
    """A random model, laid out for inference."""
    torch.manual_seed(0)
    model = Git(CONFIGS[size]).eval().requires_grad_(False)
    model.text_decoder.output.weight.normal_(std=std)
    return fast(quantize(model) if int8 else model)


@torch.inference_mode()
def caption(model: Git, pixels: Tensor) -> None:
    """Captions of images, to the longest length."""
    prefix = model.encode(pixels, room_for(1, 1, OPTIONS.beams, OPTIONS.max_new_tokens))
    generate(model, prefix, [[[CLS]]] * len(pixels), OPTIONS)


@torch.inference_mode()
def classify(model: Git, pixels: Tensor, trie: LabelTrie, task: Callable[..., Any]) -> None:
    """Labels of images by `task`."""
    task(model, model.encode(pixels, 1), [[CLS]] * len(pixels), trie)


def count_nodes(model: Git, run: Callable[[], None]) -> int:
    """Hidden states that go through the vocabulary in a run."""
    rows = []
    hook = model.text_decoder.output.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    run()
    hook.remove()
    return sum(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--size", choices=list(CONFIGS), default="base")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--std", type=float, default=0.02)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--tolerance", nargs="+", type=float, default=[1.0, 0.01])
    arguments = parser.parse_args()
    model = make_model(arguments.size, arguments.std, arguments.int8)
    pixels = pixels_of(arguments.images)
    trie = LabelTrie.of(make_labels(arguments.labels, model.config.text_decoder.vocabulary_size), SEP)
    words = int((trie.token != SEP).sum())
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"picscribe {picscribe.__version__}; {arguments.size}{' int8' * arguments.int8}, output std {arguments.std}, "
        f"{arguments.images} images, {len(trie)} labels of {words} nodes; {arguments.runs} rounds"
    )
    tasks: dict[str, Callable[[], None]] = {"all": partial(classify, model, pixels, trie, compute_label_likelihoods)}
    for tolerance in arguments.tolerance:
        task = partial(rank_labels, top_k=5, tolerance=tolerance)
        tasks[f"top 5, {tolerance:g} open"] = partial(classify, model, pixels, trie, task)
    seconds = rounds({"captions": partial(caption, model, pixels), **tasks}, arguments.runs)
    print(f"captions, 4 beams: {spread(seconds['captions'], '.2f')} s")
    for name, run in tasks.items():
        ratios = [own / other for own, other in zip(seconds[name], seconds["captions"], strict=True)]
        part = count_nodes(model, run) / (words * arguments.images)
        print(f"{name:16} {spread(seconds[name], '.2f')} s   ratio {spread(ratios, '.2f')}   {part:.0%} of the nodes")


if __name__ == "__main__":
    main()
