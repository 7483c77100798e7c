"""What load makes of weights: another type, a compiled network; options that do not go together are refused."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from picscribe.checkpoints import Checkpoint, load, loading, save, save_original
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.generation import GenerationOptions, generate

MakeCheckpoint = Callable[..., Checkpoint]
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, {"lite": 0, "tied": True}, {"frames": 2}])
def test_every_weight_is_cast(
    dtype: str, stored: torch.dtype, changes: dict[str, object], make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    """As casting the whole float32 network would."""
    save(make_checkpoint(**changes), tmp_path / "saved", dtype=stored)
    expected = load(tmp_path / "saved").model.to(HALVES[dtype]).state_dict()
    state = load(tmp_path / "saved", dtype=dtype).model.state_dict()
    assert state.keys() == expected.keys()
    assert all(state[name].dtype == HALVES[dtype] for name in state)
    assert all(torch.equal(state[name], expected[name]) for name in state)


@pytest.mark.parametrize("can", [True, False])
def test_bfloat16_is_warned_of_where_the_processor_has_none(
    can: bool, make_checkpoint: MakeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: can)
    save(make_checkpoint(), tmp_path / "saved")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        load(tmp_path / "saved", dtype="float16")
        load(tmp_path / "saved", dtype="bfloat16")
    assert ["no bfloat16 arithmetic" in str(one.message) for one in warned] == ([] if can else [True])


def test_the_original_layout_is_cast_too(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    save_original(make_checkpoint(tied=True), tmp_path / "saved")
    model = load(tmp_path / "saved", dtype="bfloat16").model
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert model.text_decoder.output.weight is model.text_decoder.word_embedding.weight


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("lite", [None, 0])
def test_a_cast_network_computes_nearly_the_same(
    dtype: str, lite: int | None, make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    save(make_checkpoint(lite=lite), tmp_path / "saved")
    whole, half = load(tmp_path / "saved").model, load(tmp_path / "saved", dtype=dtype).model
    size = whole.config.image_encoder.image_size
    pixels, tokens = torch.randn(2, 3, size, size), torch.tensor([[[2, 5, 6, 7]]]).expand(2, 1, 4)
    with torch.inference_mode():
        expected, logits = whole(pixels, tokens), half(pixels.to(HALVES[dtype]), tokens)
        hypotheses = generate(half, half.encode(pixels.to(HALVES[dtype])), [[[2]]] * 2, GenerationOptions(beams=3))
    assert logits.dtype == HALVES[dtype]
    assert (logits.float() - expected).norm() < (0.05 if dtype == "bfloat16" else 0.01) * expected.norm()
    assert all(hypothesis.score <= 0 for of_image in hypotheses for of_prompt in of_image for hypothesis in of_prompt)


def test_values_that_a_type_cannot_hold_are_named(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    with torch.no_grad():
        checkpoint.model.projection.weight[0, 0] = -70_000.0
    save(checkpoint, tmp_path / "wide")
    load(tmp_path / "wide", dtype="bfloat16")
    with pytest.raises(
        CheckpointError, match=r"wide: tensor git\.visual_projection.*has the value 70000.*torch\.float16"
    ):
        load(tmp_path / "wide", dtype="float16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "half"}, "unknown dtype 'half': choose one of float32, bfloat16, float16"),
        ({"quantize": "int4"}, "unknown quantize 'int4': choose int8"),
        ({"quantize": "int8", "dtype": "bfloat16"}, "int8.*leave out dtype bfloat16"),
        ({"quantize": "int8", "device": "cuda"}, "int8.*use device cpu|cannot be used"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, str], message: str, tiny_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(tiny_folder, **options)


@pytest.mark.slow
def test_compiled_is_the_same_to_the_eye_and_by_name(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    save(make_checkpoint(), tmp_path / "saved")
    plain, compiled = load(tmp_path / "saved").model, load(tmp_path / "saved", compile=True).model
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for images in (1, 3, 2):
        pixels = torch.randn(images, 3, 32, 32)
        found = []
        with torch.inference_mode():
            for model in (plain, compiled):
                hypotheses = generate(model, model.encode(pixels), [[[2]]] * images, GenerationOptions(beams=3))
                found.append([of_image[0][0].tokens for of_image in hypotheses])
            torch.testing.assert_close(compiled.image_encoder(pixels), plain.image_encoder(pixels))
        assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the compiler is looked for in other ways elsewhere")
def test_without_a_compiler_one_sentence(tiny_folder: Path, tmp_path: Path) -> None:
    program = f"""
from picscribe.checkpoints import load
from picscribe.errors import ConfigurationError
try:
    load({str(tiny_folder)!r}, compile=True)
except ConfigurationError as error:
    print(error)
"""
    environment = os.environ | {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("torch.compile does not work here (")
    assert "a C++ compiler such as g++" in done.stdout
    assert done.stdout.count("\n") == 1
