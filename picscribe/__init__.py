"""picscribe: photos in, captions out, with GIT, the generative image-to-text transformer.

    import picscribe

    scribe = picscribe.load("nano")
    print(scribe.caption("photo.jpg").text)

These names are the public API; each is imported when it is first used, so that `import picscribe` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from picscribe.errors import CheckpointError, ConfigurationError, InputError, MissingPackageError, PicscribeError

if TYPE_CHECKING:
    from picscribe.generation import GenerationOptions
    from picscribe.media.video import Video
    from picscribe.results import Caption, Classification, Explanation, TextScore
    from picscribe.scribe import Scribe, load

__version__ = "0.2.0"

__all__ = [
    "Caption",
    "CheckpointError",
    "Classification",
    "ConfigurationError",
    "Explanation",
    "GenerationOptions",
    "InputError",
    "MissingPackageError",
    "PicscribeError",
    "Scribe",
    "TextScore",
    "Video",
    "load",
]

_HOMES = {
    "Caption": "picscribe.results",
    "Classification": "picscribe.results",
    "Explanation": "picscribe.results",
    "GenerationOptions": "picscribe.generation",
    "Scribe": "picscribe.scribe",
    "TextScore": "picscribe.results",
    "Video": "picscribe.media.video",
    "load": "picscribe.scribe",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'picscribe' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
