"""Against transformers with the same random weights: logits, and folders that either saves and the other loads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from picscribe.checkpoints import load, save, save_original  # noqa: E402
from picscribe.text.tokenizer import Tokenizer  # noqa: E402

TINY_VISION = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY: dict[str, Any] = {
    "vision_config": TINY_VISION | {"image_size": 32, "patch_size": 8},
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
BASE: dict[str, Any] = {"vision_config": {"image_size": 224}}
SIZES = {"tiny": TINY, "base": BASE}

Save = Callable[..., Any]


@pytest.fixture
def save_with_transformers(tmp_path: Path) -> Save:
    """Saves a random GIT model of transformers as it saves one; returns the folder and the model."""

    def save_model(size: str, frames: int | None, tied: bool = False, **how: Any) -> tuple[Path, Any]:
        torch.manual_seed(len(size) + (frames or 0))
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[unused{index}]" for index in range(45))]
        if size == "base":
            words = [*words, *(f"word{index}" for index in range(30522 - len(words)))]
        config = transformers.GitConfig(
            **SIZES[size],
            vocab_size=len(words),
            num_image_with_embedding=frames,
            bos_token_id=2,
            eos_token_id=3,
            tie_word_embeddings=tied,
        )
        model = transformers.GitForCausalLM(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name.lower():
                    parameter.normal_(std=0.05)
        folder = tmp_path / f"{size}-transformers"
        model.save_pretrained(folder, **how)
        side = config.vision_config.image_size
        crop = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        transformers.CLIPImageProcessor(**crop).save_pretrained(folder)
        Tokenizer(words).save(folder)
        return folder, model

    return save_model


def random_input(model: Any, frames: int | None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = model.config.vision_config.image_size
    pixels = torch.randn(1, *([frames] if frames else []), 3, side, side, generator=generator)
    return pixels, torch.randint(4, 50, (1, 7), generator=generator)


@torch.no_grad()
def assert_same_logits(ours: Any, theirs: Any, frames: int | None) -> None:
    pixels, tokens = random_input(theirs, frames)
    expected = theirs(input_ids=tokens, pixel_values=pixels).logits[:, -tokens.shape[1] :]
    found = ours(pixels, tokens[:, None])[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().mean().item())


@pytest.mark.parametrize("frames", [None, 1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_tiny_logits_both_ways(frames: int | None, tied: bool, save_with_transformers: Save, tmp_path: Path) -> None:
    folder, theirs = save_with_transformers("tiny", frames, tied)
    checkpoint = load(folder)
    assert checkpoint.model.config.text_decoder.tie_output == tied
    assert_same_logits(checkpoint.model, theirs, frames)
    save(checkpoint, tmp_path / "ours")
    again, report = transformers.GitForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    # Versions before 5 spell it so; what is saved has both spellings.
    assert all(key.startswith("git.img_temperal_embedding.") for key in report["unexpected_keys"])
    ours, original = again.state_dict(), theirs.state_dict()
    assert ours.keys() == original.keys()
    assert all(torch.equal(ours[name], original[name]) for name in ours)
    save_original(checkpoint, tmp_path / "original")
    assert_same_logits(load(tmp_path / "original").model, theirs, frames)


def test_half_precision_that_transformers_saved(save_with_transformers: Save) -> None:
    folder, theirs = save_with_transformers("tiny", None)
    theirs.half().save_pretrained(folder)
    assert_same_logits(load(folder).model, theirs.float(), None)


def test_shards_that_transformers_saved(save_with_transformers: Save) -> None:
    folder, theirs = save_with_transformers("tiny", 2, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert_same_logits(load(folder).model, theirs, 2)


@pytest.mark.parametrize("frames", [None, 6])
def test_the_processor_that_picscribe_saves_is_transformers(
    frames: int | None, save_with_transformers: Save, tmp_path: Path
) -> None:
    folder, _ = save_with_transformers("tiny", frames)
    checkpoint = load(folder)
    save(checkpoint, tmp_path / "ours")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "ours")
    assert type(processor).__name__.startswith("VideoMAE" if frames else "CLIP")
    assert processor.crop_size["height"] == checkpoint.preprocessing.size
    assert tuple(processor.image_mean) == checkpoint.preprocessing.mean
    assert processor.resample == 3
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokenizer.vocab_size == checkpoint.tokenizer.vocabulary_size
    assert tokenizer.cls_token_id == checkpoint.tokenizer.cls_id
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "ours")
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (2, 3, 0)
    assert type(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")).__name__ == "GitForCausalLM"


@pytest.mark.parametrize("frames", [None, 6])
def test_logits_of_the_real_base_size(frames: int | None, save_with_transformers: Save) -> None:
    folder, theirs = save_with_transformers("base", frames)
    assert_same_logits(load(folder).model, theirs, frames)
