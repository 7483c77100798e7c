"""The fast form of a network against the network, and who computes when."""

import copy
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import picscribe
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.fused import PackedLinear
from picscribe.checkpoints import Checkpoint, load, save
from picscribe.generation import GenerationOptions, generate
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig

DECODER = TextDecoderConfig(61, width=32, layers=3, heads=2, mlp_width=64, max_positions=40, cls_id=1, sep_id=2)
VIT = ClipVitConfig(width=32, layers=2, heads=2, mlp_width=64, patch_size=8, image_size=32)
CONFIGS = {
    "vit": GitConfig(VIT, DECODER),
    "video": GitConfig(VIT, DECODER, frames=2),
    "lite": GitConfig(EfficientNetLiteConfig(0, 32), DECODER),
    "tied": GitConfig(VIT, TextDecoderConfig(**{**vars(DECODER), "tie_output": True})),
}


def make(config: GitConfig) -> Git:
    torch.manual_seed(0)
    model = Git(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "norm" not in name and not name.startswith("image_encoder.blocks"):
            parameter.data.normal_(std=0.3)
    return model


def results(model: Git) -> tuple[Tensor, list[Any]]:
    """Logits, and the tokens of a search, for the same pixels each time."""
    torch.manual_seed(1)
    pixels = torch.randn(2, *([2] if model.config.frames else []), 3, 32, 32)
    tokens = torch.randint(0, 61, (2, 3, 5))
    with torch.inference_mode():
        found = generate(model, model.encode(pixels), [[[1, 5]], [[1]]], GenerationOptions(beams=3, max_new_tokens=6))
        return model(pixels, tokens), [h.tokens for of_image in found for of_prompt in of_image for h in of_prompt]


def assert_same(found: tuple[Tensor, list[Any]], expected: tuple[Tensor, list[Any]]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5 * float(expected[0].abs().max()))
    assert found[1] == expected[1]


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fast_form_computes_the_same_with_every_product_packed(name: str) -> None:
    network = make(CONFIGS[name])
    expected, before = results(network), copied(network.state_dict())
    pair = Accelerated(network).accelerate()
    assert pair.running is not network
    assert not [module for module in pair.running.modules() if isinstance(module, nn.Linear)]
    packed = [module for module in pair.running.modules() if isinstance(module, PackedLinear)]
    assert len(packed) == (2 * 4 if name != "lite" else 0) + 3 * 4 + 2
    assert_same(results(pair.running), expected)
    assert [name for name, _ in pair.weights()] == sorted(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.weights())
    whole = pair.hand_out()
    assert whole is network and pair.running is network
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())
    assert all(parameter.requires_grad for parameter in whole.parameters())
    assert_same(results(whole), expected)


def test_unmapped_weights_are_in_memory_once() -> None:
    """But those that are scaled, around QuickGELU, and one that the word embedding shares."""
    network = make(CONFIGS["tied"])
    pair = Accelerated(network).accelerate()
    missing = {name for name, parameter in network.named_parameters() if parameter.is_meta}
    linears = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    kept = {name for name in linears if name.startswith("image_encoder") and ("up" in name or "down" in name)}
    assert missing == linears - kept - {"text_decoder.output.weight"}
    assert pair.network() is network and not any(parameter.is_meta for parameter in network.parameters())
    assert pair.running is not network, "looked at, not handed out"


def test_other_types_compute_themselves() -> None:
    network = make(CONFIGS["vit"]).double()
    assert Accelerated(network).accelerate().running is network


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_are_fast_too_and_apart(copy_of: Any) -> None:
    network = make(CONFIGS["vit"])
    expected = results(network)
    pair = Accelerated(network).accelerate()
    other = copy_of(pair)
    other.hand_out().text_decoder.output.bias.data += torch.randn(61)
    assert_same(results(pair.running), expected)
    assert not torch.allclose(results(other.running)[0], expected[0])
    again = copy_of(pair)
    assert again.running is not again.network()
    assert_same(results(again.running), expected)


def edit_data(model: Git) -> None:
    model.text_decoder.output.bias.data[5] += 50


def edit_numpy(model: Git) -> None:
    model.text_decoder.output.bias.detach().numpy()[5] += 50


def load_state(model: Git) -> None:
    model.load_state_dict({**model.state_dict(), "text_decoder.output.bias": torch.arange(61.0)})


def add_hook(model: Git) -> None:
    model.text_decoder.output.register_forward_hook(lambda module, inputs, output: output + torch.arange(61.0))


def replace_module(model: Git) -> None:
    model.text_decoder.output = nn.Linear(32, 61)


def learn(model: Git) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()
    model(torch.randn(2, 3, 32, 32), torch.randint(0, 61, (2, 1, 5)))[..., 7].mean().backward()
    optimiser.step()
    model.eval()


