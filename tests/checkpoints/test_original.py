"""The original's model.pt and parameter.yaml: read, written, and converted to Hugging Face's layout and back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from picscribe.checkpoints import Checkpoint, load, save, save_original
from picscribe.checkpoints.original import config_of_tensors, load_original_model, read_original_tensors
from picscribe.checkpoints.tensor_names import HUGGING_FACE, HUGGING_FACE_EXTRAS, ORIGINAL, empty_model, stored_tensors
from picscribe.checkpoints.weights import fill, gather, scatter
from picscribe.errors import CheckpointError
from picscribe.media.preprocessing import Preprocessing

MakeCheckpoint = Callable[..., Checkpoint]


def assert_equal_weights(one: Checkpoint, other: Checkpoint) -> None:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = torch.load(folder / "model.pt", weights_only=True)["model"]
    change(tensors)
    torch.save({"model": tensors}, folder / "changed.pt")
    (folder / "changed.pt").replace(folder / "model.pt")  # a loaded model may be mapped from the earlier file


@pytest.mark.parametrize("changes", [{}, {"frames": 3}, {"tied": True}])
def test_original_there_and_back(changes: dict[str, object], make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    saved = make_checkpoint(**changes)
    save_original(saved, tmp_path / "one")
    loaded = load(tmp_path / "one")
    assert_equal_weights(saved, loaded)
    assert loaded.model.config == saved.model.config
    assert loaded.preprocessing == saved.preprocessing
    save(loaded, tmp_path / "hugging face")
    save_original(load(tmp_path / "hugging face"), tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "model.pt", weights_only=True)["model"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "one" / "parameter.yaml").read_text() == (tmp_path / "two" / "parameter.yaml").read_text()


def test_golden_files_come_back_bit_for_bit(golden: Path, tmp_path: Path) -> None:
    """Through picscribe's network and both layouts' names."""
    for file in sorted(golden.glob("*.pt")):
        tensors = read_original_tensors(file)
        config = config_of_tensors(tensors, file, image_encoder_heads=4, text_decoder_heads=4, cls_id=1, sep_id=2)
        model = load_original_model(file, dict(tensors), config)
        assert config.text_decoder.tie_output
        assert model.text_decoder.output.weight is model.text_decoder.word_embedding.weight
        names = stored_tensors(model, HUGGING_FACE)
        through = scatter(model, names, torch.float32, keep_tied=False)
        again = fill(empty_model(config), gather(through, names, HUGGING_FACE_EXTRAS, "memory"), "memory")
        back = scatter(again, stored_tensors(again, ORIGINAL), torch.float32, keep_tied=True)
        assert back.keys() == tensors.keys()
        assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_the_unused_clip_projection_of_released_files_is_ignored(original_folder: Path) -> None:
    expected = load(original_folder)

    def add(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[f"module.{name}"] = tensors.pop(name)
        tensors["module.image_encoder.proj"] = torch.zeros(48, 32)

    rewrite(original_folder, add)
    assert_equal_weights(load(original_folder), expected)


def test_weights_in_the_downloads_subfolder(original_folder: Path) -> None:
    (original_folder / "snapshot").mkdir()
    (original_folder / "model.pt").rename(original_folder / "snapshot" / "model.pt")
    assert load(original_folder).name == "original"


def test_positions_are_resized_at_load_as_in_the_original(original_folder: Path) -> None:
    before = load(original_folder).model.image_encoder.position_embedding
    parameters = yaml.safe_load((original_folder / "parameter.yaml").read_text())
    parameters |= {"test_crop_size": 56, "test_respect_ratio_max": 80}
    (original_folder / "parameter.yaml").write_text(yaml.safe_dump(parameters))
    loaded = load(original_folder)
    assert loaded.preprocessing == Preprocessing(56, "keep_aspect", 80)
    assert loaded.model.config.image_encoder.image_size == 56
    after = loaded.model.image_encoder.position_embedding
    assert after.shape == (1 + 7 * 7, 48)
    assert torch.equal(after[0], before[0])
    grid = before[1:].reshape(4, 4, 48).permute(2, 0, 1)[None]
    expected = F.interpolate(grid, (7, 7), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).reshape(49, 48)
    torch.testing.assert_close(after[1:], expected)


def test_sizes_of_a_released_model_need_no_parameters(original_folder: Path) -> None:
    """Heads are width / 64 where nobody says otherwise; here that does not go."""
    parameters = yaml.safe_load((original_folder / "parameter.yaml").read_text())
    assert parameters.pop("image_encoder_heads") == 4
    (original_folder / "parameter.yaml").write_text(yaml.safe_dump(parameters))
    with pytest.raises(CheckpointError, match="image_encoder_heads"):
        load(original_folder)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("image_encoder_type: CLIPViT_B_32", "image_encoder_type must be"),
        ("image_encoder_type: CLIPViT_L_14", "image_encoder_type CLIPViT_L_14 has width"),
        ("visual_feature_size: 64", "visual_feature_size is 64, but the tensors have 48"),
        ("num_image_with_embedding: 6", "num_image_with_embedding is 6, but the tensors have 0"),
        ("test_crop_size: big", "test_crop_size must be"),
        ("test_crop_size: 5000", "test_crop_size must be a whole number from 1 to 4096"),
        ("test_respect_ratio_max: 5000", "test_respect_ratio_max must be a whole number from 1 to 4096"),
        ("embedding_norm_eps: 1" + "0" * 400, "embedding_norm_eps must be a number from 0"),
        ("test_crop_size: 0x1" + "0" * 9000, "test_crop_size must be .* a number of thousands of digits|int instance"),
        ("test_crop_size: !!bool maybe", "not valid YAML"),
        ("a: &a [1]\ntest_crop_size: *a", "not valid YAML: aliases"),
        ("test_crop_size: " + "[" * 20_000, "not valid YAML"),
        ("# " + "x" * (1 << 16), "too many for this kind of file"),
        ("test_crop_sise: 480", "unknown key.*test_crop_sise"),
        ("{test_crop_size: 64, test_respect_ratio_max: 32}", "longer_edge"),
        ("[1, 2]", "must contain settings"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['echo ran > ran']", "not valid YAML"),
    ],
)
def test_parameters_that_do_not_fit(parameters: str, named: str, original_folder: Path) -> None:
    if parameters[0].isalpha() and "[" not in parameters:
        parameters += "\nimage_encoder_heads: 4\ntext_decoder_heads: 4\n"
    elif parameters[0] == "{":
        parameters = parameters[:-1] + ", image_encoder_heads: 4, text_decoder_heads: 4}"
    (original_folder / "parameter.yaml").write_text(parameters)
    with pytest.raises(CheckpointError, match=named):
        load(original_folder)


def test_vocabulary_is_asked_for(original_folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (original_folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"copy bert-base-uncased's vocab\.txt"):
        load(original_folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lite": 0}, "CLIP image encoders only"),
        ({"preprocessing": Preprocessing(32, "square")}, "a centre crop or the kept aspect"),
        ({"preprocessing": Preprocessing(32, mean=(0.5, 0.5, 0.5))}, "CLIP's mean"),
        ({"preprocessing": Preprocessing(48)}, "one size"),
    ],
)
def test_what_the_format_cannot_say(
    changes: dict[str, object], named: str, make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=named):
        save_original(make_checkpoint(**changes), tmp_path / "original")
    assert not (tmp_path / "original").exists()
