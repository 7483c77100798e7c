"""Folders that transformers writes, and folders that it reads: with the version of it that is installed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from picscribe.checkpoints import describe, load, save
from picscribe.checkpoints.preprocessor_config import read_preprocessing
from picscribe.errors import CheckpointError
from picscribe.media.preprocessing import CLIP_MEAN, Preprocessing

transformers = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "dog"]
CLIP_FILE = {
    **{"image_processor_type": "CLIPImageProcessor", "do_center_crop": True, "resample": 3, "crop_size": 32},
    **{"size": {"shortest_edge": 32}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
}


def save_by_transformers(folder: Path, frames: int | None = None, **options: Any) -> Any:
    """A tiny GIT with its processor, as `save_pretrained` of both writes them."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**vision, "max_position_embeddings": 32, "bos_token_id": 2, "eos_token_id": 3, "vocab_size": len(WORDS)}
    vision |= {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    model = transformers.GitForCausalLM(
        transformers.GitConfig(vision_config=vision, num_image_with_embedding=frames, **text)
    )
    model.save_pretrained(folder, **options)
    vocabulary = folder.with_name("words.txt")
    vocabulary.write_text("\n".join(WORDS) + "\n")
    tokenizer = transformers.BertTokenizerFast(
        vocab={word: index for index, word in enumerate(WORDS)}, vocab_file=str(vocabulary)
    )
    processor_type = transformers.VideoMAEImageProcessor if frames else transformers.CLIPImageProcessor
    processor = transformers.GitProcessor(processor_type(size={"shortest_edge": 32}, crop_size=32), tokenizer)
    processor.chat_template = "{{ messages }}"
    processor.save_pretrained(folder)
    return model


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "40KB"}])
@pytest.mark.parametrize("frames", [None, 3])
def test_what_transformers_saves_is_loaded(frames: int | None, options: dict[str, Any], tmp_path: Path) -> None:
    theirs = save_by_transformers(tmp_path / "theirs", frames, **options)
    names = {file.name for file in (tmp_path / "theirs").iterdir()}
    assert ("model.safetensors.index.json" in names) == bool(options)
    ours = load(tmp_path / "theirs")
    assert ours.tokenizer.vocabulary == tuple(WORDS)
    assert (ours.preprocessing.size, ours.preprocessing.mode) == (32, "center_crop")
    assert ours.preprocessing.mean == (CLIP_MEAN if frames is None else (0.5, 0.5, 0.5))
    assert ours.model.config.frames == (frames or 0)
    words = theirs.git.embeddings.word_embeddings.weight
    assert torch.equal(ours.model.text_decoder.word_embedding.weight, words)
    assert describe(tmp_path / "theirs").problems == ()


@pytest.mark.parametrize("frames", [None, 3])
def test_what_is_saved_transformers_loads_whole(frames: int | None, tmp_path: Path) -> None:
    """Versions 4 and 5 spell the temporal embeddings differently, and neither reads the other's spelling."""
    save_by_transformers(tmp_path / "theirs", frames)
    ours = load(tmp_path / "theirs")
    save(ours, tmp_path / "ours", dtype=torch.float16)
    model, found = transformers.GitForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not found["missing_keys"] and not found["mismatched_keys"]
    assert all("img_temp" in name for name in found["unexpected_keys"])
    for name, tensor in model.state_dict().items():
        if "img_temp" in name:
            place = int(name.rpartition(".")[2])
            assert torch.equal(tensor.reshape(-1).half(), ours.model.temporal_embedding[place].half())
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "ours")
    assert tuple(processor.image_processor.image_mean) == ours.preprocessing.mean
    assert processor.tokenizer("a dog")["input_ids"] == [2, 5, 14, 3]
    names = {file.name for file in (tmp_path / "ours").iterdir()}
    assert {"preprocessor_config.json", "vocab.txt", "tokenizer.json"} <= names, "what version 4 reads"
    tensors = safetensors.torch.load_file(tmp_path / "ours" / "model.safetensors")
    for spelling in ("temporal", "temperal"):
        assert [f"git.img_{spelling}_embedding.{place}" in tensors for place in range(3)] == [bool(frames)] * 3


def test_the_nested_image_processor_counts(tiny_folder: Path) -> None:
    nested = {**CLIP_FILE, "image_mean": [0.5, 0.5, 0.5], "do_pad": None, "do_center_crop": None}
    (tiny_folder / "preprocessor_config.json").write_text(json.dumps(CLIP_FILE))
    (tiny_folder / "processor_config.json").write_text(json.dumps({"image_processor": nested}))
    assert load(tiny_folder).preprocessing.mean == (0.5, 0.5, 0.5)
    found = describe(tiny_folder)
    assert found.problems == ()
    assert found.notes == (
        "preprocessor_config.json and processor_config.json differ in do_center_crop, image_mean: "
        "processor_config.json is used",
    )
    (tiny_folder / "preprocessor_config.json").unlink()
    assert load(tiny_folder).preprocessing.mean == (0.5, 0.5, 0.5)


