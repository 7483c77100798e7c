"""Reads and writes the original code's checkpoints: model.pt with parameter.yaml."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from picscribe.checkpoints.checkpoint import Checkpoint, require_exact, require_folder, vocabulary_problems
from picscribe.checkpoints.fields import MOST, Fields, abridged
from picscribe.checkpoints.hugging_face import TOKENIZER_FILES
from picscribe.checkpoints.preprocessor_config import MOST_PIXELS
from picscribe.checkpoints.staging import staged_folder
from picscribe.checkpoints.tensor_names import ORIGINAL, ORIGINAL_EXTRAS, empty_model, stored_tensors
from picscribe.checkpoints.weight_files import read_pickle, without_wrappers
from picscribe.checkpoints.weights import fill, gather, raise_problems, scatter, without_padding
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.model.attention import resize_position_grid
from picscribe.text.tokenizer import Tokenizer
from picscribe.text_files import read_text

WEIGHTS, PARAMETERS = "model.pt", "parameter.yaml"
ENCODER_TYPES = {"CLIPViT_B_16": (768, 16), "CLIPViT_L_14": (1024, 14)}  # visual width, patch size
HEAD_WIDTH = 64  # of every released checkpoint, image encoder and text decoder alike
EMBEDDING_NORM_EPS = 1e-8
LARGEST_PARAMETERS = 1 << 16  # bytes of parameter.yaml; a released one has a few hundred
KEYS = (
    *("image_encoder_type", "visual_feature_size", "test_crop_size"),
    *("test_respect_ratio_max", "num_image_with_embedding"),
    *("image_encoder_heads", "text_decoder_heads", "embedding_norm_eps"),  # picscribe's, where a model is unlike GIT's
)


def find_original_weights(folder: Path) -> Path | None:
    """A folder's model.pt, next to parameter.yaml or in `snapshot` below it as the original code downloads it."""
    for file in (folder / WEIGHTS, folder / "snapshot" / WEIGHTS):
        if file.is_file():
            return file
    return None


