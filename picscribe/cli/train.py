"""`picscribe train`: a recipe or a folder of photos with captions in, a run's folder with the best checkpoint out."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picscribe.cli.output.terminal import write_line
from picscribe.errors import ConfigurationError

if TYPE_CHECKING:
    from picscribe.training import Recipe

RATES_OF_A_NEW_MODEL = {"learning_rate": 1e-3, "encoder_learning_rate": 2e-4}
"""As in recipes/nano-flickr8k.yaml."""
VALIDATION_SPLITS = ("val", "valid", "validation", "dev")


def train(
    recipe: Annotated[
        str | None, typer.Argument(show_default=False, help="A YAML file such as recipes/fine-tune.yaml.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SECTION.KEY=VALUE]...", show_default=False, help="Settings that override those of the recipe."
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            show_default=False,
            help="Instead of a recipe: a data set in any known format; may be repeated.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            show_default=False,
            help="With --data: the checkpoint to start from, or imagenet. [default: nano]",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(show_default=False, help="The run's folder. [default: runs/NAME]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the --output folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show settings, data, steps, memory and a batch, and train nothing.")
    ] = False,
) -> None:
    """Train a model from a recipe, or fine-tune one on your own photos.

    The run's folder has the best checkpoint, a history, curves and samples. SIGTERM and Ctrl-C save the state, and
    --resume continues from it. For several processes use torchrun --nproc-per-node 2 -m picscribe train RECIPE
    """
    from picscribe.training import load_recipe, train
    from picscribe.training.preview import preview
    from picscribe.training.recipe import IMAGENET
    from picscribe.training.recipe_file import recipe_from

    if dry_run and resume:
        raise ConfigurationError("--dry-run and --resume do not go together: leave one out")
    if data:
        if recipe is not None and "=" not in recipe:
            _require_no_setting(recipe)
            raise ConfigurationError(f"give a recipe ({recipe}) or --data ({data[0]}), not both")
        # The argument in the place of the recipe is the first override.
        overrides = [*([recipe] if recipe else []), *(overrides or [])]
        named = any(override.startswith("data.train=") for override in overrides)
        sources: dict[str, list[dict[str, str]]] = {} if named else _sources(data)
        # To see what it gave, the start is scored too; a new model says nothing yet, and learns at other rates.
        known = start != IMAGENET
        chosen = {"validation": {"before": True}} if known else {"optimisation": dict(RATES_OF_A_NEW_MODEL)}
        settings = recipe_from({"start": start or "nano", "data": sources, **chosen}, overrides)
        name = data[0].resolve().stem
    elif recipe is None and start is None and resume and output is not None and (output / "recipe.yaml").is_file():
        settings = _load_own_recipe(output)
        name = settings.name
    elif recipe is None:
        raise ConfigurationError("give a recipe, or --data and a folder of photos with captions")
    elif start is not None:
        raise ConfigurationError("--from goes with --data: a recipe sets its own start")
    elif Path(recipe).is_dir():
        raise ConfigurationError(f"{recipe} is a folder, not a recipe: to learn from its photos, use --data {recipe}")
    else:
        settings = load_recipe(Path(recipe), overrides or ())
        name = settings.name
    folder = output or Path("runs") / name
    if dry_run:
        write_line(preview(settings, folder))
        return
    train(settings, folder, resume=resume, report=write_line)


def _load_own_recipe(run: Path) -> "Recipe":
    """The recipe of a run. Raises ConfigurationError for one of a version with other settings."""
    from picscribe.training import load_recipe

    try:
        return load_recipe(run / "recipe.yaml")
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{run / 'recipe.yaml'}: {error} (where another version of picscribe began this run, versions.json says "
            f"which: continue with that one, or start another run from {run / 'best'})"
        ) from error


def _require_no_setting(text: str) -> None:
    """Raise ConfigurationError for what was meant as a setting, such as "optimisation.steps" before " 3"."""
    from picscribe.training import Recipe

    if text.partition(".")[0] in {field.name for field in fields(Recipe)}:
        raise ConfigurationError(f"{text!r}: a setting has the form section.key=value")


def _sources(folders: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """The training split of each data set that has one, or all of one that has no splits; the validation splits there
    are."""
    from picscribe.datasets import read_dataset

    learned, validated = list[dict[str, str]](), list[dict[str, str]]()
    for data in folders:
        splits = set(read_dataset(data).splits) - {""}
        if splits and "train" not in splits:
            listed = ", ".join(sorted(splits))
            raise ConfigurationError(
                f"{data}: has the splits {listed}; name one: 'data.train=[{{path: {data}, split: NAME}}]'"
            )
        learned.append({"path": str(data), "split": "train"} if splits else {"path": str(data)})
        named = [{"path": str(data), "split": split} for split in VALIDATION_SPLITS if split in splits]
        validated += named[:1]
    return {"train": learned, "validation": validated}
