"""Typed reading of a configuration's keys that collects every problem before it raises one error."""

import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from picscribe.checkpoints.weights import raise_problems

REQUIRED = object()
MOST = 1 << 24  # a size beyond it is a damaged file; the network of such sizes could not even be described
MOST_NUMBER = 1e6  # of a share, a rate or a norm's eps: all real ones are at most 1


def abridged(value: object) -> str:
    """A value of a file in at most a few words, however large or nested it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "a number of thousands of digits"


class Fields:
    """Keys of a JSON or YAML object. A bad key is noted and a harmless value handed back; `finish` raises what was."""

    def __init__(
        self, values: Mapping[str, Any], source: object, path: str = "", problems: list[str] | None = None
    ) -> None:
        self.values = values
        self.source = source
        self.path = path
        self.problems: list[str] = [] if problems is None else problems

    def _get(self, key: str, default: object) -> Any:
        if key in self.values:
            return self.values[key]
        if default is REQUIRED:
            self.problems.append(f"key {self.path}{key} is missing")
            return None
        return default

    def _wrong(self, key: str, expected: str, value: object) -> None:
        if key in self.values:  # a missing key has been noted already
            self.problems.append(f"key {self.path}{key} must be {expected}, not {abridged(value)}")

    def whole(self, key: str, default: object = REQUIRED, least: int = 1, most: int = MOST) -> int:
        """A whole number from `least` to `most`."""
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._wrong(key, f"a whole number from {least} to {most}", value)
        return least

    def number(self, key: str, default: object = REQUIRED) -> float:
        """A number from 0 to a million."""
        value = self._get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_NUMBER:
            return float(value)
        self._wrong(key, "a number from 0 to a million", value)
        return 0.0

    def flag(self, key: str, default: object = REQUIRED) -> bool:
        """True or false."""
        value = self._get(key, default)
        if isinstance(value, bool):
            return value
        self._wrong(key, "true or false", value)
        return False

    def choice(self, key: str, allowed: Collection[object], default: object = REQUIRED) -> Any:
        """One of a few values."""
        value = self._get(key, default)
        if any(value == one and type(value) is type(one) for one in allowed):
            return value
        self._wrong(key, " or ".join(repr(one) for one in allowed), value)
        return next(iter(allowed))

    def triple(self, key: str) -> tuple[float, float, float]:
        """Three finite numbers, one a colour."""
        value = self._get(key, REQUIRED)
        if isinstance(value, list) and len(value) == 3:
            numbers = [float(one) for one in value if isinstance(one, int | float) and -1e6 < one < 1e6]
            if len(numbers) == 3:
                return numbers[0], numbers[1], numbers[2]
        self._wrong(key, "a list of three numbers", value)
        return 1.0, 1.0, 1.0

    def section(self, key: str) -> "Fields":
        """An object inside this one; its problems are noted here, with its path."""
        value = self._get(key, REQUIRED)
        if not isinstance(value, dict):
            self._wrong(key, "an object", value)
            return Fields({}, self.source, f"{self.path}{key}.", [])
        return Fields(value, self.source, f"{self.path}{key}.", self.problems)

    def finish(self) -> None:
        """Raise one CheckpointError that lists every problem noted."""
        raise_problems(self.source, self.problems)