def read_original_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a model.pt, memory-mapped, see `without_wrappers`. Raises CheckpointError."""
    return without_wrappers(read_pickle(file), file)


def _heads(width: int, given: int | None, what: str, file: Path) -> int:
    if given is None and width % HEAD_WIDTH:
        raise CheckpointError(
            f"{file}: the tensors do not give the number of {what} heads, and the width {width} is not a multiple of "
            f"{HEAD_WIDTH}: set {what}_heads in {PARAMETERS}"
        )
    return given or width // HEAD_WIDTH


def config_of_tensors(
    tensors: dict[str, Tensor],
    file: Path,
    *,
    image_encoder_heads: int | None = None,
    text_decoder_heads: int | None = None,
    cls_id: int = 101,
    sep_id: int = 102,
    embedding_norm_eps: float = EMBEDDING_NORM_EPS,
) -> GitConfig:
    """The sizes of an original model, read off its tensors; heads are width / 64 where not given.

    Raises CheckpointError where the tensors are not those of a GIT model.
    """
    patch = _shape(tensors, "image_encoder.conv1.weight", 4, file)
    positions = _shape(tensors, "image_encoder.positional_embedding", 2, file)
    words = _shape(tensors, "textual.embedding.words.weight", 2, file)
    image_blocks = _count(tensors, "image_encoder.transformer.resblocks.", file)
    text_layers = _count(tensors, "textual.transformer.encoder.layer.", file)
    side = round((positions[0] - 1) ** 0.5)
    if side < 1 or side * side + 1 != positions[0]:
        raise CheckpointError(
            f"{file}: {positions[0]} image positions, expected one for the class token and a square number"
        )
    output = tensors.get("textual.output.weight")
    try:
        image = ClipVitConfig(
            width=patch[0],
            layers=image_blocks,
            heads=_heads(patch[0], image_encoder_heads, "image_encoder", file),
            mlp_width=_shape(tensors, "image_encoder.transformer.resblocks.0.mlp.c_fc.weight", 2, file)[0],
            patch_size=patch[-1],
            image_size=patch[-1] * side,
        )
        text = TextDecoderConfig(
            vocabulary_size=words[0],
            width=words[1],
            layers=text_layers,
            heads=_heads(words[1], text_decoder_heads, "text_decoder", file),
            mlp_width=_shape(tensors, "textual.transformer.encoder.layer.0.intermediate.dense.weight", 2, file)[0],
            max_positions=_shape(tensors, "textual.embedding.positions.weight", 2, file)[0],
            embedding_norm_eps=embedding_norm_eps,
            tie_output=output is not None and torch.equal(output, tensors["textual.embedding.words.weight"]),
            cls_id=cls_id,
            sep_id=sep_id,
        )
        frames = sum(name.startswith("img_temperal_embedding.") for name in tensors)
        return GitConfig(image, text, frames)
    except ConfigurationError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _shape(tensors: dict[str, Tensor], name: str, dimensions: int, file: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"{file} lacks the tensor {name}: it is not an original GIT model")
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions:
        raise CheckpointError(f"{file}: tensor {name} has shape {shape}, expected {dimensions} axes")
    return shape


def _count(tensors: dict[str, Tensor], start: str, file: Path) -> int:
    numbers = {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}
    if not numbers:
        raise CheckpointError(f"{file} lacks tensors that begin with {start}: it is not an original GIT model")
    return len(numbers)


def load_original_model(
    file: Path,
    tensors: dict[str, Tensor],
    config: GitConfig,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    words: int | None = None,
) -> Git:
    """The network of original tensors, its position grid resized for `image_size` as the original does at load.

    `words` is the vocabulary's size where the tensors' rows may be padded.

    The tensors are taken out of `tensors`, so that their memory can go.
    Raises CheckpointError that names every tensor that is missing, unexpected, of another shape or not finite.
    """
    expected = stored_tensors(empty_model(config), ORIGINAL)
    state = gather(tensors, expected, ORIGINAL_EXTRAS, file, dtype)
    config = without_padding(state, config, words)
    image = config.image_encoder
    if image_size is not None and image_size != image.image_size:
        assert isinstance(image, ClipVitConfig)
        config = replace(config, image_encoder=replace(image, image_size=image_size))
        side = image_size // image.patch_size
        positions = state["image_encoder.position_embedding"]
        state["image_encoder.position_embedding"] = torch.cat(
            [positions[:1], resize_position_grid(positions[1:], side, side)]
        )
    return fill(empty_model(config), state, file)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, with which a few lines can expand to more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        return super().compose_node(parent, index)


def read_parameters(folder: Path) -> Fields:
    """The keys of a folder's parameter.yaml; without the file, none, which is GIT-base. Raises CheckpointError."""
    file = folder / PARAMETERS
    if not file.exists():
        return Fields({}, file)
    try:
        content = yaml.load(read_text(file, LARGEST_PARAMETERS, CheckpointError), _PlainLoader)
    except CheckpointError:
        raise
    except Exception as error:  # a tag on a value that is none of its kind raises whatever reading it raises
        raise CheckpointError(f"{file} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} must contain settings (key: value), not a {type(content).__name__}")
    unknown = [abridged(key) for key in content if key not in KEYS]
    if unknown:
        raise CheckpointError(f"{file}: unknown key(s) {', '.join(unknown[:5])}; known are {', '.join(KEYS)}")
    return Fields(content, file)


def _optional(fields: Fields, key: str, most: int = MOST) -> int | None:
    return None if fields.values.get(key) is None else fields.whole(key, most=most)


def read_original_config(
    folder: Path, file: Path, tensors: dict[str, Tensor], cls_id: int, sep_id: int
) -> tuple[GitConfig, Preprocessing]:
    """Sizes and preprocessing of an original folder, from parameter.yaml and the tensors, which must agree.

    The configuration is that of the tensors as stored; the preprocessing's size is the one to resize positions for.
    """
    fields = read_parameters(folder)
    encoder = fields.choice("image_encoder_type", tuple(ENCODER_TYPES), "CLIPViT_B_16")
    heads = {name: _optional(fields, name) for name in ("image_encoder_heads", "text_decoder_heads")}
    crop, longer_edge = (_optional(fields, key, MOST_PIXELS) for key in ("test_crop_size", "test_respect_ratio_max"))
    frames, width = _optional(fields, "num_image_with_embedding"), _optional(fields, "visual_feature_size")
    embedding_eps = fields.number("embedding_norm_eps", EMBEDDING_NORM_EPS)
    fields.finish()
    config = config_of_tensors(tensors, file, **heads, cls_id=cls_id, sep_id=sep_id, embedding_norm_eps=embedding_eps)
    image = config.image_encoder
    assert isinstance(image, ClipVitConfig)
    if "image_encoder_type" in fields.values and (image.width, image.patch_size) != ENCODER_TYPES[encoder]:
        fields.problems.append(
            f"image_encoder_type {encoder} has width and patch {ENCODER_TYPES[encoder]}, "
            f"the tensors {(image.width, image.patch_size)}"
        )
    if width is not None and width != image.width:
        fields.problems.append(f"visual_feature_size is {width}, but the tensors have {image.width}")
    if frames is not None and frames != config.frames:
        fields.problems.append(f"num_image_with_embedding is {frames}, but the tensors have {config.frames}")
    fields.finish()
    try:
        size = crop or image.image_size
        if longer_edge is None:
            return config, Preprocessing(size)
        return config, Preprocessing(size, "keep_aspect", longer_edge)
    except ConfigurationError as error:
        raise CheckpointError(f"{folder / PARAMETERS}: {error}") from error


