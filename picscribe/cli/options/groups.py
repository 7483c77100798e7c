"""Lets a command take options that belong together as one parameter: a frozen dataclass with a field for each."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Only:
    """Marks a parameter of a command that has only these options of its group; the others keep their defaults.

    `loading: Annotated[LoadingOptions, Only("device", "dtype")]`
    """

    def __init__(self, *names: str) -> None:
        self.names = names


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give Typer an option for each field of a parameter that is a dataclass; `command` itself gets the dataclass.

    A field is declared like any option: `device: Annotated[str, typer.Option(help="…")] = "cpu"`. In `--help` the
    options take the place of the parameter.
    Raises ValueError where `Only` names an option that its group lacks.
    """
    flat: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind, names = _group_of(parameter.annotation)
        if kind is None:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        options = _options_of(kind)
        if unknown := [name for name in names or () if name not in options]:
            raise ValueError(f"{kind.__name__} has no option {unknown[0]}")
        taken = [option for option in options.values() if names is None or option.name in names]
        flat += taken
        groups[parameter.name] = kind, [option.name for option in taken]

    @wraps(command)
    def flattened(**given: Any) -> None:
        made = {
            name: kind(**{option: given.pop(option) for option in options}) for name, (kind, options) in groups.items()
        }
        command(**given, **made)

    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return flattened


def _group_of(annotation: Any) -> tuple[Any, tuple[str, ...] | None]:
    """The dataclass of a parameter and the options that `Only` names; None for no dataclass, and for all options."""
    kind, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not is_dataclass(kind):
        return None, None
    return kind, next((mark.names for mark in marks if isinstance(mark, Only)), None)


def _options_of(kind: Any) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    }
