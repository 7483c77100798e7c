"""BLEU against a slow second implementation that spells out the definition."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from picscribe.metrics import bleu

words = st.lists(st.sampled_from(["dog", "cat", "runs", "café", "日本"]), max_size=9)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=4)


def slow_bleu(corpus: list[tuple[list[str], list[list[str]]]], longest: int) -> float:
    """Brevity penalty times the geometric mean of the clipped precisions of n-grams up to `longest` words."""
    score = 1.0
    for n in range(1, longest + 1):
        matched = proposed = 0
        for prediction, references in corpus:
            runs = [prediction[i : i + n] for i in range(len(prediction)) if i + n <= len(prediction)]
            proposed += len(runs)
            for run in [list(r) for r in {tuple(run) for run in runs}]:
                most = max(sum(ref[i : i + n] == run for i in range(len(ref))) for ref in references)
                matched += min(most, runs.count(run))
        score *= (matched + 1e-15) / (proposed + 1e-9)
    length = sum(len(prediction) for prediction, _ in corpus)
    closest = sum(
        sorted((abs(len(ref) - len(prediction)), len(ref)) for ref in references)[0][1]
        for prediction, references in corpus
    )
    ratio = (length + 1e-15) / (closest + 1e-9)
    return score ** (1 / longest) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1)


@given(corpora)
@example([(["dog"] * 9, [["dog", "cat"] * 4, ["cat"] * k]) for k in range(5)])
@example([(["dog", "cat", "runs"], [["dog", "cat"] * (k % 5) for k in range(300)])])
@example([([], [[]])])
def test_bleu_is_its_definition(corpus: list[tuple[list[str], list[list[str]]]]) -> None:
    predictions = {str(k): " ".join(prediction) for k, (prediction, _) in enumerate(corpus)}
    references = {str(k): [" ".join(ref) for ref in refs] for k, (_, refs) in enumerate(corpus)}
    ours = bleu(predictions, references)
    for longest in range(1, 5):
        assert math.isclose(ours.corpus[longest - 1], slow_bleu(corpus, longest), rel_tol=1e-9, abs_tol=1e-300)
        for k, item in enumerate(corpus):
            alone = slow_bleu([item], longest)
            assert math.isclose(ours.per_item[str(k)][longest - 1], alone, rel_tol=1e-9, abs_tol=1e-300)


def test_the_shorter_of_two_equally_close_references_counts() -> None:
    assert bleu({"a": "dog cat runs"}, {"a": ["dog cat", "dog cat runs wall"]}).corpus[0] > 0.999
    assert bleu({"a": "dog cat runs"}, {"a": ["dog cat runs wall"]}).corpus[0] < 0.8
