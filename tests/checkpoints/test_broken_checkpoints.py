"""Checkpoints that are broken or hostile: each is one clear CheckpointError that names the file, and none runs code."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from picscribe.checkpoints import describe, load
from picscribe.errors import CheckpointError

Break = Callable[[Path], None]
WEIGHTS = "model.safetensors"
UP = "git.encoder.layer.0.intermediate.dense.weight"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in safetensors.torch.load_file(folder / WEIGHTS).items()}


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Break:
    def apply(folder: Path) -> None:
        tensors = tensors_of(folder)
        change(tensors)
        safetensors.torch.save_file(tensors, folder / WEIGHTS)

    return apply


def change_json(file: str, change: Callable[[dict], object]) -> Break:  # type: ignore[type-arg]
    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return apply


def write(file: str, content: bytes) -> Break:
    return lambda folder: (folder / file).write_bytes(content) and None


def remove(*files: str) -> Break:
    return lambda folder: [(folder / file).unlink() for file in files] and None


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch code-has-run",))


def pickle_with_code(file: str, protocol: int = 2) -> Break:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        torch.save({"git.embeddings.word_embeddings.weight": RunsCode()}, folder / file, pickle_protocol=protocol)

    return apply


def bare_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(RunsCode()))


def pickle_of(content: object) -> Break:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        torch.save(content, folder / "pytorch_model.bin")

    return apply


def shards(weight_map: object) -> Break:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return apply


def shards_that_both_hold(folder: Path) -> None:
    tensors = tensors_of(folder)
    (folder / WEIGHTS).unlink()
    for shard in ("model-1.safetensors", "model-2.safetensors"):
        safetensors.torch.save_file(tensors, folder / shard)
    weight_map = {name: f"model-{1 + index % 2}.safetensors" for index, name in enumerate(tensors)}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def header(size: int, text: bytes = b"{}") -> bytes:
    return struct.pack("<Q", size) + text


def overlapping() -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    text = json.dumps({"a": entry, "b": entry | {"data_offsets": [4, 12]}}).encode()
    return header(len(text), text) + bytes(12)


def set_value(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors[name].view(-1).__setitem__(3, value)


BROKEN: dict[str, tuple[Break, str]] = {
    "empty folder": (empty, "not a checkpoint.*it is empty"),
    "no config": (remove("config.json"), "neither config.json nor model.pt"),
    "no preprocessor": (remove("preprocessor_config.json"), "preprocessor_config.json is missing"),
    "no tokenizer": (remove("tokenizer.json", "vocab.txt"), "neither tokenizer.json nor vocab.txt"),
    "no weights": (remove(WEIGHTS), "has no weights"),
    "config is not JSON": (write("config.json", b"model_type: git"), r"config\.json: is not valid JSON"),
    "config is binary": (write("config.json", b"\xff\xfe\x00"), r"config\.json: is UTF-16 text"),
    "config is a list": (write("config.json", b"[]"), "must contain a JSON object, found a list"),
    "config is deeply nested": (write("config.json", b"[" * 200_000), r"config\.json: is not valid JSON"),
    "config is empty": (write("config.json", b""), r"config\.json: is empty"),
    "config key missing": (change_json("config.json", lambda c: c.pop("hidden_size")), "key hidden_size is missing"),
    "config key of a wrong type": (
        change_json("config.json", lambda c: c.update(hidden_size="32")),
        "key hidden_size must",
    ),
    "config key true": (
        change_json("config.json", lambda c: c.update(num_hidden_layers=True)),
        "key num_hidden_layers",
    ),
    "config of endless layers": (
        change_json("config.json", lambda c: c.update(num_hidden_layers=10**9)),
        "num_hidden_layers",
    ),
    "config of endless width": (change_json("config.json", lambda c: c.update(hidden_size=10**18)), "key hidden_size"),
    "config of huge width": (
        change_json("config.json", lambda c: c.update(hidden_size=1 << 24)),
        "has shape.*expected",
    ),
    "config with NaN": (change_json("config.json", lambda c: c.update(layer_norm_eps=float("nan"))), "layer_norm_eps"),
    "config of a norm's eps beyond all floats": (
        change_json("config.json", lambda c: c.update(layer_norm_eps=10**400)),
        "layer_norm_eps must be a number from 0 to a million",
    ),
    "config of more digits than Python reads": (
        write("config.json", b'{"hidden_size": 1' + b"0" * 5000 + b"}"),
        r"config\.json: is not valid JSON",
    ),
    "config of too many bytes": (write("config.json", b" " * (17 << 20)), "too many for this kind of file"),
    "config with a long value": (
        change_json("config.json", lambda c: c.update(hidden_size=[[0] * 50] * 1000)),
        r"hidden_size must be a whole number from 1 to \d+, not .{1,200}$",
    ),
    "unknown model type": (
        change_json("config.json", lambda c: c.update(model_type="blip")),
        "model_type must be 'git' or",
    ),
    "no model type": (change_json("config.json", lambda c: c.pop("model_type")), "key model_type is missing"),
    "other activation": (
        change_json("config.json", lambda c: c.update(hidden_act="relu")),
        "hidden_act must be 'gelu'",
    ),
    "other vision activation": (
        change_json("config.json", lambda c: c["vision_config"].update(hidden_act="gelu")),
        r"vision_config\.hidden_act must be 'quick_gelu'",
    ),
    "no vision config": (change_json("config.json", lambda c: c.pop("vision_config")), "key vision_config is missing"),
    "vision config is text": (
        change_json("config.json", lambda c: c.update(vision_config="x")),
        "vision_config must be an",
    ),
    "heads do not divide": (change_json("config.json", lambda c: c.update(num_attention_heads=5)), "multiple of heads"),
    "start outside vocabulary": (
        change_json("config.json", lambda c: c.update(bos_token_id=999)),
        "outside the vocabulary",
    ),
    "start is another word": (
        change_json("config.json", lambda c: c.update(bos_token_id=5)),
        r"\[CLS\] is 5 in the model",
    ),
    "vocabulary of another size": (
        write("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n"),
        "the tokenizer has 4 words, the model",
    ),
    "truncated weights": (truncate, f"{WEIGHTS} is not a complete safetensors file"),
    "empty weights": (write(WEIGHTS, b""), "not a complete safetensors file"),
    "weights are text": (write(WEIGHTS, b"some text\n"), "not a complete safetensors file"),
    "huge header": (write(WEIGHTS, header(1 << 60)), "not a complete safetensors file"),
    "header that is no JSON": (write(WEIGHTS, header(4, b"\x00\x01\x02\x03")), "not a complete safetensors file"),
    "tensors that overlap": (write(WEIGHTS, overlapping()), "not a complete safetensors file"),
    "no tensors": (write(WEIGHTS, header(2)), "problems\n  missing tensor"),
    "missing tensor": (change_tensors(lambda t: t.pop(UP)), rf"missing tensor {UP}, expected shape \(64, 32\)"),
    "unexpected tensor": (
        change_tensors(lambda t: t.update(surprise=torch.zeros(3, 4))),
        r"unexpected tensor surprise of shape \(3, 4\)",
    ),
    "wrong shape": (
        change_tensors(lambda t: t.update({UP: torch.zeros(64, 31)})),
        rf"{UP} has shape \(64, 31\), expected \(64, 32\)",
    ),
    "transposed": (
        change_tensors(lambda t: t.update({UP: t[UP].T.contiguous()})),
        r"has shape \(32, 64\), expected \(64, 32\)",
    ),
    "whole numbers": (change_tensors(lambda t: t.update({UP: t[UP].to(torch.int32)})), f"{UP} has type torch.int32"),
    "NaN": (change_tensors(set_value(UP, float("nan"))), f"{UP} has values that are not finite"),
    "infinite": (
        change_tensors(set_value("output.bias", float("-inf"))),
        r"output\.bias has values that are not finite",
    ),
    "pickle with code": (pickle_with_code("pytorch_model.bin"), "contains code, which picscribe never runs"),
    "newer pickle with code": (pickle_with_code("pytorch_model.bin", 4), "contains code, which picscribe never runs"),
    "bare pickle with code": (bare_pickle, "contains code, which picscribe never runs"),
    "pickle of a list": (pickle_of([torch.zeros(1)]), "must contain a dictionary of tensors, but contains a list"),
    "pickle of numbers": (pickle_of({UP: 3}), "not a plain tensor, but a int"),
    "pickle of sparse tensors": (pickle_of({UP: torch.zeros(64, 32).to_sparse()}), "is not a plain tensor"),
    "empty pickle": (pickle_of({}), "must contain a dictionary of tensors"),
    "shard in the folder above": (
        shards({UP: "../secret.safetensors"}),
        "must be the name of a .safetensors or .bin file",
    ),
    "shard at an absolute path": (shards({UP: "/etc/passwd"}), "must be the name of a .safetensors or .bin file"),
    "shard that is no weights": (shards({UP: "config.json"}), "must be the name of a .safetensors or .bin file"),
    "shard that is a number": (shards({UP: 1}), "must be the name of a .safetensors or .bin file"),
    "shard of a long name": (shards({UP: "x" * 5000}), r"json: .{1,100} must be the name of a \.safetensors"),
    "shard that is missing": (shards({UP: "model-00002-of-00002.safetensors"}), "1 shard.s. of its index are missing"),
    "no weight map": (shards(None), "`weight_map` must be an object"),
    "index of other tensors": (shards({UP: "model-00001-of-00001.safetensors"}), "its shards differ in"),
    "doubled tensors": (shards_that_both_hold, "has tensors of another shard"),
    "tied, but another output": (
        change_json("config.json", lambda c: c.update(tie_word_embeddings=True)),
        "ties the output weight to the word embedding",
    ),
}
UNSEEN_BY_DESCRIBE = {"NaN", "infinite", "tied, but another output"}  # these need the weights' values


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_clear_error(case: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_folder.parent)
    load(tiny_folder)
    break_it, named = BROKEN[case]
    if case == "vocabulary of another size":
        (tiny_folder / "tokenizer.json").unlink()
    break_it(tiny_folder)
    with pytest.raises(CheckpointError, match=f"(?s){named}"):
        load(tiny_folder)
    assert not (tiny_folder.parent / "code-has-run").exists()
    if case not in UNSEEN_BY_DESCRIBE:
        problems = "\n".join(describe(tiny_folder).problems)
        assert problems, "`describe` found nothing"
    assert not (tiny_folder.parent / "code-has-run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x02}q\x00.", pickle.dumps(RunsCode())])
def test_a_broken_original_is_one_clear_error(
    content: bytes, original_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original_folder.parent)
    (original_folder / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load(original_folder)
    assert describe(original_folder).problems
    assert not (original_folder.parent / "code-has-run").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("textual.output.bias"), "missing tensor textual.output.bias"),
        (lambda t: t.update({"more": torch.zeros(2)}), "unexpected tensor more"),
        (lambda t: t.pop("image_encoder.conv1.weight"), "not an original GIT model"),
        (lambda t: t.update({"image_encoder.conv1.weight": torch.zeros(48)}), "expected 4 axes"),
        (lambda t: t.update({"image_encoder.positional_embedding": torch.zeros(18, 48)}), "square number"),
        (lambda t: t.update({"module.image_encoder.ln_pre.bias": torch.zeros(48)}), "twice"),
        (lambda t: t.clear(), "must contain a dictionary of tensors"),
    ],
)
def test_original_tensors_that_do_not_fit(
    change: Callable[[dict[str, torch.Tensor]], object], named: str, original_folder: Path
) -> None:
    tensors = torch.load(original_folder / "model.pt", weights_only=True)["model"]
    change(tensors)
    torch.save({"model": tensors}, original_folder / "model.pt")
    with pytest.raises(CheckpointError, match=named):
        load(original_folder)
    assert describe(original_folder).problems


def test_every_problem_is_listed_and_the_list_is_bounded(tiny_folder: Path) -> None:
    tensors = tensors_of(tiny_folder)
    names = sorted(tensors)
    del tensors[names[0]], tensors[names[1]]
    tensors["surprise"] = torch.zeros(1)
    safetensors.torch.save_file(tensors, tiny_folder / WEIGHTS)
    with pytest.raises(CheckpointError) as caught:
        load(tiny_folder)
    for named in ("3 problems", names[0], names[1], "surprise"):
        assert named in str(caught.value)
    safetensors.torch.save_file({f"t{index}": torch.zeros(1) for index in range(5000)}, tiny_folder / WEIGHTS)
    with pytest.raises(CheckpointError) as caught:
        load(tiny_folder)
    assert len(str(caught.value).splitlines()) <= 25
    assert "more" in str(caught.value).splitlines()[-1]


def test_a_folder_that_may_not_be_looked_into(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **options: object) -> bool:  # permissions would not keep root out
        raise PermissionError(13, "Permission denied", str(self))

    for method in ("exists", "iterdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            if method == "exists":
                with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)"):
                    load(tiny_folder)
            assert "Permission denied" in "\n".join(describe(tiny_folder).problems)


def test_every_wrong_key_is_listed(tiny_folder: Path) -> None:
    content = json.loads((tiny_folder / "config.json").read_text())
    del content["hidden_size"]
    content["vocab_size"] = -1
    content["vision_config"]["patch_size"] = [16, 16]
    (tiny_folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as caught:
        load(tiny_folder)
    for key in ("hidden_size", "vocab_size", "vision_config.patch_size"):
        assert key in str(caught.value)
