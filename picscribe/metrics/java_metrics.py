"""METEOR and SPICE by their authors' Java programs, which the package pycocoevalcap brings: `pip install
"picscribe[java]"` and a Java.

METEOR 1.5 (Denkowski and Lavie, 2014) is whole in that package. SPICE 1.0 (Anderson et al., ECCV 2016) needs two files
more, which pycocoevalcap downloads at first use; here nothing is ever downloaded, and the error says which files and
where they go. Captions are tokenised by picscribe, so that Stanford's tokenizer need not run.

The programs are run here, not through pycocoevalcap's classes. Those talk to METEOR line by line and never read its
errors: where Java dies or complains at length they wait for ever. Here all captions go in at once, errors are shown,
and a time limit ends the program.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import ConfigurationError, MissingPackageError, PicscribeError
from picscribe.metrics.metric import Metric, mean_metric
from picscribe.metrics.pairs import pair_captions

TIME_LIMIT = 3600.0
"""Seconds. METEOR takes about 8 for 1,000 images, most of them to read its tables; SPICE parses every caption."""

PRECISION_SHARE, ORDER_EXPONENT, ORDER_WEIGHT, CONTENT_WEIGHT = 0.85, 0.2, 0.6, 0.75
MATCHER_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Of exact, stem, synonym and paraphrase matches: METEOR 1.5's parameters for English, its task "rank"."""

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def meteor(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], time_limit: float = TIME_LIMIT
) -> Metric:
    """METEOR of raw captions, 0 to 1, as pycocoevalcap gives it.

    Each prediction is aligned with each of its references, and the best one counts. The value is computed of the
    matches summed over all images; it is not the mean of the images' own. Raises InputError where predictions and
    references do not hold the same ids, MissingPackageError where Java or pycocoevalcap is absent, PicscribeError
    where Java fails or takes longer than `time_limit` seconds.
    """
    pairs = pair_captions(predictions, references)
    lines = [
        " ||| ".join(["SCORE", *map(" ".join, captions), " ".join(prediction)])
        for prediction, captions in zip(pairs.predictions, pairs.references, strict=True)
    ]
    jar = _package_file("meteor", "meteor-1.5.jar")
    # As pycocoevalcap starts it, except for the encoding, which before Java 18 depends on the locale.
    command = ["-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    counts = _read_counts(_run_java("METEOR", command, "\n".join(lines) + "\n", time_limit), len(lines))
    per_item = dict(zip(pairs.ids, _meteor_scores(counts).tolist(), strict=True))
    summable = _without_whole_matches(counts)
    return Metric(
        float(_meteor_scores(summable.sum(axis=0, keepdims=True))[0]),
        per_item,
        lambda drawn: _meteor_scores(drawn @ summable),
    )


def spice(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], time_limit: float = TIME_LIMIT
) -> Metric:
    """SPICE of raw captions, 0 to 1: the F-score of the objects, attributes and relations that both speak of.

    Errors as in `meteor`; MissingPackageError also where Stanford CoreNLP's files are absent. Without the cache of
    parsed references that pycocoevalcap keeps: it fails from Java 16 on and writes into the installed package.
    """
    pairs = pair_captions(predictions, references)
    jar = _package_file("spice", "spice-1.0.jar")
    missing = [name for name in CORENLP if not (jar.parent / "lib" / name).is_file()]
    if missing:
        raise MissingPackageError(
            f"SPICE needs Stanford CoreNLP 3.6.0: put {' and '.join(missing)} into {jar.parent / 'lib'}; they are in "
            "stanford-corenlp-full-2015-12-09.zip at nlp.stanford.edu/software (picscribe downloads nothing by itself)"
        )
    captions = [
        {"image_id": number, "test": " ".join(prediction), "refs": list(map(" ".join, given))}
        for number, (prediction, given) in enumerate(zip(pairs.predictions, pairs.references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "captions.json"), Path(folder, "scores.json")
        asked.write_text(json.dumps(captions), encoding="utf-8")
        _run_java("SPICE", ["-Xmx8G", "-jar", str(jar), str(asked), "-out", str(answered), "-silent"], "", time_limit)
        try:
            scores = {item["image_id"]: float(item["scores"]["All"]["f"]) for item in json.loads(answered.read_bytes())}
            return mean_metric({identity: scores[number] for number, identity in enumerate(pairs.ids)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PicscribeError(
                f"SPICE ended without a score for every image ({type(error).__name__}: {error})"
            ) from error


def _read_counts(answer: str, lines: int) -> NDArray[np.float64]:
    """METEOR's 23 counts for each line, (N, 23): 4 lengths, 4 matchers × 4 kinds of matches, chunks, 2 totals."""
    try:
        counts = np.array([[float(count) for count in line.split()] for line in answer.splitlines()])
    except ValueError:
        counts = np.empty(0)
    if counts.shape != (lines, 23):
        raise PicscribeError(f"METEOR was asked for {lines} lines of 23 counts and answered {_end(answer)!r}")
    return counts


def _meteor_scores(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """METEOR of each row of counts, (N, 23) → (N,), by the formula of Denkowski and Lavie (WMT 2014).

    As in their program the counts are, in this order, of prediction and reference: all words, function words; then for
    each matcher content words matched, function words matched; then chunks; then all words matched.
    """
    lengths, function_words, matched = counts[:, 0:2], counts[:, 2:4], counts[:, 21:23]
    content, function = np.split(counts[:, 4:20].reshape(-1, 4, 2, 2), 2, axis=2)
    weight = CONTENT_WEIGHT
    found = np.einsum("m,nmxs->ns", MATCHER_WEIGHTS, weight * content + (1 - weight) * function)
    possible = weight * (lengths - function_words) + (1 - weight) * function_words
    precision, recall = (found / np.where(possible > 0, possible, 1)).T
    mean = precision * recall / _or_one(PRECISION_SHARE * precision + (1 - PRECISION_SHARE) * recall)
    chunks = _without_whole_matches(counts)[:, 20]
    disorder = chunks / _or_one(matched.mean(axis=1))
    return mean * (1 - ORDER_WEIGHT * disorder**ORDER_EXPONENT)


def _without_whole_matches(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """No chunk where prediction and reference match from end to end: METEOR counts nothing as out of order there."""
    whole = (counts[:, 21:23] == counts[:, 0:2]).all(axis=1) & (counts[:, 20] == 1)
    counts = counts.copy()
    counts[whole, 20] = 0
    return counts


def _or_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, values, 1)


def _package_file(folder: str, name: str) -> Path:
    spec = find_spec("pycocoevalcap")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place, folder, name)).is_file():
            return path
    raise MissingPackageError(f'pycocoevalcap\'s {name} is not installed: pip install "picscribe[java]"')


def _run_java(metric: str, arguments: Sequence[str], text: str, time_limit: float) -> str:
    """Run Java on `text`, at most `time_limit` seconds, and return what it wrote; it is killed however this ends."""
    if not time_limit > 0:
        raise ConfigurationError(f"time_limit must be more than 0 seconds, found {time_limit!r}")
    java = shutil.which("java")
    if java is None:
        raise MissingPackageError(
            f"{metric} needs Java (8 or later), but PATH has none: install it, for example "
            "`apt install default-jre-headless`, or leave this metric out"
        )
    try:
        ended = subprocess.run(
            [java, *arguments], input=text, capture_output=True, encoding="utf-8", errors="replace", timeout=time_limit
        )
    except subprocess.TimeoutExpired as error:
        raise PicscribeError(
            f"{metric} took longer than {time_limit:g} seconds and was stopped: raise time_limit"
        ) from error
    if ended.returncode != 0:
        raise PicscribeError(f"{metric} failed in Java (exit status {ended.returncode}): {_end(ended.stderr)}")
    return ended.stdout


def _end(text: str, longest: int = 1000) -> str:
    return text.strip()[-longest:]
