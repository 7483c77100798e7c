"""The trie against lists of labels searched one by one, and every greedy search over labels of the original code."""

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from picscribe.checkpoints.original import config_of_tensors, load_original_model, read_original_tensors
from picscribe.errors import InputError
from picscribe.generation.constraints import NO_TOKEN
from picscribe.generation.decoding import decode
from picscribe.generation.greedy_search import GreedySearch
from picscribe.generation.label_trie import LabelTrie, continue_labels
from picscribe.model import Git

SEP, WORDS = 2, 12


def random_labels(draw: random.Random) -> list[list[int]]:
    """Distinct labels of few words, so that many share a beginning, begin others or repeat a token."""
    most = draw.randint(1, 4)
    labels = {tuple(draw.randint(3, 3 + most) for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(1, 30))}
    return [list(label) for label in draw.sample(sorted(labels), len(labels))]


def path(trie: LabelTrie, node: int) -> list[int]:
    tokens: list[int] = []
    while node:
        tokens.insert(0, int(trie.token[node]))
        node = int(trie.parent[node])
    return tokens


def beginnings(labels: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    return {tuple([*label, SEP][:end]) for label in labels for end in range(len(label) + 2)}


@pytest.mark.parametrize("seed", range(30))
def test_nodes(seed: int) -> None:
    draw = random.Random(seed)
    labels = random_labels(draw)
    trie = LabelTrie.of([[*label, SEP] if draw.random() < 0.5 else label for label in labels], SEP)
    paths = [path(trie, node) for node in range(trie.nodes)]
    assert len(trie) == len(labels)
    assert {tuple(tokens) for tokens in paths} == beginnings(labels)
    assert len(paths) == len(beginnings(labels)), "what labels share stands once"
    assert [paths[node] for node in trie.end.tolist()] == [[*label, SEP] for label in labels]
    assert [len(tokens) for tokens in paths] == trie.depth.tolist()
    assert trie.longest == max(map(len, paths))
    nodes = torch.tensor(draw.choices(range(trie.nodes), k=7))
    child, of = trie.children(nodes)
    for place, node in enumerate(nodes.tolist()):
        expected = [index for index in range(trie.nodes) if int(trie.parent[index]) == node]
        assert child[of == place].tolist() == expected
        assert [int(trie.token[index]) for index in expected] == sorted(int(trie.token[index]) for index in expected)
        above = [0, 0, 0, *(paths.index(paths[node][:end]) for end in range(len(paths[node])))]
        assert trie.ancestors(nodes[place], 3).tolist() == above[-3:]


@pytest.mark.parametrize("seed", range(10))
def test_reached(seed: int) -> None:
    draw = random.Random(seed)
    labels = random_labels(draw)
    trie = LabelTrie.of(labels, SEP)
    for length in range(7):
        texts = [[draw.choice([SEP, 3, 4, 5]) for _ in range(length)] for _ in range(20)]
        texts += [list(begun) for begun in beginnings(labels) if len(begun) == length]
        found = trie.reached(torch.tensor(texts).view(len(texts), 1, length))[:, 0].tolist()
        for text, node in zip(texts, found, strict=True):
            assert path(trie, node) == text if tuple(text) in beginnings(labels) else node == -1


def allowed_after(labels: Sequence[Sequence[int]], begun: Sequence[int], repeat_last: bool) -> set[int]:
    """The rule over lists, as the original code has it."""
    ended = [[*label, SEP] for label in labels]
    allowed = {label[len(begun)] for label in ended if label[: len(begun)] == begun and len(label) > len(begun)}
    if begun and len(allowed) > 1 and not repeat_last:
        allowed.discard(begun[-1])
    return allowed or {SEP}


@pytest.mark.parametrize("repeat_last", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_filter(seed: int, repeat_last: bool) -> None:
    """A batch of texts with prompts of different lengths, several beams each, on labels and beside them."""
    draw = random.Random(seed)
    labels = random_labels(draw)
    apply = continue_labels(LabelTrie.of(labels, SEP), repeat_last)
    for new in range(6):
        begun = [
            [[*draw.choice(labels), SEP, 3, 4, 5, 6, 7][:new] for _ in range(2)] for _ in range(draw.randint(1, 4))
        ]
        prompts = [[1, *(draw.randint(3, 6) for _ in range(draw.randint(0, 3)))] for _ in begun]
        longest = max(map(len, prompts))
        history = torch.tensor(
            [
                [[NO_TOKEN] * (longest - len(prompt)) + prompt + beam for beam in beams]
                for prompt, beams in zip(prompts, begun, strict=True)
            ]
        )
        before = torch.randn(len(begun), 2, WORDS)
        after = before.clone()
        apply(after, history, new)
        kept = after.isfinite()
        assert torch.equal(after[kept], before[kept])
        for text, beams in enumerate(begun):
            for beam, tokens in enumerate(beams):
                expected = allowed_after(labels, tokens, repeat_last)
                assert set(kept[text, beam].nonzero()[:, 0].tolist()) == expected


def test_filter_keeps_what_others_forbade() -> None:
    scores = torch.zeros(1, 1, WORDS)
    scores[..., 4] = -torch.inf
    continue_labels(LabelTrie.of([[4], [5]], SEP))(scores, torch.tensor([[[1]]]), 0)
    assert scores[0, 0].isfinite().nonzero()[:, 0].tolist() == [5]


@pytest.mark.parametrize("seed", range(8))
def test_batch_as_one_by_one(
    seed: int, tiny_model: Callable[..., Git], random_pixels: Callable[[int, int], Tensor]
) -> None:
    """Greedy searches of a batch of images and prompts write labels, the same as each alone."""
    draw = random.Random(seed)
    model, labels = tiny_model(seed), random_labels(draw)
    prompts = [[[1, *(draw.randint(3, 9) for _ in range(draw.randint(0, 3)))] for _ in range(2)] for _ in range(4)]
    trie, pixels = LabelTrie.of(labels, SEP), random_pixels(seed, 4)
    filters = [continue_labels(trie, repeat_last=True)]

    def search(images: Tensor, of_images: Sequence[Sequence[Sequence[int]]]) -> list[tuple[int, ...]]:
        texts = len(of_images) * len(of_images[0])
        chooser = GreedySearch(trie.longest, SEP, texts, images.device)
        with torch.inference_mode():
            found = decode(model, model.encode(images), of_images, chooser, filters, trie.longest)
        return [of_text[0].tokens for of_text in found]

    together = search(pixels, prompts)
    alone = [search(pixels[image, None], [[prompt]])[0] for image in range(4) for prompt in prompts[image]]
    assert together == alone
    assert all(list(tokens) in labels for tokens in together)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "there are no labels"),
        ([[3], []], "label 1 is the tokens"),
        ([[3], [SEP]], "label 1 is the tokens"),
        ([[3, SEP, 4]], "label 0 is the tokens"),
        ([[3, -1]], "label 0 is the tokens"),
        ([[3], [4, 5], [4, 5, SEP]], "labels 1 and 2 have the same tokens"),
    ],
)
def test_wrong_labels(labels: list[list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelTrie.of(labels, SEP)


FOLDER = Path(os.environ.get("PICSCRIBE_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")


def load_golden(name: str) -> tuple[Git, dict[str, Any], Tensor]:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    file = FOLDER / f"{name}.pt"
    tensors = read_original_tensors(file)
    config = config_of_tensors(
        tensors,
        file,
        image_encoder_heads=content["vision"]["heads"],
        text_decoder_heads=content["text"]["heads"],
        cls_id=content["bos"],
        sep_id=content["eos"],
    )
    pixels = load_file(FOLDER / f"{name}.tensors.safetensors")["pixel_values"]
    return load_original_model(file, tensors, config), content, pixels


@pytest.mark.skipif(not any(FOLDER.glob("*.json")), reason="no golden results here (set PICSCRIBE_GOLDEN)")
@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.json")))
def test_golden_runs(name: str) -> None:
    """All of the original's greedy searches over labels of one model, those over images of one shape in one batch."""
    model, content, pixels = load_golden(name)
    runs = [run for run in content["runs"] if run["search"] == "trie_greedy"]
    if not runs:
        pytest.skip("no search over labels was run on this model")
    assert len({json.dumps(run["candidates"]) for run in runs}) == 1
    sep_id = content["eos"]
    trie = LabelTrie.of(runs[0]["candidates"], sep_id)
    prompts = [[run["prefix"] or [content["bos"]]] for run in runs]
    chooser = GreedySearch(trie.longest, sep_id, len(runs), pixels.device)
    with torch.inference_mode():
        prefix = model.encode(pixels[[run["image"] for run in runs]])
    found = decode(model, prefix, prompts, chooser, [continue_labels(trie)], trie.longest)
    for run, (hypothesis,) in zip(runs, found, strict=True):
        begin = [] if run["prefix"] else [content["bos"]]
        assert [*begin, *hypothesis.tokens, sep_id] == run["tokens"]


def test_on_its_device_it_is_not_copied() -> None:
    trie = LabelTrie.of([[5, 6], [5]], 2)
    assert trie.to(torch.device("cpu")) is trie
    elsewhere = trie.to(torch.device("meta"))
    assert elsewhere is not trie and elsewhere.to(torch.device("meta")) is elsewhere
