"""Recipes from and to YAML, checked to the last key; unknown keys name the nearest known one."""

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from picscribe.errors import ConfigurationError
from picscribe.training.recipe import IMAGENET, Recipe

Config = TypeVar("Config")


def _build(kind: type[Config], values: object, where: str) -> Config:
    """A dataclass from a mapping, nested dataclasses too; every key and every type is checked."""
    if not isinstance(values, Mapping):
        found = "nothing" if values is None else reprlib.repr(values)
        raise ConfigurationError(f"{where or 'the recipe'} must hold settings (key: value), not {found}")
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            deeper = [f"{part}.{key}" for part, kind in hints.items() if str(key) in _keys(kind)]
            known = f"; did you mean {' or '.join(deeper)}?" if deeper else f"; known are {', '.join(hints)}"
            hint = f"; did you mean {near[0]!r}?" if near else known
            raise ConfigurationError(f"unknown setting {name!r}{hint}")
        arguments[key] = _value(hints[key], value, name)
    return kind(**arguments)


def _keys(kind: Any) -> set[str]:
    return {one.name for one in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def _value(kind: Any, value: object, name: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), value, name)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigurationError(f"{name} must be a list, such as [{reprlib.repr(value)}]")
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


class _Loader(yaml.SafeLoader):
    """Reads YAML safely, and refuses a key that is given twice, because the first value would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
            line = node.start_mark.line + 1
            raise ConfigurationError(f"{twice!r} is there twice in the section from line {line}: merge them")
        return super().construct_mapping(node, deep)


def _parse(text: str, where: str) -> object:
    try:
        return yaml.load(text, _Loader)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not a YAML file: {' '.join(str(error).split())}") from error


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `overrides` are "section.key=value" and win.

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


def recipe_from(values: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
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
                raise ConfigurationError(f"{override!r}: {part!r} is a value, not a section: write {part}=VALUE")
        section[key] = _parse(text, repr(override))
    _settle_length(values, {override.partition("=")[0] for override in overrides})
    if "start" not in values:
        raise ConfigurationError(f"the recipe has no start: add start=nano, another checkpoint, or start={IMAGENET}")
    return _build(Recipe, values, "")


def _settle_length(values: dict[str, Any], overridden: set[str]) -> None:
    """Epochs on the command line count, though the recipe has steps, which would win."""
    if "optimisation.epochs" not in overridden:
        return
    if "optimisation.steps" in overridden and values["optimisation"]["steps"] != 0:
        raise ConfigurationError("optimisation.epochs and optimisation.steps both set the length of a run: keep one")
    values["optimisation"].pop("steps", None)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every setting spelled out."""
    return yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False, allow_unicode=True)
