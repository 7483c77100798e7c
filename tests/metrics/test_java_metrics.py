"""METEOR against pycocoevalcap's own class; SPICE and every way Java can fail with a stand-in for the program."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picscribe.errors import ConfigurationError, InputError, MissingPackageError, PicscribeError
from picscribe.metrics import java_metrics
from picscribe.metrics.bootstrap import Resampling, intervals
from picscribe.metrics.java_metrics import meteor, spice
from picscribe.metrics.ptb_tokenizer import tokenize

REFERENCES = {
    "a": ["A brown dog runs across the wet grass.", "The dog is running on a lawn", "dog, outside"],
    "b": ["Two small cats sit on a wall!"],
    "c": ["An old man's hat", "a man wears a hat ||| and a scarf", "Ein Mann im Café", ""],
    "d": ["Children are playing football in the park", "kids play soccer"],
    "e": ["dog"],
    "f": ["the of and"],
    "g": ["A couple purchases vegetables at the market", "two people buy greens"],
}
PREDICTIONS = {
    "g": "a couple buys vegetables at a market",
    "a": "the dog ran over grass",
    "b": "Two small cats sit on a wall.",
    "c": "a man in the café with a hat",
    "d": "park the in football playing are children",
    "e": "",
    "f": "of the",
}


@pytest.fixture(scope="module")
def ours() -> Any:
    if shutil.which("java") is None:
        pytest.skip("Java is not here")
    pytest.importorskip("pycocoevalcap.meteor.meteor")
    return meteor(PREDICTIONS, REFERENCES)


def test_meteor_as_pycocoevalcap(ours: Any) -> None:
    scorer = pytest.importorskip("pycocoevalcap.meteor.meteor").Meteor()
    references = {i: [" ".join(tokenize(caption)) for caption in captions] for i, captions in REFERENCES.items()}
    predictions = {i: [" ".join(tokenize(PREDICTIONS[i]))] for i in REFERENCES}
    value, per_item = scorer.compute_score(references, predictions)
    assert ours.value == pytest.approx(value, abs=1e-12)
    assert list(ours.per_item) == list(REFERENCES)
    assert list(ours.per_item.values()) == pytest.approx(per_item, abs=1e-12)
    assert 0.2 < value < 0.9
    assert ours.value != pytest.approx(np.mean(per_item), abs=1e-3), "the corpus score is not the mean"


def test_meteor_of_what_is_plain(ours: Any) -> None:
    assert ours.per_item["b"] == 1
    assert ours.per_item["e"] == 0
    assert ours.per_item["d"] < 0.7, "all words, in the wrong order"


def test_meteor_of_samples_is_that_of_the_images_drawn(ours: Any) -> None:
    drawn = np.eye(len(REFERENCES)) * 3
    assert ours.statistic(drawn) == pytest.approx(list(ours.per_item.values()))
    assert ours.statistic(np.ones((1, len(REFERENCES)))) == pytest.approx([ours.value])
    lower, upper = intervals({"METEOR": ours}, Resampling(200))["METEOR"]
    assert lower < ours.value < upper


def slow_meteor(line: list[float]) -> float:
    """METEOR 1.5 from one line of its counts, term by term."""
    words, ref_words, function, ref_function = line[:4]
    *matches, chunks, matched, ref_matched = line[4:]
    precise = recalled = 0.0
    for matcher, weight in enumerate((1, 0.6, 0.8, 0.6)):
        content, ref_content, small, ref_small = matches[4 * matcher : 4 * matcher + 4]
        precise += weight * (0.75 * content + 0.25 * small)
        recalled += weight * (0.75 * ref_content + 0.25 * ref_small)
    if precise == 0 or recalled == 0:
        return 0.0
    precise /= 0.75 * (words - function) + 0.25 * function
    recalled /= 0.75 * (ref_words - ref_function) + 0.25 * ref_function
    mean = precise * recalled / (0.85 * precise + 0.15 * recalled)
    if (words, ref_words, chunks) == (matched, ref_matched, 1):
        return mean
    return mean * (1 - 0.6 * (2 * chunks / (matched + ref_matched)) ** 0.2)


def odd_counts(source: np.random.Generator) -> list[float]:
    lengths = source.integers(0, 12, size=2)
    matched = source.integers(0, lengths + 1)
    if 0 in matched:
        matched[:] = 0
    function = source.integers(0, lengths + 1)
    split = source.multinomial(matched, [1 / 8] * 8)
    matches = split.reshape(2, 4, 2).transpose(1, 2, 0).ravel()
    chunks = source.integers(1, matched.min() + 1) if matched.min() else 0
    return [float(n) for n in (*lengths, *np.maximum(function, split[:, 1::2].sum(1)), *matches, chunks, *matched)]


def test_the_formula_as_term_by_term() -> None:
    source = np.random.default_rng(4)
    lines = [odd_counts(source) for _ in range(2000)]
    lines = [line for line in lines if line[2] <= line[0] and line[3] <= line[1]]
    scores = java_metrics._meteor_scores(np.array(lines))
    assert scores == pytest.approx([slow_meteor(line) for line in lines], abs=1e-12)
    assert (scores == 0).any()
    in_order = [3.0, 3, 1, 1, 2, 2, 1, 1, *[0] * 12, 1, 3, 3]
    assert java_metrics._meteor_scores(np.array([in_order])) == slow_meteor(in_order) == 1


# What follows needs neither Java nor pycocoevalcap: a Python program stands in for java, empty files for the package.
Stand = Callable[[str], Path]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    if os.name == "nt":
        pytest.skip("the stand-in for java is a Unix script")
    package, programs = tmp_path / "pycocoevalcap", tmp_path / "bin"
    for name in ("meteor/meteor-1.5.jar", "spice/spice-1.0.jar", *(f"spice/lib/{jar}" for jar in java_metrics.CORENLP)):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    spec = type("Spec", (), {"submodule_search_locations": [str(package)]})
    monkeypatch.setattr(java_metrics, "find_spec", lambda name: spec if name == "pycocoevalcap" else None)

    def write(program: str) -> Path:
        java = programs / "java"
        java.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{program}\n", encoding="utf-8")
        java.chmod(0o755)
        return tmp_path

    return write


SPICE_PROGRAM = """
arguments = sys.argv[1:]
asked = json.load(open(arguments[arguments.index("-jar") + 2], encoding="utf-8"))
json.dump([arguments, asked], open(FOLDER + "/asked.json", "w"))
scores = [{"image_id": item["image_id"], "scores": {"All": {"f": len(item["test"]) / 100}}} for item in asked]
open(arguments[arguments.index("-out") + 1], "w").write(json.dumps(scores[::-1]))
"""


def test_spice_is_asked_and_read(stand_in: Stand, tmp_path: Path) -> None:
    stand_in(SPICE_PROGRAM.replace("FOLDER", repr(str(tmp_path))))
    metric = spice({"b": "Two cats.", "a": "the café"}, {"a": ["A dog!", "x"], "b": ["cats"]})
    assert metric.per_item == {"a": 0.08, "b": 0.08}
    assert metric.value == pytest.approx(0.08)
    assert metric.statistic is not None
    arguments, asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked == [
        {"image_id": 0, "test": "the café", "refs": ["a dog", "x"]},
        {"image_id": 1, "test": "two cats", "refs": ["cats"]},
    ]
    assert "-cache" not in arguments


@pytest.mark.parametrize("answer", ["[]", "nothing", '[{"image_id": 0}]', '[{"image_id": 0, "scores": {"All": 3}}]'])
def test_spice_without_a_score_for_every_image_is_an_error(stand_in: Stand, answer: str) -> None:
    stand_in(f"open(sys.argv[sys.argv.index('-out') + 1], 'w').write({answer!r})")
    with pytest.raises(PicscribeError, match="SPICE ended without a score for every image"):
        spice({"a": "x"}, {"a": ["x"]})


def test_spice_without_corenlp_says_which_files_and_where(stand_in: Stand) -> None:
    folder = stand_in("sys.exit('must not run')") / "pycocoevalcap" / "spice" / "lib"
    (folder / "stanford-corenlp-3.6.0-models.jar").unlink()
    with pytest.raises(MissingPackageError) as raised:
        spice({"a": "x"}, {"a": ["x"]})
    assert f"put stanford-corenlp-3.6.0-models.jar into {folder};" in str(raised.value)
    assert "stanford-corenlp-full-2015-12-09.zip" in str(raised.value)


@pytest.mark.parametrize("metric", [meteor, spice])
def test_no_java_is_one_sentence(metric: Any, stand_in: Stand, tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match=r"needs Java .* PATH has none: install it"):
        metric({"a": "x"}, {"a": ["x"]})


@pytest.mark.parametrize("metric", [meteor, spice])
def test_no_package_says_what_to_install(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_metrics, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "picscribe\[java\]"'):
        metric({"a": "x"}, {"a": ["x"]})


def test_a_program_that_hangs_is_ended(stand_in: Stand, tmp_path: Path) -> None:
    stand_in(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(PicscribeError, match=r"METEOR took longer than 1 seconds and was stopped.*time_limit"):
        meteor({"a": "x"}, {"a": ["x"]}, time_limit=1)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_complains_at_length_does_not_hang_and_is_heard(stand_in: Stand) -> None:
    stand_in("sys.stderr.write('noise ' * 200_000 + 'OutOfMemoryError'); sys.exit(3)")
    with pytest.raises(PicscribeError, match=r"METEOR failed in Java .exit status 3.: .*OutOfMemoryError$") as raised:
        meteor({"a": "x"}, {"a": ["x"]}, time_limit=60)
    assert len(str(raised.value)) < 1100


@pytest.mark.parametrize(
    "answer", ["", "1.0 2.0", "Error: specify SCORE or EVAL or EXIT", "0.0 " * 23 + "\n" + "0 " * 23]
)
def test_invalid_counts_are_an_error(stand_in: Stand, answer: str) -> None:
    stand_in(f"sys.stdin.read(); print({answer!r})")
    with pytest.raises(PicscribeError, match="METEOR was asked for 1 lines of 23 counts and answered"):
        meteor({"a": "x"}, {"a": ["x"]})


def test_captions_go_in_line_by_line(stand_in: Stand, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    stand_in(f"open({str(asked)!r}, 'w').write(sys.stdin.read()); print('\\n'.join(['0.0 ' * 23] * 2))")
    metric = meteor({"a": "one\ntwo", "b": "a\r\ndog"}, {"b": ["x"], "a": ["p|||q", "r\ts"]})
    assert metric.per_item == {"b": 0, "a": 0}
    assert asked.read_text(encoding="utf-8") == "SCORE ||| x ||| a dog\nSCORE ||| p | | | q ||| r s ||| one two\n"


@settings(max_examples=500)
@example("<A\n>")
@example('<a href="\r\n">')
@given(st.text() | st.text("|/:.-<>'@ ahtpw\n\r\t\x0b\u2028\x85\xa0"))
def test_tokenized_captions_have_no_line_break_and_no_separator(caption: str) -> None:
    line = " ".join(tokenize(caption))
    assert "|||" not in line
    assert not {"\n", "\r"} & set(line)


@pytest.mark.parametrize("time_limit", [0, -1, float("nan")])
def test_a_time_limit_is_more_than_0(stand_in: Stand, time_limit: float) -> None:
    with pytest.raises(ConfigurationError, match="time_limit must be more than 0 seconds"):
        meteor({"a": "x"}, {"a": ["x"]}, time_limit)


def test_ids_must_agree() -> None:
    with pytest.raises(InputError, match="'b'"):
        meteor({"a": "x"}, {"a": ["x"], "b": ["y"]})
