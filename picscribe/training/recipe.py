"""A training run as frozen dataclasses, read from one YAML file; unknown keys name the nearest known one."""

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions
from picscribe.model import EfficientNetLiteConfig, TextDecoderConfig
from picscribe.training.augmentation import Augmentation
from picscribe.training.fine_tuning_recipe import FineTuningRecipe, require_name_and_seed


@dataclass(frozen=True)
class DataRecipe:
    """A data set in Karpathy's form; paths are relative to the folder the command runs in."""

    annotations: str = ""
    images: str = ""
    train_split: str = "train"
    val_split: str = "val"


@dataclass(frozen=True)
class ImageRecipe:
    """The image encoder: EfficientNet-Lite started from ImageNet, its first `frozen_blocks` blocks left as they are.

    Frozen blocks are computed once for each of `views` random views of an image and kept in `features`. Of the others,
    `frozen_depthwise` leaves the depthwise filters as they are: few weights, with which nano overfitted sooner.
    dropout: the share of an image's cells, drawn anew each step, that is hidden from the decoder.
    """

    variant: int = 2
    size: int = 256
    frozen_blocks: int = 16
    views: int = 12
    features: str = "runs/features"
    augmentation: Augmentation = field(default_factory=Augmentation)
    frozen_depthwise: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class TextRecipe:
    """Vocabulary learned from the training captions, and the text decoder.

    word_dropout: the share of a caption's words, drawn anew each step, that is hidden from the words after it.
    """

    vocabulary_size: int = 3500
    min_frequency: int = 2
    max_tokens: int = 40
    width: int = 256
    layers: int = 3
    heads: int = 4
    mlp_width: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.0
    word_dropout: float = 0.0
    max_positions: int = 64


@dataclass(frozen=True)
class OptimisationRecipe:
    """AdamW with warm-up and a cosine to 0; a batch is images, each with all of its captions."""

    epochs: int = 10
    batch_images: int = 32
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-4
    weight_decay: float = 0.05
    warmup_steps: int = 200
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class EvaluationRecipe:
    """Captions of the validation split every so many epochs, and at the end; the best CIDEr is kept."""

    every_epochs: int = 1
    beams: int = 3
    length_penalty: float = 0.6
    max_new_tokens: int = 20
    batch_images: int = 50


