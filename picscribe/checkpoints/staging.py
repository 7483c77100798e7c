"""Writing a checkpoint's folder whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from safetensors import SafetensorError

from picscribe.errors import CheckpointError

KEPT = "README.md"
"""What somebody wrote about a checkpoint stays in its folder when the checkpoint is replaced."""


@contextlib.contextmanager
def staged_folder(folder: Path, replaceable: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder next to `folder`; when the block ends without an error, it takes that folder's place.

    An earlier checkpoint is replaced by two renames; its README.md is kept. A kill between the two leaves no `folder`,
    but next to it both checkpoints complete: the earlier one as `.NAME.….old`, the new one as `.NAME.….part`. Raises
    CheckpointError where `folder` is a file, or holds anything but README.md and files of the names in `replaceable`:
    nobody's other files are removed.
    """
    folder = Path(os.path.abspath(folder))
    try:
        _require_replaceable(folder, replaceable)
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written ({error.strerror}): name another folder") from error
    try:
        yield stage
        if (folder / KEPT).is_file():
            shutil.copyfile(folder / KEPT, stage / KEPT)
        for file in stage.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            file.chmod(0o644)
        stage.chmod(0o755)  # mkdtemp's folders are private
        _swap(stage, folder)
    except (OSError, SafetensorError) as error:  # safetensors has a type of its own for a full disk
        raise CheckpointError(
            f"{folder} cannot be written ({error}): check the disk, or name another folder"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _require_replaceable(folder: Path, replaceable: Collection[str]) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CheckpointError(f"{folder} is a file or a link, not a folder: name another folder to save to")
    if folder.is_dir():
        known = {*replaceable, KEPT}
        others = sorted(item.name for item in folder.iterdir() if item.name not in known or item.is_dir())
        if others:
            raise CheckpointError(
                f"{folder} has files that do not belong to a checkpoint ({', '.join(others[:5])}); "
                "name a new folder, or move them away"
            )


def _swap(stage: Path, folder: Path) -> None:
    if not folder.exists():
        stage.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
    folder.rename(old)
    try:
        stage.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