def read_original_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an original folder. Raises CheckpointError that says where its vocabulary comes from."""
    if not any((folder / vocabulary).is_file() for vocabulary in TOKENIZER_FILES[:2]):
        raise CheckpointError(
            f"{folder} has no vocabulary, because the original code downloads BERT's: "
            "copy bert-base-uncased's vocab.txt into the folder"
        )
    return Tokenizer.from_folder(folder)


def load_original(folder: Path, name: str, dtype: torch.dtype) -> Checkpoint:
    """The checkpoint of a folder with model.pt, parameter.yaml where it has one, and BERT's vocab.txt, as `dtype`.

    Raises CheckpointError that says which file is wrong and how.
    """
    require_folder(folder)
    file = find_original_weights(folder)
    if file is None:
        raise CheckpointError(f"{folder} has no {WEIGHTS}: name the folder that contains it")
    tokenizer = read_original_tokenizer(folder)
    tensors = read_original_tensors(file)
    config, preprocessing = read_original_config(folder, file, tensors, tokenizer.cls_id, tokenizer.sep_id)
    raise_problems(folder, vocabulary_problems(config, tokenizer))
    model = load_original_model(file, tensors, config, preprocessing.size, dtype, tokenizer.vocabulary_size)
    return Checkpoint(model, tokenizer, preprocessing, name, folder)


def save_original(checkpoint: Checkpoint, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `checkpoint` as model.pt, parameter.yaml and the tokenizer's files; the folder appears whole or not at all.

    `dtype` is how the weights are stored.
    Raises CheckpointError for what the original format cannot say: another image encoder or preprocessing than CLIP's.
    """
    require_exact(checkpoint, "converted back")
    model, preprocessing = checkpoint.model, checkpoint.preprocessing
    parameters = _write_parameters(model.config, preprocessing)
    tensors = scatter(model, stored_tensors(model, ORIGINAL), dtype, keep_tied=True)
    with staged_folder(Path(folder), {WEIGHTS, PARAMETERS, *TOKENIZER_FILES}) as stage:
        torch.save({"model": tensors}, stage / WEIGHTS)
        (stage / PARAMETERS).write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
        checkpoint.tokenizer.save(stage)


def _write_parameters(config: GitConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    image, text = config.image_encoder, config.text_decoder
    if not isinstance(image, ClipVitConfig):
        raise CheckpointError(
            "the original format stores CLIP image encoders only: save this model in Hugging Face's layout"
        )
    standard = Preprocessing()
    if preprocessing.mode == "square" or (preprocessing.mean, preprocessing.std) != (standard.mean, standard.std):
        raise CheckpointError(
            "the original format stores only a centre crop or the kept aspect, with CLIP's mean and std: save this "
            "model in Hugging Face's layout"
        )
    if preprocessing.size != image.image_size:
        raise CheckpointError(
            f"the original format stores one size, but this model resizes to {preprocessing.size} pixels and has "
            f"positions for {image.image_size}: save it in Hugging Face's layout"
        )
    parameters: dict[str, Any] = {"visual_feature_size": image.width, "test_crop_size": preprocessing.size}
    for encoder, sizes in ENCODER_TYPES.items():
        if sizes == (image.width, image.patch_size):
            parameters["image_encoder_type"] = encoder
    if preprocessing.longer_edge is not None:
        parameters["test_respect_ratio_max"] = preprocessing.longer_edge
    if config.frames:
        parameters["num_image_with_embedding"] = config.frames
    for key, part in (("image_encoder_heads", image), ("text_decoder_heads", text)):
        if part.heads * HEAD_WIDTH != part.width:
            parameters[key] = part.heads
    if text.embedding_norm_eps != EMBEDDING_NORM_EPS:
        parameters["embedding_norm_eps"] = text.embedding_norm_eps
    return parameters