@dataclass(frozen=True)
class Recipe:
    """One run: everything that decides its result."""

    name: str = "run"
    seed: int = 1
    data: DataRecipe = field(default_factory=DataRecipe)
    image: ImageRecipe = field(default_factory=ImageRecipe)
    text: TextRecipe = field(default_factory=TextRecipe)
    optimisation: OptimisationRecipe = field(default_factory=OptimisationRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    def __post_init__(self) -> None:
        require_name_and_seed(self.name, self.seed)
        least: dict[str, float] = {
            "image.frozen_blocks": 0,
            "image.views": 1,
            "text.vocabulary_size": 1,
            "text.min_frequency": 1,
            "text.max_tokens": 3,
            "optimisation.epochs": 1,
            "optimisation.batch_images": 1,
            "optimisation.learning_rate": 0,
            "optimisation.encoder_learning_rate": 0,
            "optimisation.weight_decay": 0,
            "optimisation.warmup_steps": 0,
            "optimisation.clip_norm": 0,
            "evaluation.every_epochs": 1,
            "evaluation.batch_images": 1,
        }
        for name, bound in least.items():
            section, key = name.split(".")
            value = getattr(getattr(self, section), key)
            if value < bound:
                raise ConfigurationError(f"{name} must be at least {bound}, not {value!r}")
        for name in ("image.dropout", "text.word_dropout", "optimisation.ema_decay", "optimisation.label_smoothing"):
            section, key = name.split(".")
            if not 0 <= (value := getattr(getattr(self, section), key)) < 1:
                raise ConfigurationError(f"{name} must be in [0, 1), not {value!r}")
        if self.text.max_tokens + 1 > self.text.max_positions:
            raise ConfigurationError(
                f"text.max_positions ({self.text.max_positions}) must exceed text.max_tokens ({self.text.max_tokens})"
            )
        if self.evaluation.max_new_tokens + 1 > self.text.max_positions:
            raise ConfigurationError(
                f"text.max_positions ({self.text.max_positions}) must exceed evaluation.max_new_tokens "
                f"({self.evaluation.max_new_tokens})"
            )
        # These check themselves; better here than after hours of training.
        self.image_encoder()
        self.text_decoder(max(self.text.vocabulary_size, 3), pad_id=0, cls_id=1, sep_id=2)
        self.generation_options()

    def image_encoder(self) -> EfficientNetLiteConfig:
        """Sizes of the image encoder."""
        return EfficientNetLiteConfig(self.image.variant, self.image.size)

    def text_decoder(self, vocabulary_size: int, pad_id: int, cls_id: int, sep_id: int) -> TextDecoderConfig:
        """Sizes of the text decoder, for a vocabulary that has been learned."""
        return TextDecoderConfig(
            vocabulary_size=vocabulary_size,
            width=self.text.width,
            layers=self.text.layers,
            heads=self.text.heads,
            mlp_width=self.text.mlp_width,
            max_positions=self.text.max_positions,
            dropout=self.text.dropout,
            attention_dropout=self.text.attention_dropout,
            tie_output=True,
            pad_id=pad_id,
            cls_id=cls_id,
            sep_id=sep_id,
        )

    def generation_options(self) -> GenerationOptions:
        """How the validation split is captioned."""
        chosen = self.evaluation
        return GenerationOptions(
            beams=chosen.beams, length_penalty=chosen.length_penalty, max_new_tokens=chosen.max_new_tokens
        )


Config = TypeVar("Config")


def _build(kind: type[Config], values: object, where: str) -> Config:
    """A dataclass from a mapping, nested dataclasses too; every key and every type is checked."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where or 'the recipe'} must hold settings (key: value), not {values!r}")
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(hints)}"
            raise ConfigurationError(f"unknown setting {name!r}{hint}")
        arguments[key] = _value(hints[key], value, name)
    return kind(**arguments)


def _value(kind: Any, value: object, name: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), value, name)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigurationError(f"{name} must be a list, not {reprlib.repr(value)}")
        return tuple(_value(typing.get_args(kind)[0], one, f"{name}[{place}]") for place, one in enumerate(value))
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise ConfigurationError(
                f"{name} must be one of {', '.join(typing.get_args(kind))}, not {reprlib.repr(value)}"
            )
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # YAML reads 1e-3 as text.
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif (
        isinstance(kind, type | types.UnionType)
        and isinstance(value, kind)
        and (kind is bool or not isinstance(value, bool))
    ):
        return value
    raise ConfigurationError(f"{name} must be of type {getattr(kind, '__name__', kind)}, not {reprlib.repr(value)}")


def _parse(text: str, where: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not a YAML file: {' '.join(str(error).split())}") from error


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe | FineTuningRecipe:
    """Read a recipe; `overrides` are "section.key=value" and win. One that names a `start` fine-tunes a checkpoint.

    Raises ConfigurationError that names the setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the recipe ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not a YAML file: {error}") from error
    values = _parse(text, str(path)) or {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: a recipe holds settings (key: value), not {reprlib.repr(values)}")
    return recipe_from(values, overrides)


def recipe_from(values: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe | FineTuningRecipe:
    """A recipe from its settings as YAML has them, under `overrides`; as `load_recipe`."""
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"{override!r}: an override has the form section.key=value")
        *sections, key = name.split(".")
        section = values
        for part in sections:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigurationError(f"{override!r}: {part!r} is a value, not a section")
        section[key] = _parse(text, repr(override))
    if "start" in values:
        return _build(FineTuningRecipe, values, "")
    scratch, tuning = ({field.name for field in dataclasses.fields(kind)} for kind in (Recipe, FineTuningRecipe))
    data = values.get("data")
    if set(values) & (tuning - scratch) or (isinstance(data, dict) and {"train", "validation"} & set(data)):
        raise ConfigurationError("a recipe with these settings says where it starts: add start=nano or a checkpoint")
    return _build(Recipe, values, "")


def dump_recipe(recipe: Recipe | FineTuningRecipe) -> str:
    """The recipe as YAML, every setting spelled out."""
    return yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False, allow_unicode=True)