def test_version_4_has_a_processor_file_without_an_image_processor(tiny_folder: Path) -> None:
    (tiny_folder / "processor_config.json").write_text('{"processor_class": "GitProcessor"}')
    (tiny_folder / "preprocessor_config.json").write_text(json.dumps(CLIP_FILE))
    assert load(tiny_folder).preprocessing.mean == (0.1, 0.2, 0.3)
    assert describe(tiny_folder).notes == ()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            {"processor_class": "GitProcessor"},
            r"preprocessor_config\.json is missing, and processor_config\.json has no",
        ),
        ({"image_processor": [1]}, r"processor_config\.json: key image_processor must be an object, not \[1\]"),
        ({"image_processor": {}}, r"key image_processor\.image_mean is missing"),
        ({"image_processor": {**CLIP_FILE, "resample": 0}}, r"key image_processor\.resample must be 3"),
        ([], r"processor_config\.json: must contain a JSON object"),
        (None, r"preprocessor_config\.json is missing, and processor_config\.json too"),
    ],
)
def test_processor_files_that_cannot_be_followed(content: Any, named: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=named):
        read_preprocessing(tmp_path)


def test_saving_replaces_a_nested_image_processor(tiny_folder: Path) -> None:
    checkpoint = replace(load(tiny_folder), preprocessing=Preprocessing(32, "square"))
    (tiny_folder / "processor_config.json").write_text(json.dumps({"image_processor": CLIP_FILE}))
    save(checkpoint, tiny_folder)
    assert load(tiny_folder).preprocessing == Preprocessing(32, "square")


def test_byte_order_marks_do_no_harm(tiny_folder: Path) -> None:
    before = load(tiny_folder)
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (tiny_folder / name).write_bytes(b"\xef\xbb\xbf" + (tiny_folder / name).read_bytes())
    after = load(tiny_folder)
    (tiny_folder / "tokenizer.json").unlink()
    assert load(tiny_folder).tokenizer.vocabulary == after.tokenizer.vocabulary == before.tokenizer.vocabulary
    assert after.preprocessing == before.preprocessing and after.model.config == before.model.config


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_of_wrappers_are_taken_off(prefix: str, tiny_folder: Path, original_folder: Path) -> None:
    expected = load(tiny_folder).model.state_dict()
    file = tiny_folder / "model.safetensors"
    tensors = {prefix + name: tensor.clone() for name, tensor in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(tensors, file)
    assert describe(tiny_folder).problems == ()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(tiny_folder).model.state_dict().items())
    file.unlink()
    torch.save({"state_dict": tensors}, tiny_folder / "pytorch_model.bin")
    load(tiny_folder)
    tensors[next(iter(expected)) and "git.embeddings.word_embeddings.weight"] = torch.zeros(1)
    torch.save(tensors, tiny_folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight twice, with and without the prefix 'module\."):
        load(tiny_folder)
    content = torch.load(original_folder / "model.pt", weights_only=True)["model"]
    torch.save({"model": {prefix + name: tensor for name, tensor in content.items()}}, original_folder / "model.pt")
    load(original_folder)


def test_compiled_parts_have_the_mark_within_their_names(tiny_folder: Path) -> None:
    file = tiny_folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file(
        {n.replace("git.image_encoder.", "git.image_encoder._orig_mod."): t.clone() for n, t in tensors.items()}, file
    )
    load(tiny_folder)


def pad_rows(folder: Path, rows: int) -> None:
    """As `resize_token_embeddings(pad_to_multiple_of=…)` leaves a folder."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    for name in ("git.embeddings.word_embeddings.weight", "output.weight", "output.bias"):
        more = torch.full((rows - len(tensors[name]), *tensors[name].shape[1:]), 9.0)
        tensors[name] = torch.cat([tensors[name], more])
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))


@pytest.mark.parametrize("multiple", [8, 64, 128])
def test_padded_rows_of_the_vocabulary_are_left_out_with_a_note(
    multiple: int, tiny_folder: Path, tmp_path: Path
) -> None:
    exact = load(tiny_folder)
    words = exact.tokenizer.vocabulary_size
    rows = -(-words // multiple) * multiple
    pad_rows(tiny_folder, rows)
    with pytest.warns(UserWarning, match=f"{rows} rows for {words} words: the {rows - words} rows of padding"):
        loaded = load(tiny_folder)
    assert loaded.model.config == exact.model.config
    pixels, tokens = torch.randn(1, 3, 32, 32), torch.tensor([[[2, 5]]])
    with torch.no_grad():
        assert torch.equal(loaded.model(pixels, tokens), exact.model(pixels, tokens))
    found = describe(tiny_folder)
    assert found.problems == () and found.notes == (
        f"the vocabulary has {rows} rows for {words} words: the {rows - words} rows of padding are left out",
    )
    save(loaded, tmp_path / "again")
    assert describe(tmp_path / "again").notes == ()


def test_rows_that_are_not_padding_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    words = load(tiny_folder).tokenizer.vocabulary_size
    for rows in (words + 1, words + 256 + (-words % 256)):
        shutil.copytree(tiny_folder, tmp_path / str(rows))
        pad_rows(tmp_path / str(rows), rows)
        with pytest.raises(CheckpointError, match=f"the tokenizer has {words} words, the model {rows}"):
            load(tmp_path / str(rows))
