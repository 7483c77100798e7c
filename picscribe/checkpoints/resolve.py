"""From what a user calls a checkpoint to a folder on this machine, downloading it where it must."""

import difflib
import os
import re
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from picscribe.checkpoints.registry import RELEASED, find_released
from picscribe.errors import CheckpointError, ConfigurationError, InputError
from picscribe.text_files import read_json_object

BUNDLED = {"nano": Path(__file__).resolve().parent.parent / "bundled" / "nano"}
LONGEST_SHOWN = 200
LARGEST_INDEX = 16 << 20  # bytes; a real one has less than 1 MB
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DESCRIPTIONS = [
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt"),
]
SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]


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
    return _download(hub_name, revision, local_only=False)


def find_cached(name: str, *, revision: str | None = None) -> Path | None:
    """The folder of a checkpoint that is on this machine already; None where it would have to be downloaded."""
    hub_name = find_hub_name(name)
    try:
        return local_folder(name) if hub_name is None else _download(hub_name, revision, local_only=True)
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
        raise ConfigurationError(f"revision {revision!r} goes with a name on the Hugging Face hub, not with {name}")
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


def _download(hub_name: str, revision: str | None, *, local_only: bool) -> Path:
    """A snapshot of a repository's needed files; pickles only where it has no safetensors."""
    for weights in (SAFETENSORS, PICKLES):
        folder = Path(_snapshot(hub_name, revision, [*DESCRIPTIONS, *weights], local_only))
        if _holds_whole_weights(folder, weights):
            break
    else:
        raise CheckpointError(
            f"{hub_name}: {_place(local_only)} holds no whole weights (model.safetensors or pytorch_model.bin): "
            "go online, or name another"
        )
    if not (folder / DESCRIPTIONS[0]).exists():
        raise CheckpointError(
            f"{hub_name}: {_place(local_only)} holds no {DESCRIPTIONS[0]}: go online, or name a GIT model"
        )
    return folder


def _place(local_only: bool) -> str:
    return "its copy on this machine" if local_only or huggingface_hub.constants.HF_HUB_OFFLINE else "the repository"


def _holds_whole_weights(folder: Path, names: list[str]) -> bool:
    """Whether a folder has weights of these names: one file, or an index with all its shards."""
    whole, index, _ = names
    if (folder / whole).exists() or not (folder / index).exists():
        return (folder / whole).exists()
    try:
        shards = set(read_json_object(folder / index, LARGEST_INDEX)["weight_map"].values())
        return all((folder / shard).exists() for shard in shards)
    except (InputError, KeyError, AttributeError, TypeError):
        return True  # whoever reads it says what is wrong with it


def _snapshot(hub_name: str, revision: str | None, patterns: list[str], local_only: bool) -> str:
    try:
        return str(
            huggingface_hub.snapshot_download(
                hub_name, revision=revision, allow_patterns=patterns, local_files_only=local_only
            )
        )
    except Exception as error:  # refused, cut off, disk full: each version of the hub's client has its own types
        partial: str | None = getattr(error, "snapshot_path", None)
        if partial is not None:  # Another program may have cached all that is needed and not all that is asked for.
            return partial
        at = f" at revision {revision}" if revision else ""
        raise CheckpointError(_explain(hub_name, at, error, local_only)) from error


def _explain(hub_name: str, at: str, error: Exception, local_only: bool) -> str:
    """What went wrong with a download and what to do; `at` names the revision, where there is one."""
    status, answer = _answer_of(error)
    has_token = bool(huggingface_hub.get_token())
    if status == 401 and has_token:
        return (
            f"the Hugging Face hub refuses your access token{answer}, so that {hub_name} cannot be had: make a new one "
            "at its settings and set HF_TOKEN to it, or unset HF_TOKEN and log out (`hf auth logout`) for public models"
        )
    if isinstance(error, hub_errors.GatedRepoError):
        then = "then wait for its owner to let you in" if has_token else "then set HF_TOKEN to your access token"
        return f"{hub_name} asks for its terms to be accepted: do so on its page, {then}"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"{hub_name} has no revision {at.removeprefix(' at revision ')!r}: name a branch, tag or commit of it"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        names = [one.hub_id for one in RELEASED if one.hub_id and one.hub_id != hub_name]
        near = [] if find_released(hub_name) else difflib.get_close_matches(hub_name, names, n=1)
        suggestion = f"did you mean {near[0]}? " if near else ""
        remedy = "your access token may not read it" if has_token else "set HF_TOKEN to your access token"
        return f"the Hugging Face hub shows no {hub_name}: {suggestion}If it is private, {remedy}"
    if isinstance(error, hub_errors.HFValidationError):
        return f"{hub_name!r} is not a valid name on the Hugging Face hub: {error}"
    if status:
        remedy = {
            403: "your access token may not read it: give it that right, or accept the model's terms on its page",
            429: "too many requests come from here: wait a while, or set HF_TOKEN to your access token",
        }.get(status, "it may be down: try again later; what has come is kept")
        return f"{hub_name}{at} could not be downloaded: the Hugging Face hub answers {status}{answer}; {remedy}"
    if isinstance(error, hub_errors.LocalEntryNotFoundError):
        if local_only or huggingface_hub.constants.HF_HUB_OFFLINE:
            why, remedy = "HF_HUB_OFFLINE forbids to download it", "unset it once"
        else:
            why, remedy = "the Hugging Face hub cannot be reached", "check the network"
        return f"{hub_name}{at} is not on this machine, and {why}: {remedy}, or give a folder"
    return f"{hub_name} could not be downloaded: {error}. Try again; what has come is kept"


def _answer_of(error: BaseException | None) -> tuple[int, str]:
    """The status with which the hub answered, and its words in brackets; 0 where it did not answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            words = " ".join(str(response.headers.get("X-Error-Message") or "").split())[:LONGEST_SHOWN]
            return int(response.status_code), f" ({words})" if words else ""
        error = error.__cause__
    return 0, ""
