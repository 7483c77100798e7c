"""Curating a data set: every example is looked at once, by several processes; what stays is decided in one order.

The folder: `metadata.jsonl` (the remaining photos, if they are files, by name) or `kept-00000.tar` (photos that lie in
other files), `dropped.jsonl`, `report.json`, `dropped.html`; `work` until all is done. Killed at any moment, the same
command continues; the result does not depend on where it was stopped nor on the number of processes.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import picscribe
from picscribe import checkpoints
from picscribe.curation.inspecting import Findings, Inspector
from picscribe.curation.keeping import folder_of, keeper_of
from picscribe.curation.near_duplicates import NearDuplicates
from picscribe.curation.page import dropped_page
from picscribe.curation.rules import ORDER, Fault, Rules, TextRules, words_of
from picscribe.datasets import Dataset, Example
from picscribe.datasets.examples import Source
from picscribe.datasets.fingerprint import hash_examples
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.text_files import read_json_object
from picscribe.versions import versions
from picscribe.whole_files import whole_file, write_whole

CHUNK = 500
"""Examples looked at between two files of the work folder."""

LIBRARIES = ("glin-profanity", "py3langid", "ImageHash", "Pillow")
"""Whose versions decide what is found."""

Progress = Callable[[int], None]
"""Told how many examples have been looked at."""


@dataclass(frozen=True)
class Result:
    """How many pairs of image and text there were, how many stay, and how many each rule dropped.

    photos: the folder in which the photos of what stays are found.
    """

    pairs: int
    kept: int
    images: int
    images_kept: int
    dropped: dict[str, int]
    photos: str


@dataclass(frozen=True)
class Dropped:
    """A pair that goes, and why."""

    id: str
    image: str
    text: str
    rule: str
    what: str


def curate(
    dataset: Dataset,
    examples: Sequence[Example],
    rules: Rules,
    output: Path,
    processes: int = 1,
    progress: Progress = lambda done: None,
) -> Result:
    """Look at every pair, or continue with the curation that was stopped in `output`; the result is written there.

    Raises ConfigurationError where `output` holds another curation or the data set is none of captions or classes,
    InputError where the disk is full, MissingPackageError without the extra `curate`.
    """
    if dataset.task == "questions" or dataset.medium != "images":
        raise ConfigurationError(
            f"{dataset.path}: curate works for captions and classes, not for {dataset.task}: name another data set"
        )
    if not examples:
        raise InputError(f"{dataset.path}: has no photo with a text: name another data set")
    if dataset.task == "labels":  # a word or two in no language, said of many photos
        rules = replace(rules, skip=tuple(sorted({*rules.skip, "length", "language", "text-duplicate"})))
    _require_own_folder(dataset, output)
    photos = folder_of(examples)
    plan = _plan(examples, rules)
    work = output / "work"
    if (output / "report.json").exists():
        report = _read_json(output / "report.json")
        _require_same(report.get("plan"), plan, output)
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed at its very end
        return replace(Result(**report["result"]), photos=str(photos or output))
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror or error})") from error
    if (work / "plan.json").exists():
        _require_same(_read_json(work / "plan.json"), plan, output)
    write_whole(work / "plan.json", json.dumps(plan))
    _inspect_all(examples, rules, work, processes, progress)
    try:
        result = _decide(dataset, examples, rules, output, work, plan, photos)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error})") from error
    shutil.rmtree(work)
    return result


def _plan(examples: Sequence[Example], rules: Rules) -> dict[str, Any]:
    """What decides the result. Raises MissingPackageError, ConfigurationError, CheckpointError for what is missing."""
    TextRules(rules)
    plan = {
        "data": hash_examples(examples),
        "rules": json.loads(json.dumps(asdict(rules))),
        "versions": {"picscribe": picscribe.__version__} | {name: _version(name) for name in LIBRARIES},
    }
    if rules.uses("score"):
        weights = hashlib.sha256()
        for weight in checkpoints.load(rules.model).model.parameters():
            weights.update(weight.detach().flatten().contiguous().view(torch.uint8).numpy().tobytes())
        plan["model"] = weights.hexdigest()
    return plan


def _version(library: str) -> str:
    """The version of a library; "" if it is missing, which the code that needs it reports."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return read_json_object(file)
    except InputError as error:
        raise ConfigurationError(f"{error}; it was not written by a curation: name another folder") from error


def _require_own_folder(dataset: Dataset, output: Path) -> None:
    """Raise ConfigurationError if the result would be among the data, or overwrite other files."""
    place, data = output.resolve(), dataset.path.resolve()
    if data.is_dir() and place.is_relative_to(data):
        raise ConfigurationError(
            f"{output} is in {dataset.path}, and would be read as a part of it: name another folder"
        )
    if not output.is_dir() or (output / "report.json").exists() or (output / "work").exists():
        return
    if others := sorted(file.name for file in output.iterdir()):
        raise ConfigurationError(f"{output} holds other files ({', '.join(others[:3])}): name a new folder")


def _require_same(found: object, plan: dict[str, Any], output: Path) -> None:
    if found != plan:
        raise ConfigurationError(f"{output} holds another curation: name another folder, or the same data and rules")


# Looking, by several processes

_inspector: dict[Rules, Inspector] = {}
"""A process's own, made when it is first needed."""


