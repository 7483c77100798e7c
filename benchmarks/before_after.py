"""The working tree against an earlier commit: the same small jobs on both, in alternating runs.

    python -m benchmarks.before_after REF [--only generate training metrics startup caption] [--rounds 3]

REF is checked out into a temporary git worktree. Each run is a new process that imports picscribe and the benchmarks'
drivers from its own tree, and both trees get the same checkpoints, images and captions. For each job it prints the
median over the rounds of after / before (above 1 is slower now), least and most, the median seconds of both, and
whether results differ. The jobs:

generate   a random model of base size, 1 and 4 images, greedy and 4 beams, float32 and int8; 12 new tokens
training   one step of nano: 8 images with 5 captions each, forward, backward and AdamW
metrics    BLEU, ROUGE-L and CIDEr of 1,000 made-up images with 5 captions each; --captions names a Karpathy file
startup    the whole processes `picscribe --help` and `picscribe caption PHOTO` with nano
caption    `Scribe.caption` with nano in a process that is warm: one photo, and 16
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

# Only what both trees have is imported, and that where it is used: this file runs with either of them.

ROOT = Path(__file__).resolve().parents[1]
NANO = ROOT / "picscribe" / "bundled" / "nano"
PHOTO = ROOT / "examples" / "cat.jpg"
NEW_TOKENS = 12
COMMAND = [sys.executable, "-c", "from picscribe.cli.main import main; main()"]
RUN_HERE = [
    sys.executable,
    "-c",
    f"import runpy; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')",
]


@dataclass(frozen=True)
class Inputs:
    """What both trees are given."""

    captions: Path
    """A Karpathy file."""
    base: Path
    """The folder of a random checkpoint of base size; it exists where `generate` is asked for."""


@dataclass(frozen=True)
class Timed:
    """The seconds of a job, and what came out of it, as text that can be compared."""

    seconds: float
    result: str = ""


Found: TypeAlias = dict[str, Timed]
"""By job."""


# What a new process of either tree does


def fastest(job: Callable[[], Any], repeats: int) -> Timed:
    """The least of several runs, since other work on a machine only ever adds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = job()
        times.append(time.perf_counter() - started)
    return Timed(min(times), str(result))


def run_generate(inputs: Inputs) -> Found:
    """Generation with random weights of base size; preprocessing counts."""
    import numpy as np

    import picscribe

    noise = list(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8))
    found = {}
    for arithmetic in ("float32", "int8"):
        scribe = picscribe.load(inputs.base, quantize="int8" if arithmetic == "int8" else None)
        for images in (1, 4):
            for beams in (1, 4):
                options = picscribe.GenerationOptions(beams=beams, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)

                def caption(images: int = images, options: Any = options, scribe: Any = scribe) -> list[str]:
                    return [one.text for one in scribe.caption(noise[:images], options=options)]

                found[f"{arithmetic}, {images} images, {beams} beams"] = fastest(caption, 2)
    return found


def run_training(_: Inputs) -> Found:
    """A step of nano, by the step of `benchmarks.training`, whose tree knows its own objective."""
    import torch

    from benchmarks.training import our_step
    from picscribe import checkpoints
    from picscribe.text.prompts import TrainingExample

    checkpoint = checkpoints.load(str(NANO))
    words, side = checkpoint.model.config.text_decoder, checkpoint.preprocessing.size
    draw = random.Random(0)

    def example() -> TrainingExample:
        inner = (draw.randrange(200, words.vocabulary_size) for _ in range(NEW_TOKENS))
        return TrainingExample((words.cls_id, *inner, words.sep_id), (False, *[True] * (NEW_TOKENS + 1)))

    torch.manual_seed(0)
    texts = [[example() for _ in range(5)] for _ in range(8)]
    step = our_step(checkpoint.model, torch.randn(8, 3, side, side), texts)
    step()
    return {"8 images, 5 captions each": fastest(step, 3)}


def run_caption(_: Inputs) -> Found:
    """The time of a call for whoever has loaded a model."""
    import picscribe

    scribe = picscribe.load(NANO)
    options = picscribe.GenerationOptions(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)

    def caption(count: int) -> list[str]:
        return [one.text for one in scribe.caption([PHOTO] * count, options=options)]

    caption(1)
    return {"1 photo": fastest(lambda: caption(1), 5), "16 photos": fastest(lambda: caption(16), 2)}


HERE = {"generate": run_generate, "training": run_training, "caption": run_caption}


# What starts such processes


def run_python(tree: Path, command: list[str]) -> str:
    """The standard output of a process that imports from a tree. Exits with what it said where it fails."""
    # Bytecode is written, which a fresh worktree does not have: else `startup` would time the compiler.
    ours = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "", "PICSCRIBE_SERVER": ""}
    done = subprocess.run(command, cwd=tree, env=os.environ | ours, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tree}: failed: {' '.join(command)}\n{done.stderr}")
    return done.stdout


