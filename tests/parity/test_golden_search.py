"""Every search that the original code ran on its golden models: the same tokens, and beam scores within 1e-4."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.generation import Hypothesis
from picscribe.generation.beam_search import BeamSearch, BeamSettings, GitScoring
from picscribe.generation.chooser import Chooser
from picscribe.generation.constraints import Filter, forbid_immediate_repeat
from picscribe.generation.decoding import decode
from picscribe.generation.greedy_search import GreedySearch
from picscribe.model import Git

FOLDER = Path(os.environ.get("PICSCRIBE_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
RUNS = [
    (name, number) for name in NAMES for number in range(len(json.loads((FOLDER / f"{name}.json").read_text())["runs"]))
]

pytestmark = pytest.mark.skipif(not RUNS, reason="no golden results here (set PICSCRIBE_GOLDEN to their folder)")


def search(model: Git, pixels: Tensor, run: dict[str, Any], prompt: list[int], sep_id: int) -> Hypothesis:
    """Our search for one golden run; the original's limit counts [CLS] and prompt."""
    room, one = run["max_steps"] - len(prompt), torch.tensor([len(prompt)])
    filters: list[Filter] = []
    if run["search"] == "beam":
        # The original's beam search drops the word that it chooses at its limit.
        new_tokens = room - 1
        if new_tokens < 0:
            pytest.skip("the prompt leaves no room: the original searches nothing")
        scoring = GitScoring(run["length_penalty"])
        chooser: Chooser = BeamSearch(BeamSettings(run["beam_size"], 1, new_tokens, scoring, sep_id), one)
    else:
        # Its greedy searches choose a first word before they look at the limit.
        new_tokens = max(room, 1)
        chooser = GreedySearch(new_tokens, sep_id, 1, one.device)
        if run["search"] == "greedy_no_repeat":
            filters = [forbid_immediate_repeat()]
        else:
            assert run["search"] == "trie_greedy", f"an unknown search {run['search']!r}"
            filters = [continue_candidates(run["candidates"], sep_id)]
    with torch.no_grad():
        prefix = model.encode(pixels[run["image"]][None])
    return decode(model, prefix, [[prompt]], chooser, filters, new_tokens)[0][0]


def continue_candidates(candidates: list[list[int]], sep_id: int) -> Filter:
    """Allow only tokens that go on with some candidate; a token just produced again only where nothing else goes on."""

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        begun = history[0, 0, history.shape[-1] - new_tokens :].tolist()
        allowed = {
            tokens[new_tokens] for tokens in candidates if tokens[:new_tokens] == begun and len(tokens) > new_tokens
        }
        if new_tokens and len(allowed) > 1:
            allowed.discard(begun[-1])
        forbidden = torch.ones(log_probs.shape[-1], dtype=torch.bool)
        forbidden[list(allowed) or [sep_id]] = False
        log_probs.masked_fill_(forbidden, -torch.inf)

    return apply


@pytest.mark.parametrize(("name", "number"), RUNS)
def test_golden_run(name: str, number: int, load_golden: Callable[[str], Any]) -> None:
    model, sizes, golden = load_golden(name)
    run, cls_id, sep_id = sizes["runs"][number], sizes["bos"], sizes["eos"]
    hypothesis = search(model, golden["pixel_values"], run, run["prefix"] or [cls_id], sep_id)
    ended = run["search"] == "beam" or len(hypothesis.log_probabilities) > len(hypothesis.tokens)
    found = returned(run["search"], run["prefix"], hypothesis.tokens, ended, cls_id, sep_id)
    assert found == run["tokens"]
    if run["search"] == "beam":
        assert hypothesis.score == pytest.approx(run["score"], rel=1e-4)


def returned(
    search: str, prefix: list[int] | None, tokens: Sequence[int], ended: bool, cls_id: int, sep_id: int
) -> list[int]:
    """The tokens that the original returns for a search that found these; [CLS] comes first where no prompt was given.

    Where a greedy search chooses [SEP] first, the original returns that one token in place of the whole sequence, and
    then cuts off as many tokens as the prompt has: nothing is left.
    """
    if search != "beam" and ended and not tokens:
        return [sep_id] if prefix is None else []
    found = [*tokens, *([sep_id] if ended else [])]
    return [cls_id, *found] if prefix is None else found


@pytest.mark.parametrize(
    ("search", "prefix", "tokens", "ended", "expected"),
    [
        ("greedy_no_repeat", None, [], True, [2]),
        ("trie_greedy", [1, 7], [], True, []),
        ("greedy_no_repeat", [1], [], True, []),
        ("greedy_no_repeat", None, [8, 1], True, [1, 8, 1, 2]),
        ("greedy_no_repeat", [1, 7], [8, 1], True, [8, 1, 2]),
        ("trie_greedy", None, [1], True, [1, 1, 2]),
        ("greedy_no_repeat", None, [8, 9], False, [1, 8, 9]),
        ("beam", None, [], True, [1, 2]),
        ("beam", [1, 7], [], True, [2]),
    ],
)
def test_what_the_original_returns(
    search: str, prefix: list[int] | None, tokens: list[int], ended: bool, expected: list[int]
) -> None:
    assert returned(search, prefix, tokens, ended, 1, 2) == expected


def brute_force_candidates(candidates: list[list[int]], begun: list[int]) -> set[int]:
    return {tokens[len(begun)] for tokens in candidates if tokens[: len(begun)] == begun and tokens != begun}


@pytest.mark.parametrize("begun", [[], [7], [7, 7], [7, 7, 9]])
def test_the_trie_of_this_test(begun: list[int]) -> None:
    """The filter above is no part of picscribe: that it allows what it should is shown here."""
    candidates = [[7, 7, 2], [7, 7, 9, 2], [8, 2], [7, 2]]
    log_probs = torch.zeros(1, 1, 12)
    history = torch.tensor([[[1, *begun]]])
    apply: Callable[[Tensor, Tensor, int], None] = continue_candidates(candidates, 2)
    apply(log_probs, history, len(begun))
    allowed = set(log_probs[0, 0].isfinite().nonzero()[:, 0].tolist())
    expected = brute_force_candidates(candidates, begun)
    assert allowed == (expected - set(begun[-1:]) or expected)
