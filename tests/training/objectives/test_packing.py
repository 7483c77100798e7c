"""All captions over one image prefix: the same gradient as a pair at a time."""

import copy

import pytest
import torch

from picscribe.errors import InputError
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.prompts import TrainingExample
from picscribe.training.objectives.objective import smoothed_loss
from picscribe.training.objectives.packing import hide_words, pack, predict_logits

DECODER = TextDecoderConfig(
    vocabulary_size=40, width=32, layers=2, heads=2, mlp_width=64, max_positions=32, cls_id=1, sep_id=2
)
VIT = ClipVitConfig(width=32, layers=2, heads=2, mlp_width=64, patch_size=8, image_size=32)


def example(prefix: list[int], target: list[int]) -> TrainingExample:
    return TrainingExample((1, *prefix, *target, 2), (False,) * (1 + len(prefix)) + (True,) * (len(target) + 1))


TEXTS = [
    [example([], [5, 6, 7]), example([8, 9], [10]), example([], [11, 12, 13, 14, 15])],
    [example([20], [21, 22])],
]


def pairwise_loss(model: Git, pixels: torch.Tensor) -> torch.Tensor:
    """One pair at a time, unpacked and unpadded: the mean over all predicted tokens."""
    logits, targets = [], []
    for image, of_image in enumerate(TEXTS):
        for text in of_image:
            tokens = torch.tensor(text.tokens)
            out = model(pixels[image : image + 1], tokens[None, None, :-1])[0, 0]
            wanted = torch.tensor(text.predict[1:])
            logits.append(out[wanted])
            targets.append(tokens[1:][wanted])
    return smoothed_loss(torch.cat(logits), torch.cat(targets), 0.1)


def test_packed_gradient_equals_that_of_separate_pairs() -> None:
    torch.manual_seed(0)
    packed = Git(GitConfig(VIT, DECODER)).eval()  # evaluation mode: dropout would draw other masks
    separate = copy.deepcopy(packed)
    pixels = torch.randn(2, 3, 32, 32)
    texts = pack(TEXTS)
    loss = smoothed_loss(predict_logits(packed, packed.encode(pixels), texts), texts.targets, 0.1)
    expected = pairwise_loss(separate, pixels)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for (name, ours), theirs in zip(packed.named_parameters(), separate.parameters(), strict=True):
        # The word of a text that nothing predicts has no gradient either way.
        torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_packed_images_are_encoded_once() -> None:
    model = Git(GitConfig(VIT, DECODER)).eval()
    calls: list[int] = []
    model.image_encoder.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    texts = pack(TEXTS)
    predict_logits(model, model.encode(torch.randn(2, 3, 32, 32)), texts)
    assert calls == [2]


def test_only_targets_are_predicted() -> None:
    assert pack(TEXTS).targets.tolist() == [5, 6, 7, 2, 10, 2, 11, 12, 13, 14, 15, 2, 21, 22, 2]


def test_words_are_hidden_from_those_after_them() -> None:
    texts = pack(TEXTS)
    assert hide_words(texts, 0.0, 9) is texts
    first, place = texts.position == 0, texts.position > 0
    shares = []
    for _ in range(200):
        hidden = hide_words(texts, 0.3, 9)
        changed = hidden.tokens != texts.tokens
        assert set(hidden.tokens[changed].tolist()) == {9} or not changed.any()
        assert not changed[first].any()
        assert torch.equal(hidden.targets, texts.targets)
        shares.append(float(changed[place & (texts.tokens != 9)].float().mean()))
    assert sum(shares) / len(shares) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("texts", [[], [[]], [[example([], [3])], []]])
def test_an_image_without_texts_is_refused(texts: list[list[TrainingExample]]) -> None:
    with pytest.raises(InputError, match="at least one text"):
        pack(texts)


def test_one_batch_is_overfitted_until_its_captions_come_back_word_for_word() -> None:
    from picscribe.generation import GenerationOptions, generate

    torch.manual_seed(0)
    model = Git(GitConfig(VIT, DECODER)).train()
    pixels = torch.randn(4, 3, 32, 32)
    captions = [[5, 6, 7, 8], [9, 10], [11, 5, 12, 6, 13], [14]]
    texts = pack([[example([], caption)] for caption in captions])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(120):
        optimiser.zero_grad()
        smoothed_loss(predict_logits(model, model.encode(pixels), texts), texts.targets, 0.0).backward()
        optimiser.step()
    model.eval()
    for beams in (1, 4):
        with torch.no_grad():
            prefix = model.encode(pixels)
        found = generate(model, prefix, [[[1]]] * 4, GenerationOptions(beams=beams))
        assert [list(of_image[0][0].tokens) for of_image in found] == captions
