"""A training run as frozen dataclasses: everything that decides its result."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions
from picscribe.model import EfficientNetLiteConfig, TextDecoderConfig

TrainedPart = Literal["all", "decoder", "lora"]
IMAGENET = "imagenet"
"""The start that is not a checkpoint."""
HEAD_WIDTH = 64
"""Numbers of an attention head in a new text decoder."""


@dataclass(frozen=True)
class Source:
    """One data set, in any form that `picscribe data inspect` knows; paths are relative to where the command runs.

    split: as the data set names it, several joined by "+"; "" for a data set without splits.
    weight: how many times an epoch goes over it; 0.5 takes one half in one epoch and the other half in the next. Data
        sets of one weight are learned together, all texts of an image at once.
    stream: WebDataset tars that are read while the run learns, for more captions than memory holds; they are read
        through once before the first step.
    """

    path: str = ""
    split: str = ""
    images: str = ""
    format: str = ""
    weight: float = 1.0
    stream: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigurationError("a data set has no path: add path=FOLDER, or the path of an annotation file")
        for name in ("path", "images"):  # "~" as people write it, and no shell sees it in a file
            object.__setattr__(self, name, os.path.expanduser(getattr(self, name)))
        if not 0 < self.weight <= 1000:
            raise ConfigurationError(f"{self.path}: weight must be above 0 and at most 1000, not {self.weight!r}")


@dataclass(frozen=True)
class DataSettings:
    """What is learned, and what the model is validated on.

    validation: empty holds out the share `held_out` of the training images, drawn by the seed.
    texts_an_image: how many of an image's captions and questions are learned an epoch, drawn, over one image prefix;
        with objective cider, how many of its questions.
    max_tokens: the longest text, prefix and target together (the original code: 40).
    """

    train: tuple[Source, ...] = ()
    validation: tuple[Source, ...] = ()
    held_out: float = 0.1
    texts_an_image: int = 5
    max_tokens: int = 40

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigurationError("data.train is empty: name at least one data set")
        if not 0 < self.held_out < 1:
            raise ConfigurationError(f"data.held_out must be between 0 and 1, not {self.held_out!r}")
        _require_at_least("data", self, texts_an_image=1, max_tokens=3)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may stray: least share of the area, greatest change of the aspect, mirrored half of the time.

    The paper's own training crops 80–100 % of the area and keeps the aspect (arXiv 2205.14100, section 4.1).
    """

    min_area: float = 0.8
    max_stretch: float = 1.0
    mirror: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise ConfigurationError(f"augmentation.min_area must be in (0, 1], not {self.min_area!r}")
        if self.max_stretch < 1:
            raise ConfigurationError(f"augmentation.max_stretch must be at least 1, not {self.max_stretch!r}")
        # A crop stretched to the image's whole width has at most 1 / stretch of its area.
        if self.max_stretch * self.min_area > 1 + 1e-9:
            raise ConfigurationError(
                f"augmentation.max_stretch ({self.max_stretch!r}) can be at most 1 / min_area "
                f"({1 / self.min_area:.4g}): such a crop does not fit into the image"
            )


@dataclass(frozen=True)
class ImageSettings:
    """How training images are seen: in random views, as in the paper.

    sizes: pixels of a side; of several each batch takes one, a single one becomes the model's own.
    frames: of a video; for a start without temporal embeddings (0: 6, the paper's).
    views: each photo is learned in this many views in turn (0: a new view each epoch), and the features that the
        image encoder's frozen blocks give for a view are computed once and kept.
    features: the folder where they are kept; "" for one in the run's folder.
    """

    sizes: tuple[int, ...] = ()
    frames: int = 0
    views: int = 0
    features: str = ""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        _require_at_least("image", self, frames=0, views=0)
        if self.views and (self.frames or len(self.sizes) > 1):
            raise ConfigurationError(
                "image.views works for photos of one size only: leave out views, or frames and sizes"
            )
        if self.features and not self.views:
            raise ConfigurationError(
                "image.features names the folder for the features of image.views: set image.views too"
            )
        if any(size < 16 or size > 2048 for size in self.sizes):
            raise ConfigurationError(f"image.sizes must be from 16 to 2048 pixels, not {list(self.sizes)}")