@pytest.mark.parametrize("change", [edit_data, edit_numpy, load_state, add_hook, replace_module, learn])
@pytest.mark.parametrize("late", [False, True])
def test_whatever_is_done_to_the_network_is_what_computes(change: Any, late: bool) -> None:
    """Also to one that was handed out long before."""
    pair = Accelerated(make(CONFIGS["vit"])).accelerate()
    before = results(pair.running)
    network = pair.hand_out()
    if late:
        results(pair.running)
    change(network)
    found = results(pair.running)
    assert not torch.allclose(found[0], before[0])
    assert_same(found, results(network))


def test_a_scribe_hands_out_an_ordinary_module(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    photo = photos / "photo1.png"
    scribe = picscribe.load(tiny_model)
    expected = scribe.caption(photo)
    assert scribe.config.frames == 0 and scribe.fingerprint() == picscribe.load(tiny_model).fingerprint()
    assert scribe._network.running is not scribe._network._network, "what asks for neither is fast"
    state = {name: tensor.clone() for name, tensor in scribe.model.state_dict().items()}
    loaded = load(tiny_model).model.state_dict()
    assert state.keys() == loaded.keys() and all(torch.equal(state[name], loaded[name]) for name in state)
    assert scribe.caption(photo).text == expected.text
    scribe.model.text_decoder.output.bias.data[scribe.tokenizer.vocabulary.index("dog")] += 1000
    assert set(scribe.caption(photo, beams=1).text.split()) == {"dog"}
    save(scribe.checkpoint, tmp_path / "edited")
    assert set(picscribe.load(tmp_path / "edited").caption(photo, beams=1).text.split()) == {"dog"}
    scribe.model.load_state_dict(state)
    assert scribe.caption(photo).text == expected.text
    for other in (
        copy.deepcopy(scribe),
        pickle.loads(pickle.dumps(scribe)),
        pickle.loads(pickle.dumps(picscribe.load(tiny_model))),
    ):
        assert other.caption(photo).text == expected.text


def test_the_package_leaves_the_fast_form_alone() -> None:
    """What asks for `Scribe.model` or `Scribe.checkpoint` makes whatever comes after it slower."""
    package = Path(picscribe.__file__).parent
    asking = re.compile(r"scribe\.(model|checkpoint)\b(?!s)")
    found = [
        (str(file.relative_to(package)), line.strip())
        for file in package.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if asking.search(line) and "import" not in line
    ]
    assert found == []


def test_another_encoder_in_the_networks_place(tiny_model: Path, photos: Path) -> None:
    scribe, seen = picscribe.load(tiny_model), list[tuple[int, ...]]()
    expected = scribe.caption(photos / "photo1.png")

    class Blind:
        def __init__(self, encoder: Callable[[Tensor], Tensor]) -> None:
            self.encoder = encoder

        def __call__(self, pixels: Tensor) -> Tensor:
            seen.append(tuple(pixels.shape))
            return self.encoder(torch.zeros_like(pixels))

    assert isinstance(scribe.wrap_encoder(Blind), Blind)
    captions = [scribe.caption(photos / name) for name in ("photo1.png", "photo2.png")]
    assert captions[0].tokens == captions[1].tokens and captions[0].score != expected.score
    assert "".join(scribe.stream(photos / "photo1.png")) == scribe.caption(photos / "photo2.png", beams=1).text
    assert seen == [(1, 3, 32, 32)] * 4


MEMORY = """
import ctypes, gc, json, sys
import picscribe

def resident():
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what is freed and kept for layers to come is no weight
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) * 1024

picscribe.load(sys.argv[1])  # brings in the code
before = resident()
scribe = picscribe.load(sys.argv[2], dtype=sys.argv[3])
fast = resident() - before
size = sum(parameter.nbytes for parameter in scribe.model.parameters())
print(json.dumps([fast / size, size]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read off /proc")
def test_weights_are_in_memory_once(tiny_model: Path, tmp_path: Path) -> None:
    """Mapped from a file, and those that are put together out of several of a file's tensors."""
    tiny = load(tiny_model)
    image = ClipVitConfig(width=512, layers=4, heads=8, mlp_width=2048, patch_size=16, image_size=32)
    text = TextDecoderConfig(**{**vars(tiny.model.config.text_decoder), "width": 512, "layers": 4, "mlp_width": 2048})
    model = Git(GitConfig(image, text)).eval()
    save(Checkpoint(model, tiny.tokenizer, tiny.preprocessing, "large", tmp_path), tmp_path / "large")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tiny_model), str(tmp_path / "large"), "float32"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    share, size = json.loads(done.stdout)
    assert size > 90e6
    assert 0.9 < share < 1.1


@pytest.mark.parametrize("model", ["tiny", "nano"])
def test_int8_results_do_not_depend_on_the_batch(model: str, tiny_model: Path, photos: Path) -> None:
    scribe = picscribe.load(tiny_model if model == "tiny" else "nano", quantize="int8")
    images = [photos / f"photo{number}.png" for number in range(1, 8)]
    alone = [scribe.caption(image) for image in images]
    for one, batched in zip(alone, scribe.caption(images, batch_size=7), strict=True):
        assert batched.text == one.text
        assert batched.score == pytest.approx(one.score, abs=1e-5)
