"""What every reader of a data set hands on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CaptionedImage:
    """An image file with the captions people wrote for it; `id` names it in predictions and reports."""

    id: str
    path: Path
    captions: tuple[str, ...]