@dataclass(frozen=True)
class NetworkSettings:
    """The new network of `start: imagenet`: EfficientNet-Lite `variant` with ImageNet's weights, for photos of
    `image_size`, and a text decoder from scratch over a vocabulary learned from the training texts.

    As in the paper, an attention head is 64 numbers wide and a layer's inner part four times the layer's width.
    """

    variant: int = 2
    image_size: int = 256
    vocabulary_size: int = 3500
    min_frequency: int = 2
    width: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        _require_at_least("network", self, vocabulary_size=1, min_frequency=1, image_size=16, width=HEAD_WIDTH)
        if self.width % HEAD_WIDTH:
            raise ConfigurationError(f"network.width must be a multiple of {HEAD_WIDTH}, not {self.width}")
        # These check themselves; better here than after the data are read.
        self.image_encoder()
        self.text_decoder()

    def image_encoder(self) -> EfficientNetLiteConfig:
        """The configuration of the image encoder."""
        return EfficientNetLiteConfig(self.variant, self.image_size)

    def text_decoder(self, **of_vocabulary: int) -> TextDecoderConfig:
        """The configuration of the text decoder, for a vocabulary that has been learned."""
        return TextDecoderConfig(
            width=self.width,
            layers=self.layers,
            heads=self.width // HEAD_WIDTH,
            mlp_width=4 * self.width,
            max_positions=64,
            attention_dropout=0.0,
            tie_output=True,
            **of_vocabulary,
        )


@dataclass(frozen=True)
class WeightSettings:
    """Which weights learn, and how they are regularised.

    train: `decoder` leaves the image encoder as it is; `lora` trains low-rank additions to the linear layers of the
        parts that `lora_in` names, and merges them when a model is saved.
    frozen_blocks: how many blocks of the image encoder, counted from the pixels, do not learn.
    frozen_depthwise: whether EfficientNet-Lite's depthwise filters do not learn either; they are few, and nano
        overfitted sooner with them.
    image_dropout: the share of an image's features (cells or patches, drawn for each step) hidden from the decoder.
    word_dropout: the share of a text's words, drawn for each step, hidden from the words after them.
    activation_checkpointing: less memory for about a third more time.
    sharded: each of several processes keeps its share of the weights and of the optimiser's state (FSDP).
    """

    train: TrainedPart = "all"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_in: Literal["decoder", "all"] = "decoder"
    frozen_blocks: int = 0
    frozen_depthwise: bool = False
    dropout: float = 0.1
    image_dropout: float = 0.0
    word_dropout: float = 0.0
    activation_checkpointing: bool = False
    sharded: bool = False

    def __post_init__(self) -> None:
        _require_at_least("weights", self, lora_rank=1, frozen_blocks=0)
        if self.frozen_blocks and self.train != "all":
            raise ConfigurationError(f"weights.frozen_blocks needs weights.train: all, not {self.train}: leave one out")
        if self.sharded and self.train == "lora":
            raise ConfigurationError(
                "weights.sharded does not work with LoRA: leave it out, or set weights.train to all or decoder"
            )
        for name in ("dropout", "image_dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"weights.{name} must be in [0, 1), not {getattr(self, name)!r}")


@dataclass(frozen=True)
class OptimisationSettings:
    """AdamW with warm-up and a cosine to 0. Learning rates are the paper's for pre-training.

    epochs, steps: how long a run is; `steps` counts where it is not 0.
    batch_images: images a step, over all processes.
    accumulate: how many micro-batches a step is computed in.
    warmup_steps: at most a quarter of the run.
    ema_decay: of the moving average of the weights, which is validated and kept; 0 for none.
    """

    epochs: int = 10
    steps: int = 0
    batch_images: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    encoder_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    warmup_steps: int = 500
    label_smoothing: float = 0.1
    ema_decay: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        _require_at_least("optimisation", self, epochs=1, steps=0, batch_images=1, accumulate=1, warmup_steps=0)
        _require_at_least("optimisation", self, learning_rate=0, encoder_learning_rate=0, weight_decay=0)
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"optimisation.{name} must be in [0, 1), not {getattr(self, name)!r}")
        if self.batch_images % self.accumulate:
            raise ConfigurationError(
                f"optimisation.batch_images ({self.batch_images}) must be a multiple of accumulate ({self.accumulate})"
            )


@dataclass(frozen=True)
class SelfCriticalSettings:
    """CIDEr optimisation (Rennie et al., 2017, arXiv 1612.00563).

    samples: captions drawn of each image; each is compared with the mean of the others.
    document_frequencies: of CIDEr, a file from `picscribe data frequencies`; "" for those of the training captions.
    """

    samples: int = 5
    document_frequencies: str = ""

    def __post_init__(self) -> None:
        _require_at_least("self_critical", self, samples=2)


