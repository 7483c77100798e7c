"""preprocessor_config.json, or transformers 5's processor_config.json, ↔ Preprocessing, of images and videos."""

from pathlib import Path
from typing import Any

from picscribe.checkpoints.fields import Fields, abridged
from picscribe.checkpoints.weight_files import read_configuration
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.media.preprocessing import Preprocessing

FILE = "preprocessor_config.json"
PROCESSOR_FILE, NESTED = "processor_config.json", "image_processor"
"""Where transformers 5 keeps the same settings: in an object of a larger file."""

BILINEAR, BICUBIC = 2, 3
VIDEO_PROCESSOR = "VideoMAEImageProcessor"
VIDEO_PROCESSORS = (VIDEO_PROCESSOR, f"{VIDEO_PROCESSOR}Fast", f"{VIDEO_PROCESSOR}Pil")
MOST_PIXELS = 4096  # a side: images of larger ones would fill the memory; the largest released one has 640


def read_preprocessing(folder: Path) -> Preprocessing:
    """What a folder's image processor does to an image, from the file that `find_settings` names.

    Raises CheckpointError that lists every key that is missing, wrong, or asks for what picscribe does not do.
    """
    file, values = find_settings(folder)
    path = f"{NESTED}." if file.name == PROCESSOR_FILE else ""
    # Fast processors write null for what they leave to their defaults.
    fields = Fields({key: value for key, value in values.items() if value is not None}, file, path)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        fields.choice(step, (True,), True)
    # transformers' converter left VideoMAE's default, bilinear, in the video checkpoints' files; the original code,
    # which trained them, resizes frames bicubically as it does images.
    video = fields.values.get("image_processor_type", fields.values.get("feature_extractor_type"))
    fields.choice("resample", (BICUBIC, BILINEAR) if video in VIDEO_PROCESSORS else (BICUBIC,), BICUBIC)
    factor = fields.number("rescale_factor", 1 / 255)
    if abs(factor * 255 - 1) > 1e-6:
        fields.problems.append(f"key rescale_factor must be 1/255, not {factor!r}")
    mean, std = fields.triple("image_mean"), fields.triple("image_std")
    size, mode = _read_size(fields)
    longer_edge = fields.whole("picscribe_longer_edge", 1, most=MOST_PIXELS)
    fields.finish()
    try:
        if "picscribe_longer_edge" in fields.values:
            return Preprocessing(size, "keep_aspect", longer_edge, mean=mean, std=std)
        return Preprocessing(size, "center_crop" if mode == "center_crop" else "square", mean=mean, std=std)
    except ConfigurationError as error:
        raise CheckpointError(f"{file}: {error}") from error


def find_settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that holds a folder's image processor, and its settings there.

    transformers 5 writes processor_config.json, with the image processor nested in it, and no preprocessor_config.json;
    where both files have one, the nested one counts, as in transformers. Raises CheckpointError where neither has.
    """
    nested, alone = folder / PROCESSOR_FILE, folder / FILE
    if nested.exists():
        values = read_configuration(nested).get(NESTED)
        if isinstance(values, dict):
            return nested, values
        if values is not None:
            raise CheckpointError(f"{nested}: key {NESTED} must be an object, not {abridged(values)}")
    if not alone.exists():
        raise CheckpointError(
            f"{folder} does not say how images are prepared: {FILE} is missing, and {PROCESSOR_FILE} "
            f"{f'has no {NESTED}' if nested.exists() else 'too'}; download the checkpoint again"
        )
    return alone, read_configuration(alone)


def _read_size(fields: Fields) -> tuple[int, str]:
    """Side of the square that comes out, and whether by centre crop or by resizing both edges to it."""
    edges = _edges(fields, "size")
    crop = _edges(fields, "crop_size") if fields.flag("do_center_crop", True) else None
    if edges is None:
        return 1, "square"
    kind, side = edges
    if crop is not None and crop[1] != side:
        fields.problems.append(f"key crop_size must be the same as size, {side}, not {crop[1]}")
    if kind == "shortest_edge" and crop is None:
        fields.problems.append("without do_center_crop, key size must give height and width: the model takes squares")
    return side, "center_crop" if kind == "shortest_edge" else "square"


def _edges(fields: Fields, key: str) -> tuple[str, int] | None:
    """A size in each of the forms that transformers has written over the years: 224, {"shortest_edge": 224} or
    {"height": 224, "width": 224} → which kind, and the number of pixels."""
    value = fields.values.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return "shortest_edge", fields.whole(key, most=MOST_PIXELS)
    section = fields.section(key)
    if not isinstance(value, dict):
        return None
    if "shortest_edge" in value:
        return "shortest_edge", section.whole("shortest_edge", most=MOST_PIXELS)
    height, width = section.whole("height", most=MOST_PIXELS), section.whole("width", most=MOST_PIXELS)
    if height != width:
        fields.problems.append(f"key {key} must be a square, not {height}x{width}")
    return "square", height


def write_preprocessing(preprocessing: Preprocessing, frames: int) -> dict[str, Any]:
    """The content of preprocessor_config.json; a video model (`frames` over 0) names transformers' video processor.

    transformers knows no aspect-keeping resize: it reads the centre crop of the same size, as in the released VQA
    checkpoints, and picscribe reads the key `picscribe_longer_edge` as well.
    """
    square = {"height": preprocessing.size, "width": preprocessing.size}
    content: dict[str, Any] = {
        "image_processor_type": VIDEO_PROCESSOR if frames else "CLIPImageProcessor",
        "processor_class": "GitProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if preprocessing.mode == "square" else {"shortest_edge": preprocessing.size},
        "resample": BICUBIC,
        "do_center_crop": preprocessing.mode != "square",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    if preprocessing.longer_edge is not None:
        content["picscribe_longer_edge"] = preprocessing.longer_edge
    return content
