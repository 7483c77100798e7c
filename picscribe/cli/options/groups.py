"""Options that belong together as one parameter of a command: a frozen dataclass, whose fields Typer takes singly."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Only:
    """Marks a parameter of a command that has only these options of its group; the others keep their defaults.

    `loading: Annotated[Loading, Only("device", "dtype")]`
    """

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer takes it: in place of each parameter that is a dataclass, an option for each of its fields.

    A field is declared as an option is: `device: Annotated[str, typer.Option(help="…")] = "cpu"`. Options appear in
    `--help` where the parameter is.
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
        for name, (kind, options) in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in options})
        command(**given)

    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return flattened


def _group_of(annotation: Any) -> tuple[Any, tuple[str, ...] | None]:
    """The dataclass that a parameter is of, if it is of one, and which of its options it has, None for all."""
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