@dataclass(frozen=True)
class ValidationSettings:
    """Scores of the model while it learns; the checkpoint with the best score is kept.

    before: whether the start is scored too, which stays the best where nothing after it is better.
    every_steps: 0 for every epoch.
    images: how many of the validation examples, drawn by the seed.
    patience: how many validations without a better score end the run; 0 for never.
    """

    before: bool = False
    every_steps: int = 0
    images: int = 1000
    beams: int = 4
    length_penalty: float = 0.6
    max_new_tokens: int = 20
    patience: int = 0

    def __post_init__(self) -> None:
        _require_at_least("validation", self, every_steps=0, images=1, patience=0)
        self.options()

    def options(self) -> GenerationOptions:
        """How images are captioned."""
        return GenerationOptions(
            beams=self.beams, length_penalty=self.length_penalty, max_new_tokens=self.max_new_tokens
        )


@dataclass(frozen=True)
class SavingSettings:
    """States to continue from, saved with each validation, every ten minutes, and every `every_steps` (0: never)."""

    every_steps: int = 0

    def __post_init__(self) -> None:
        _require_at_least("saving", self, every_steps=0)


@dataclass(frozen=True)
class Recipe:
    """One run: everything that decides its result.

    start: a name that `picscribe models` lists, a folder, or "imagenet" for a new model of `network`. objective:
    "words", the next word of people's captions and answers, or "cider" ("scst" is the same), sampled captions by their
    CIDEr, together with questions about the same photos as people answered them. trackers: "tensorboard", "wandb",
    "trackio".
    """

    start: str = "nano"
    name: str = "run"
    seed: int = 1
    objective: Literal["words", "cider", "scst"] = "words"
    trackers: tuple[str, ...] = ()
    data: DataSettings = field(default_factory=lambda: DataSettings((Source("."),)))
    network: NetworkSettings = field(default_factory=NetworkSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    optimisation: OptimisationSettings = field(default_factory=OptimisationSettings)
    self_critical: SelfCriticalSettings = field(default_factory=SelfCriticalSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    saving: SavingSettings = field(default_factory=SavingSettings)

    def __post_init__(self) -> None:
        require_name_and_seed(self.name, self.seed)
        if self.objective == "scst":
            object.__setattr__(self, "objective", "cider")
        if unknown := set(self.trackers) - {"tensorboard", "wandb", "trackio"}:
            raise ConfigurationError(
                f"trackers: unknown tracker {sorted(unknown)[0]!r}; choose among tensorboard, wandb, trackio"
            )
        if self.weights.train == "lora" and self.optimisation.ema_decay:
            raise ConfigurationError("optimisation.ema_decay and weights.train: lora do not go together: choose one")
        if self.image.views and self.weights.train == "all" and not self.weights.frozen_blocks:
            raise ConfigurationError(
                "image.views stores the output of frozen blocks, but none are frozen: set weights.frozen_blocks, or "
                "weights.train to decoder"
            )
        if self.image.views and self.weights.train == "lora" and self.weights.lora_in == "all":
            raise ConfigurationError("image.views works with LoRA in the decoder only: set weights.lora_in to decoder")
        if self.objective == "cider" and self.weights.word_dropout:
            raise ConfigurationError("weights.word_dropout has no effect with objective cider: leave it out")
        self._check_start()

    def _check_start(self) -> None:
        if self.start != IMAGENET:
            if self.network != NetworkSettings():
                raise ConfigurationError(
                    f"network works with start={IMAGENET} only, and {self.start} has its own: leave it out"
                )
            return
        if self.weights.train == "lora":
            raise ConfigurationError(
                f"LoRA adapts a trained decoder, but that of start={IMAGENET} is untrained: set "
                "weights.train to all or decoder"
            )
        if len(self.image.sizes) == 1:
            raise ConfigurationError(f"network.image_size sets the size of start={IMAGENET}: leave out image.sizes")


def _require_at_least(section: str, settings: object, **bounds: float) -> None:
    for name, bound in bounds.items():
        value = getattr(settings, name)
        if value < bound:
            raise ConfigurationError(f"{section}.{name} must be at least {bound}, not {value!r}")


def require_name_and_seed(name: str, seed: int) -> None:
    """Raise ConfigurationError for a name that is no plain folder's, or a seed that no generator takes."""
    if Path(name).name != name or name in ("", "..") or not name.isprintable():
        raise ConfigurationError(f"name must be a plain name, without folders, not {name!r}")
    if not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed must be from 0 to 2**63 - 1, not {seed}")
