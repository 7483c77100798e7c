"""What `precision="fast"` chooses, and what it remembers."""

import json
import os
import warnings
from pathlib import Path

import pytest
import torch

import picscribe
from picscribe.acceleration import precision
from picscribe.acceleration.precision import find_fast_precision
from picscribe.errors import ConfigurationError
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, GitConfig, TextDecoderConfig

DECODER = TextDecoderConfig(61, width=32, layers=3, heads=2, mlp_width=64, max_positions=40, cls_id=1, sep_id=2)
CONFIG = GitConfig(ClipVitConfig(width=32, layers=2, heads=2, mlp_width=64, patch_size=8, image_size=32), DECODER)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's file, on a processor that has bfloat16 and int8."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "multiplies_int8", lambda: True)
    return tmp_path / "picscribe" / "precision.json"


def measured(monkeypatch: pytest.MonkeyPatch, bfloat16: float, int8: float = 0.5) -> list[GitConfig]:
    """Put a measurement in place of the real one; returns what it is asked about."""
    asked: list[GitConfig] = []

    def measure(config: GitConfig) -> dict[str, float]:
        asked.append(config)
        return {"bfloat16": bfloat16, "int8": int8}

    monkeypatch.setattr(precision, "times_as_fast", measure)
    return asked


@pytest.mark.parametrize(
    ("bfloat16", "int8", "chosen"),
    [(2.0, 1.5, "bfloat16"), (2.0, 2.5, "int8"), (1.05, 1.0, "float32"), (0.1, 0.1, "float32"), (0.1, 1.2, "int8")],
)
def test_the_faster_is_chosen_and_remembered(
    cache: Path, monkeypatch: pytest.MonkeyPatch, bfloat16: float, int8: float, chosen: str
) -> None:
    asked = measured(monkeypatch, bfloat16, int8)
    first, second = find_fast_precision(CONFIG), find_fast_precision(CONFIG)
    assert len(asked) == 1
    for found in (first, second):
        assert (found.quantize or found.dtype) == chosen
        assert found.dtype == "float32" or found.quantize is None
    assert f"bfloat16 takes 1/{bfloat16:.2f}, int8 takes 1/{int8:.2f}" in str(first)
    assert str(first).startswith(f"{chosen}: ") and "measured before" in str(second)
    find_fast_precision(GitConfig(EfficientNetLiteConfig(0, 32), DECODER))
    assert len(asked) == 2 and len(json.loads(cache.read_text())) == 2, "each network has its own"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": "b", "c": null}', b"[" * 100_000, b"OLD", b"WRONG"]
)
def test_a_broken_cache_is_measured_again_and_mended(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    asked = measured(monkeypatch, 2.0)
    cache.parent.mkdir()
    key = precision._key(CONFIG).encode()
    content = content.replace(b"OLD", b'{"%s": 1.8}' % key).replace(b"WRONG", b'{"%s": {"bfloat16": "a"}}' % key)
    cache.write_bytes(content)
    assert find_fast_precision(CONFIG) and find_fast_precision(CONFIG)
    assert len(asked) == 1


def test_a_cache_that_cannot_be_written_does_no_harm(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, 2.0)
    cache.parent.write_text("a file where the folder would be")
    assert find_fast_precision(CONFIG).dtype == find_fast_precision(CONFIG).dtype == "bfloat16"
    assert len(asked) == 2


def test_only_what_the_processor_has_is_chosen(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, 3.0, 2.0)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    assert find_fast_precision(CONFIG).quantize == "int8" and len(asked) == 1
    os.unlink(cache)
    monkeypatch.setattr(precision, "multiplies_int8", lambda: False)
    found = find_fast_precision(CONFIG)
    assert (found.dtype, found.quantize) == ("float32", None)
    assert len(asked) == 1 and not os.path.exists(cache)


@pytest.mark.parametrize("encoder", [CONFIG.image_encoder, EfficientNetLiteConfig(0, 32)])
def test_measuring_leaves_the_random_numbers_alone(
    encoder: ClipVitConfig | EfficientNetLiteConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "SECONDS", 0.0)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = precision.times_as_fast(GitConfig(encoder, DECODER))
    assert found.keys() == {"bfloat16", "int8"} and min(found.values()) > 0
    assert torch.equal(torch.random.get_rng_state(), before)


def test_load_computes_in_what_was_chosen(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ratios, dtype in (((0.5, 0.5), torch.float32), ((3.0, 2.0), torch.bfloat16), ((2.0, 3.0), None)):
        cache.unlink(missing_ok=True)
        measured(monkeypatch, *ratios)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this processor has no bfloat16, where it has none
            scribe = picscribe.load("nano", precision="fast")
        assert scribe.precision.startswith("int8: " if dtype is None else f"{dtype}: ".removeprefix("torch."))
        assert scribe.loading["quantize"] == ("int8" if dtype is None else None)
        if dtype is not None:
            assert next(scribe.model.parameters()).dtype == dtype
    assert picscribe.load("nano").precision.startswith("float32")


def test_precision_and_what_contradicts_it() -> None:
    with pytest.raises(ConfigurationError, match="exact, fast"):
        picscribe.load("nano", precision="quick")
    for how in ({"dtype": "bfloat16"}, {"quantize": "int8"}):
        with pytest.raises(ConfigurationError, match="precision"):
            picscribe.load("nano", precision="fast", **how)  # type: ignore[arg-type]
