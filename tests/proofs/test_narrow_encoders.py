"""Fewer numbers of a cell: those that the others make good go first, and the model says nearly the same."""

import pytest
import torch

from picscribe.model import EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from proofs.narrow_encoders import choose, fit, moments, narrowed


@pytest.fixture
def model() -> Git:
    torch.manual_seed(0)
    decoder = TextDecoderConfig(width=32, layers=1, heads=2, mlp_width=64, vocabulary_size=61, cls_id=1, sep_id=2)
    return Git(GitConfig(EfficientNetLiteConfig((2, 1), 64), decoder)).eval()


def test_the_loss_of_each_is_what_leaving_it_out_costs() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(500, 6).double() @ torch.randn(6, 6).double(), torch.randn(3, 6).double()
    covariance = x.T.cov()
    kept = torch.tensor([0, 1, 3, 4, 5])

    def missed(some: torch.Tensor) -> float:
        rest = weight.clone()
        rest[:, some] -= fit(weight, covariance, some)[0]
        return float((rest @ covariance @ rest.T).trace())

    _, losses = fit(weight, covariance, kept)
    for place, loss in enumerate(losses):
        without = kept[torch.arange(len(kept)) != place]
        assert missed(without) - missed(kept) == pytest.approx(float(loss), rel=0.02)


def test_copies_of_others_and_what_never_varies_go_first() -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, 12).double()
    x[:, 2], x[:, 3], x[:, 7], x[:, 9] = 3.0, x[:, 1] * 2, x[:, 10], -1.0
    kept = choose(torch.randn(4, 12).double(), x.T.cov(), members=2, features=4).tolist()
    assert len(kept) == 8
    assert kept == sorted(kept)
    assert sum(index < 6 for index in kept) == 4
    assert not {2, 9} & set(kept)
    assert len({1, 3} & set(kept)) == 1
    assert len({7, 10} & set(kept)) == 1


def test_a_narrow_model_says_nearly_the_same(model: Git) -> None:
    batches = [torch.randn(8, 3, 64, 64) for _ in range(4)]
    with torch.no_grad():
        for one in (model.projection.weight, model.projection.bias):
            one.normal_()
        for member in model.image_encoder.members:
            member.position_embedding.normal_(std=0.1)
            # Half of what the head makes is there twice.
            for weights in (member.head.weight, member.head.bias, member.position_embedding.T):
                weights[640:] = weights[:640]
    narrow, missed = narrowed(model, *moments(model, batches), 640)
    assert narrow.config.image_encoder.width == 1280
    assert missed < 1e-3
    with torch.no_grad():
        expected, found = (m.projection(m.visual_features(batches[0])) for m in (model, narrow))
    assert (found - expected).norm() < 0.05 * (expected - expected.mean((0, 1))).norm()


@torch.no_grad()
def test_what_is_missed_is_what_the_projection_errs(model: Git) -> None:
    model.projection.weight.normal_()
    for member in model.image_encoder.members:
        member.head.weight.normal_(std=0.1)
        member.position_embedding.normal_()
    batches = [torch.randn(8, 3, 64, 64) for _ in range(4)]
    narrow, missed = narrowed(model, *moments(model, batches), 1)
    expected, found = (torch.cat([m.projection(m.visual_features(b)) for b in batches]) for m in (model, narrow))
    spread = expected - expected.mean((0, 1))
    assert missed > 0.05
    assert missed == pytest.approx(float((found - expected).square().sum() / spread.square().sum()), rel=0.05)
