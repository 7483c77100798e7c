"""From what a user calls a checkpoint to a folder on this machine; `hub` downloads it where it must be."""

import difflib
import os
import re
from pathlib import Path

from picscribe.checkpoints.registry import RELEASED, find_released
from picscribe.errors import CheckpointError, ConfigurationError

BUNDLED = {"nano": Path(__file__).resolve().parent.parent / "bundled" / "nano"}
LONGEST_SHOWN = 200
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(name: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a checkpoint: the bundled model's, an existing folder itself, or one downloaded and cached.

    `name` is `nano`, a folder, a released checkpoint (`git-base-coco`) or a name on the Hugging Face hub
    (`owner/name`).
    The hub's cache, HF_HOME, HF_HUB_OFFLINE and HF_TOKEN are honoured; `revision` is a branch, tag or commit there.
    Raises CheckpointError that says what to do, for unknown names with the nearest known one, and ConfigurationError
    for a revision of what is not on the hub.
    """
    hub_name = find_hub_name(name)
    if hub_name is None:
        return local_folder(name, revision=revision)
    from picscribe.checkpoints.hub import download  # the hub's client takes a while to import

    return download(hub_name, revision, local_only=False)


def find_cached(name: str, *, revision: str | None = None) -> Path | None:
    """The folder of a checkpoint that is on this machine already; None where it would have to be downloaded."""
    hub_name = find_hub_name(name)
    try:
        if hub_name is None:
            return local_folder(name)
        from picscribe.checkpoints.hub import download

        return download(hub_name, revision, local_only=True)
    except CheckpointError:
        return None


def known_names() -> list[str]:
    """Every name that `resolve` knows without a folder."""
    return [*BUNDLED, *(one.name for one in RELEASED if one.hub_id)]


def find_hub_name(name: str | Path) -> str | None:
    """The hub name (`owner/name`) that `name` means; None for the bundled model and for a folder's path."""
    text = str(name)
    if isinstance(name, Path) or not text or text in BUNDLED or os.path.exists(text):
        return None
    released = find_released(text)
    if released is not None and text != released.original_name:
        return released.hub_id
    # runs/last where runs is a folder here is a path with a typing error, not a name to look up elsewhere.
    if HUB_NAME.fullmatch(text) and not os.path.isdir(text.split("/")[0]):
        return text
    return None


def local_folder(name: str | Path, *, revision: str | None = None) -> Path:
    """The bundled model's folder, or an existing folder itself. Raises CheckpointError for anything else.

    Raises ConfigurationError where a revision is asked for: only the hub has several.
    """
    folder = _local_folder(name)
    if revision is not None:
        raise ConfigurationError(
            f"revision {revision!r} works for names on the Hugging Face hub only, not for {name}: leave it out"
        )
    return folder


def _local_folder(name: str | Path) -> Path:
    text = str(name)
    if text in BUNDLED and not isinstance(name, Path):
        if not BUNDLED[text].is_dir():
            raise CheckpointError(f"the bundled model {text} is missing from this installation: reinstall picscribe")
        return BUNDLED[text]
    # The functions of os.path know no error: a name too long, or in a folder that is closed, is not there.
    folder = Path(os.path.expanduser(name))
    if text and os.path.isdir(folder):
        return folder
    if text and os.path.exists(folder):
        raise CheckpointError(f"{text} is a file; give the folder that holds the checkpoint's files")
    raise CheckpointError(_unknown(text))


def _unknown(text: str) -> str:
    released = find_released(text)
    if released is not None:
        here = f"; `{released.name}` is the same model on the Hugging Face hub" if released.hub_id else ""
        return f"{text} is a file of the original code: give the folder with its model.pt{here}"
    near = difflib.get_close_matches(text.lower().removeprefix("microsoft/"), known_names(), n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]}? " if near else ""
    known = ", ".join(known_names())
    return (
        f"no checkpoint {text[:LONGEST_SHOWN]!r}: {suggestion}It is neither a folder here, nor a known name ({known})"
    )
