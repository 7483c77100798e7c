"""A checkpoint's files from the Hugging Face hub, through its own client and cache; what goes wrong, in a sentence."""

import difflib
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from picscribe.checkpoints.registry import RELEASED, find_released
from picscribe.errors import CheckpointError, InputError
from picscribe.text_files import read_json_object

LONGEST_SHOWN = 200
LARGEST_INDEX = 16 << 20
"""Bytes; a real one has less than 1 MB."""

DESCRIPTIONS = [
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt"),
]
SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]


def download(hub_name: str, revision: str | None, *, local_only: bool) -> Path:
    """A snapshot of a repository's needed files; pickles only where it has no safetensors."""
    for weights in (SAFETENSORS, PICKLES):
        folder = Path(_snapshot(hub_name, revision, [*DESCRIPTIONS, *weights], local_only))
        if _holds_whole_weights(folder, weights):
            break
    else:
        raise CheckpointError(
            f"{hub_name}: {_place(local_only)} has no complete weights (model.safetensors or pytorch_model.bin): "
            "download it while you are online, or name another model"
        )
    if not (folder / DESCRIPTIONS[0]).exists():
        raise CheckpointError(
            f"{hub_name}: {_place(local_only)} has no {DESCRIPTIONS[0]}: download it while you are online, or "
            "name a GIT model"
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
            f"the Hugging Face hub refuses your access token{answer}, so {hub_name} cannot be downloaded: create a new "
            "token in the hub's settings and set HF_TOKEN to it; or, for public models, unset HF_TOKEN and log out "
            "(`hf auth logout`)"
        )
    if isinstance(error, hub_errors.GatedRepoError):
        then = "then wait for its owner to let you in" if has_token else "then set HF_TOKEN to your access token"
        return f"{hub_name} has terms that you must accept: accept them on its page, {then}"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"{hub_name} has no revision {at.removeprefix(' at revision ')!r}: name a branch, tag or commit of it"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        names = [one.hub_id for one in RELEASED if one.hub_id and one.hub_id != hub_name]
        near = [] if find_released(hub_name) else difflib.get_close_matches(hub_name, names, n=1)
        suggestion = f"did you mean {near[0]}? " if near else ""
        remedy = "your access token may not read it" if has_token else "set HF_TOKEN to your access token"
        return f"the Hugging Face hub shows no model {hub_name}: {suggestion}If it is private, {remedy}"
    if isinstance(error, hub_errors.HFValidationError):
        return f"{hub_name!r} is not a valid name on the Hugging Face hub: {error}"
    if status:
        remedy = {
            403: "your access token may not read it: give it that right, or accept the model's terms on its page",
            429: "too many requests come from here: wait a while, or set HF_TOKEN to your access token",
        }.get(status, "it may be down: try again later; the files downloaded so far are kept")
        return f"{hub_name}{at} could not be downloaded: the Hugging Face hub answers {status}{answer}; {remedy}"
    if isinstance(error, hub_errors.LocalEntryNotFoundError):
        if local_only or huggingface_hub.constants.HF_HUB_OFFLINE:
            why, remedy = "HF_HUB_OFFLINE forbids the download", "unset it once"
        else:
            why, remedy = "the Hugging Face hub cannot be reached", "check the network"
        return f"{hub_name}{at} is not on this machine, and {why}: {remedy}, or give a folder"
    return f"{hub_name} could not be downloaded: {error}. Try again; the files downloaded so far are kept"


def _answer_of(error: BaseException | None) -> tuple[int, str]:
    """The status with which the hub answered, and its words in brackets; 0 where it did not answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            words = " ".join(str(response.headers.get("X-Error-Message") or "").split())[:LONGEST_SHOWN]
            return int(response.status_code), f" ({words})" if words else ""
        error = error.__cause__
    return 0, ""
