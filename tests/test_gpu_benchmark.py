"""The part of `benchmarks.gpu` that says whether a device computes what the CPU does, with the CPU as the device."""

import copy
import sys

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from benchmarks import gpu
from benchmarks.generate import ours
from picscribe.acceleration.steps import FixedStep
from picscribe.generation.decoding import GrowingStep
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig


def tiny() -> Git:
    decoder = TextDecoderConfig(151, width=32, layers=2, heads=2, mlp_width=64, max_positions=40)
    vit = ClipVitConfig(width=32, layers=2, heads=2, mlp_width=64, patch_size=8, image_size=32)
    torch.manual_seed(0)
    model = Git(GitConfig(vit, decoder)).eval()
    model.text_decoder.output.weight.data.normal_(std=0.3)
    return model


def test_a_device_that_computes_the_same_is_correct() -> None:
    found = gpu.compare(tiny(), "cpu")
    assert found.holds and found.float32_error < 1e-5 and found.bfloat16_error > 0
    assert found.other_tokens == {"graph": 0, "growing": 0}


def test_a_device_that_computes_otherwise_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model, plain = tiny(), Git.logits
    moved = copy.deepcopy(model)
    monkeypatch.setattr(copy, "deepcopy", lambda _: moved)
    turned = torch.randperm(151, generator=torch.Generator().manual_seed(0))

    def logits(self: Git, hidden: Tensor) -> Tensor:
        found = plain(self, hidden)
        return found[..., turned] if self is moved else found

    monkeypatch.setattr(Git, "logits", logits)
    found = gpu.compare(model, "cpu")
    assert not found.holds and found.float32_error > 0.1
    assert found.other_tokens == {"graph": 4, "growing": 4}


@pytest.mark.parametrize(("kind", "used"), [("graph", FixedStep), ("growing", GrowingStep)])
def test_each_kind_of_step_is_what_decodes(kind: str, used: type, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = used.__call__

    def call(self: object, *arguments: object) -> object:
        calls.append(type(self))
        return plain(self, *arguments)

    monkeypatch.setattr(used, "__call__", call)
    with gpu.stepping(kind, "cpu"):
        ours(tiny(), torch.randn(1, 3, 32, 32), 2)
    assert set(calls) == {used}


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    gpu.main()
    assert "not measured" in capsys.readouterr().out