def _inspect_all(examples: Sequence[Example], rules: Rules, work: Path, processes: int, progress: Progress) -> None:
    chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
    files = [work / f"{number:06}.jsonl" for number in range(len(chunks))]
    left = [(chunk, file) for chunk, file in zip(chunks, files, strict=True) if not file.exists()]
    done = len(examples) - sum(len(chunk) for chunk, _ in left)
    progress(done)
    if processes == 1:
        finished: Iterator[int] = map(_inspect_chunk, *zip(*left, strict=True), repeat(rules)) if left else iter(())
        for count in finished:
            progress(done := done + count)
        return
    threads = max(1, torch.get_num_threads() // processes)
    try:
        with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
            for count in pool.map(_inspect_chunk, *zip(*left, strict=True), repeat(rules)) if left else ():
                progress(done := done + count)
    except BrokenProcessPool as error:
        raise PicscribeError("a process was killed, perhaps for memory: run the command again to continue") from error


def _inspect_chunk(chunk: Sequence[Example], file: Path, rules: Rules) -> int:
    if rules not in _inspector:
        _inspector[rules] = Inspector(rules)
    lines = [json.dumps(_inspector[rules].inspect(example).as_json()) for example in chunk]
    write_whole(file, "\n".join(lines) + "\n")
    return len(chunk)


def _read_findings(work: Path) -> Iterator[Findings]:
    for file in sorted(work.glob("*.jsonl")):
        with file.open(encoding="utf-8") as stream:
            yield from (Findings.from_json(json.loads(line)) for line in stream)


# Deciding, in one order


class Judge:
    """Decides pair after pair; remembers the images and texts that stayed."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.images, self.kept = NearDuplicates(rules.hash_distance), list[Example]()
        self.texts, self.own = Counter[str](), set[str]()
        self.last: Source | None = None

    def faults(self, example: Example, found: Findings) -> list[Fault | None]:
        """A fault, or None for what stays, for each of an example's texts."""
        fault = found.image
        if fault is None and self.rules.uses("image-duplicate"):
            earlier = self.images.find(found.look)
            if earlier is not None and self.kept[earlier].source != example.source:
                fault = Fault("image-duplicate", self.kept[earlier].id)
        if fault is not None:
            return [fault] * len(example.texts)
        # A photo may have a row for each of its texts, one after the other.
        said = self.own if example.source == self.last else set()
        faults, own = list[Fault | None](), set(said)
        for text, known in zip(example.texts, found.texts, strict=True):
            judged = known if known is not None and known.rule != "score" else self._repeated(text, own) or known
            faults.append(judged)
            if judged is None:
                own.add(_plain(text))
        if own > said:
            self.texts.update(own - said)
            self.own, self.last = own, example.source
            if self.rules.uses("image-duplicate"):
                self.images.add(found.look)
                self.kept.append(example)
        return faults

    def _repeated(self, text: str, own: set[str]) -> Fault | None:
        if not self.rules.uses("text-duplicate"):
            return None
        plain = _plain(text)
        if plain in own:
            return Fault("text-duplicate", "said of the same image already")
        if self.texts[plain] >= self.rules.text_repeats:
            return Fault("text-duplicate", f"said of {self.texts[plain]} images already")
        return None


def _plain(text: str) -> str:
    """What is the same in texts that differ in case, accents, punctuation and spaces."""
    return " ".join(words_of(text)) or text


def _decide(
    dataset: Dataset,
    examples: Sequence[Example],
    rules: Rules,
    output: Path,
    work: Path,
    plan: dict[str, Any],
    photos: Path | None,
) -> Result:
    judge, counts, kept, images_kept = Judge(rules), Counter[str](), 0, 0
    sample: dict[str, list[tuple[Example, Dropped]]] = {}
    with keeper_of(dataset, photos, output) as keeper, whole_file(output / "dropped.jsonl") as stream:
        for example, found in zip(examples, _read_findings(work), strict=True):
            faults = judge.faults(example, found)
            texts = tuple(text for text, fault in zip(example.texts, faults, strict=True) if fault is None)
            if texts:
                keeper.keep(example, texts)
                kept, images_kept = kept + len(texts), images_kept + 1
            for text, fault in zip(example.texts, faults, strict=True):
                if fault is not None:
                    gone = Dropped(example.id, str(example.source), text, fault.rule, fault.what)
                    stream.write((json.dumps(asdict(gone), ensure_ascii=False) + "\n").encode("utf-8", "replace"))
                    counts[fault.rule] += 1
                    _sample(sample.setdefault(fault.rule, []), example, gone, counts[fault.rule])
    result = Result(
        pairs=sum(len(example.texts) for example in examples),
        kept=kept,
        images=len(examples),
        images_kept=images_kept,
        dropped={rule: counts[rule] for rule in ORDER if counts[rule]},
        photos=str(keeper.root),
    )
    shown = {rule: sample[rule] for rule in ORDER if rule in sample}
    write_whole(output / "dropped.html", dropped_page(asdict(result), shown, TextRules(rules)))
    report = {"result": asdict(result), "plan": plan, "all versions": versions()}
    write_whole(output / "report.json", json.dumps(report, indent=1))
    return result


SHOWN = 12
"""Pairs of each rule that the page shows."""


def _sample(chosen: list[tuple[Example, Dropped]], example: Example, gone: Dropped, number: int) -> None:
    """Keep the first, then ever sparser ones, so that the page shows pairs from all over."""
    if len(chosen) < SHOWN:
        chosen.append((example, gone))
    elif number & (number - 1) == 0:
        chosen[number.bit_length() % SHOWN] = (example, gone)
