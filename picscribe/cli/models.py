"""`picscribe models`: what can be loaded by name, and what of it is already on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.output.terminal import write_line
from picscribe.errors import CheckpointError

if TYPE_CHECKING:
    from picscribe.checkpoints.registry import Released

HEADINGS = ("NAME", "TASK", "SIZE", "INPUT", "PUBLISHED", "WHERE")


def models(
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object for each model.")] = False,
) -> None:
    """List the models that can be loaded by name, and where they are."""
    from picscribe.checkpoints import RELEASED
    from picscribe.checkpoints.resolve import BUNDLED

    entries = [_bundled(name) for name in BUNDLED]
    entries += [_released(one) for one in RELEASED]
    entries += [_cached(name) for name in _cached_names() if name not in {one.hub_id for one in RELEASED}]
    if json_lines:
        for entry in entries:
            write_line(json.dumps(entry))
        return
    rows = [HEADINGS, *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _entry(name: str, where: str, **known: Any) -> dict[str, Any]:
    """What `--json` says of a model; None for what is not known."""
    names = ("task", "parameters", "image_size", "longer_edge", "frames", "score")
    return {"name": name, "where": where, **{field: known.get(field) for field in names}}


def _bundled(name: str) -> dict[str, Any]:
    from picscribe.checkpoints import describe

    try:
        found = describe(name)
    except CheckpointError:
        return _entry(name, "missing")
    config = found.config
    return _entry(
        name,
        "broken" if found.problems else "in the package",
        task="captioning, questions",
        parameters=found.parameters,
        image_size=config.image_encoder.image_size if config else None,
        frames=config.frames if config else None,
    )


def _released(one: "Released") -> dict[str, Any]:
    from picscribe.checkpoints.resolve import find_cached

    if one.hub_id is None:
        where = "original files only"
    else:
        where = "on this machine" if find_cached(one.name) else "Hugging Face hub"
    score = {"metric": one.score.metric, "value": one.score.value, "data": one.score.data} if one.score else None
    return _entry(
        one.name,
        where,
        task=one.task,
        parameters=one.parameters,
        image_size=one.image_size,
        longer_edge=one.longer_edge,
        frames=one.frames,
        score=score,
    )


def _cached(name: str) -> dict[str, Any]:
    return _entry(name, "on this machine")


def _cached_names() -> list[str]:
    """Hub names of the GIT models in Hugging Face's cache, sorted; models of other kinds are left out."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    models = [repository for repository in repositories if repository.repo_type == "model"]
    return sorted(
        model.repo_id
        for model in models
        if any(_is_git(file.file_path) for revision in model.revisions for file in revision.files)
    )


def _is_git(file: Path) -> bool:
    """Whether `file` is the configuration of a GIT model."""
    if file.name != "config.json":
        return False
    from picscribe.checkpoints.weight_files import read_configuration

    try:
        return read_configuration(file).get("model_type") == "git"
    except CheckpointError:  # one broken file does not hide the other models
        return False


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one model in the table for people."""
    size = f"{entry['parameters'] / 1e6:.3g} M" if entry["parameters"] else "-"
    pixels = f"{entry['image_size']} px" if entry["image_size"] else "-"
    if entry["longer_edge"]:
        pixels += f", at most {entry['longer_edge']}"
    if entry["frames"]:
        pixels = f"{entry['frames']} frames, {pixels}"
    score = entry["score"]
    published = f"{score['metric']} {score['value']}, {score['data']}" if score else "-"
    return (entry["name"], entry["task"] or "-", size, pixels, published, entry["where"])