def run_part(part: str, tree: Path, inputs: Inputs) -> Found:
    """One run of a part in a tree."""
    if part == "startup":
        helped = fastest(lambda: run_python(tree, [*COMMAND, "--help"]), 1)
        captioned = fastest(lambda: run_python(tree, [*COMMAND, "caption", str(PHOTO), "--model", str(NANO)]), 1)
        # Help texts may well differ.
        return {"picscribe --help": Timed(helped.seconds), "picscribe caption PHOTO": captioned}
    if part == "metrics":
        command = ["-m", "benchmarks.metrics", str(inputs.captions), "--images-count", "1000", "--side", "picscribe"]
        said = json.loads(run_python(tree, [sys.executable, *command]))
        return {"1,000 images": Timed(said["seconds"], str([round(figure, 9) for figure in said["figures"]]))}
    said = run_python(tree, [*RUN_HERE, str(tree), "--run", part, "--base", str(inputs.base)])
    return {name: Timed(*timed) for name, timed in json.loads(said.splitlines()[-1]).items()}


def print_here(part: str, tree: Path, inputs: Inputs) -> None:
    """What a process of its own prints: a part's figures as JSON."""
    import picscribe

    if not Path(picscribe.__file__).is_relative_to(tree):
        sys.exit(f"picscribe comes from {picscribe.__file__}, not from {tree}")
    print(json.dumps({name: (timed.seconds, timed.result) for name, timed in HERE[part](inputs).items()}))


def compare(part: str, trees: dict[str, Path], inputs: Inputs, rounds: int) -> None:
    """Run a part in both trees in turn, and print a line a job."""
    if part == "startup":  # after a first run, both have their bytecode
        for tree in trees.values():
            run_part(part, tree, inputs)
    found: dict[str, list[Found]] = defaultdict(list)
    started = time.perf_counter()
    for turn in range(rounds):
        for side in sorted(trees, reverse=turn % 2 == 0):  # neither is always first
            found[side].append(run_part(part, trees[side], inputs))
    print(f"{part}, {rounds} rounds, {time.perf_counter() - started:.0f} s")
    for name in found["after"][0]:
        before, after = ([one[name].seconds for one in found[side]] for side in ("before", "after"))
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        seconds = f"{statistics.median(before):.3f} s before, {statistics.median(after):.3f} s after"
        same = len({one[name].result for runs in found.values() for one in runs}) == 1
        print(f"  {name:28} {spread}   {seconds}{'' if same else '   results differ'}", flush=True)


# What both are given


def write_captions(file: Path, images: int = 1000) -> None:
    """A Karpathy file of made-up captions: some words often, most seldom, as in English."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghilmnoprstuw", k=draw.randint(2, 9))) for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]

    def sentence() -> dict[str, str]:
        said = draw.choices(words, weights, k=draw.randint(6, 16))
        return {"raw": f"A {' '.join(said[:4])}, {' '.join(said[4:])} that isn't {said[0]} ."}

    listed = [{"split": "val", "sentences": [sentence() for _ in range(5)]} for _ in range(images)]
    file.write_text(json.dumps({"images": listed}), encoding="utf-8")


def write_base(folder: Path) -> None:
    """A checkpoint of base size with random weights, wide enough that words differ from step to step."""
    import torch

    from picscribe import checkpoints
    from picscribe.media.preprocessing import Preprocessing
    from picscribe.model import Git, GitConfig
    from picscribe.text.tokenizer import Tokenizer

    config = GitConfig()
    words = config.text_decoder
    listed = [f"word{number}" for number in range(words.vocabulary_size)]
    listed[words.pad_id], listed[words.cls_id], listed[words.sep_id] = "[PAD]", "[CLS]", "[SEP]"
    listed[words.pad_id + 1], listed[words.pad_id + 2] = "[UNK]", "[MASK]"
    torch.manual_seed(0)
    model = Git(config).eval().requires_grad_(False)
    for parameter in (model.text_decoder.output.weight, model.text_decoder.word_embedding.weight):
        parameter.normal_(std=0.2)
    checkpoint = checkpoints.Checkpoint(model, Tokenizer(listed), Preprocessing(size=224), "base", folder)
    checkpoints.save(checkpoint, folder)


@contextmanager
def checked_out(ref: str, folder: Path) -> Iterator[Path]:
    """A worktree of a commit, for as long as it is needed. Exits where the commit is not here."""
    git = ["git", "-C", str(ROOT)]
    known = subprocess.run([*git, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"], stdout=subprocess.DEVNULL)
    if known.returncode:
        sys.exit(f"{ref} is no commit here: check its name, or fetch all commits with git fetch --unshallow")
    subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(folder), ref], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=True)


PARTS = ("generate", "training", "metrics", "startup", "caption")


def main() -> None:
    """Compare the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ref", metavar="REF")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captions", type=Path, metavar="KARPATHY_JSON")
    parser.add_argument("--run", choices=HERE, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print_here(arguments.run, Path(arguments.ref), Inputs(Path(), arguments.base))
        return
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the worktree goes away also where a time limit ends this
    with tempfile.TemporaryDirectory(prefix="picscribe-before-after-") as name:
        made = Path(name)
        inputs = Inputs((arguments.captions or made / "captions.json").resolve(), made / "base")
        if arguments.captions is None:
            write_captions(inputs.captions)
        if "generate" in arguments.only:
            write_base(inputs.base)
        with checked_out(arguments.ref, made / "before") as before:
            print(f"after / before: the median (least to most); before is {arguments.ref}", flush=True)
            for part in arguments.only:
                compare(part, {"before": before, "after": ROOT}, inputs, arguments.rounds)


if __name__ == "__main__":
    main()
