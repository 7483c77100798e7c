"""Ways to compute with int8 weights on a CPU, on the whole job: captions of a base model's random weights.

    python -m benchmarks.int8_candidates [--images 4] [--beams 4] [--runs 3]

Compares, in alternating rounds, picscribe's float32 and int8 with what else there is, as far as it is installed:
torchao (dynamic int8 on all linear layers), OpenVINO in float32 and with int8 weights (through nncf), ONNX Runtime with
dynamic int8. The last two take over the image encoder and leave the decoder's steps, which grow token by token, to
picscribe's int8. For each: median seconds, the ratio to picscribe's float32 of the same round (median, least and most)
and the relative error of the image encoder's output. None of these packages is a dependency of picscribe.
"""

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.generate import CONFIGS, NEW_TOKENS, fast, ours, pixels_of, rounds, spread
from picscribe.acceleration.int8 import quantize
from picscribe.model import Git
from picscribe.versions import versions


class Replaced(torch.nn.Module):
    """An image encoder that another engine computes."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D)."""
        return self.run(pixels)


def with_encoder(model: Git, run: Callable[[Tensor], Tensor]) -> Git:
    """picscribe's int8 model with another image encoder."""
    changed = fast(quantize(copy.deepcopy(model)))
    changed.image_encoder = Replaced(run)  # type: ignore[assignment]
    return changed


def traceable(model: Git) -> Any:
    """A copy of the image encoder whose positions are those of its own size: tracing cannot work them out."""
    encoder: Any = copy.deepcopy(model).image_encoder.eval()
    encoder.positions = lambda rows, columns: encoder.position_embedding
    return encoder


def torchao(model: Git, pixels: Tensor) -> Git:
    """Dynamic int8 activations, int8 weights, in all linear layers."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    changed = copy.deepcopy(model)
    for module in changed.modules():  # torchao replaces plain linear layers alone
        if type(module).__name__ == "Linear":
            module.__class__ = torch.nn.Linear
    quantize_(changed, Int8DynamicActivationInt8WeightConfig())
    return changed


def openvino(model: Git, pixels: Tensor, int8: bool) -> Git:
    """The image encoder by OpenVINO; with `int8` its weights and activations quantised after training by nncf."""
    import openvino as ov

    encoder = traceable(model)
    network = ov.convert_model(encoder, example_input=pixels)
    if int8:
        import nncf

        network = nncf.quantize(
            network, nncf.Dataset([pixels.numpy()]), model_type=nncf.ModelType.TRANSFORMER, subset_size=1
        )
    hint = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = ov.Core().compile_model(network, "CPU", hint)
    return with_encoder(model, lambda x: torch.from_numpy(compiled(x.numpy())[0].copy()))


def onnx_runtime(model: Git, pixels: Tensor) -> Git:
    """The image encoder by ONNX Runtime with dynamic int8."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        plain, small = str(Path(folder) / "plain.onnx"), str(Path(folder) / "int8.onnx")
        encoder = traceable(model)
        torch.onnx.export(encoder, (pixels,), plain, input_names=["pixels"], dynamo=False, opset_version=17)
        quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    return with_encoder(model, lambda x: torch.from_numpy(session.run(None, {"pixels": x.numpy()})[0]))


def main() -> None:
    """Print a line a candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    model = Git(CONFIGS["base"]).eval().requires_grad_(False)
    pixels = pixels_of(arguments.images)
    makers: dict[str, Callable[[], Any]] = {
        "picscribe float32": lambda: fast(copy.deepcopy(model)),
        "picscribe int8": lambda: fast(quantize(copy.deepcopy(model))),
        "torchao int8": lambda: torchao(model, pixels),
        "OpenVINO float32 encoder": lambda: openvino(model, pixels, int8=False),
        "OpenVINO int8 encoder": lambda: openvino(model, pixels, int8=True),
        "ONNX Runtime int8 encoder": lambda: onnx_runtime(model, pixels),
    }
    print(f"base, {arguments.images} images, {arguments.beams} beams, {NEW_TOKENS} new tokens; {versions()}")
    models: dict[str, Any] = {}
    for name, make in makers.items():
        try:
            models[name] = make()
            ours(models[name], pixels, arguments.beams)
        except Exception as error:  # whatever a package that is missing, or cannot do it, raises
            models.pop(name, None)
            print(f"{name}: not measured ({type(error).__name__}: {' '.join(str(error).split())[:100]})")
    with torch.inference_mode():
        exact = models["picscribe float32"].image_encoder(pixels)
        errors = {name: float((m.image_encoder(pixels) - exact).norm() / exact.norm()) for name, m in models.items()}

    def run(name: str) -> Callable[[], Any]:
        return lambda: ours(models[name], pixels, arguments.beams)

    taken = rounds({name: run(name) for name in models}, arguments.runs)
    for name, seconds in taken.items():
        ratios = [first / own for first, own in zip(taken["picscribe float32"], seconds, strict=True)]
        print(
            f"{name:26} {spread(seconds, '.2f')} s   {spread(ratios, '.2f')} times as fast   error {errors[name]:.1%}"
        )


if __name__ == "__main__":
    main()
