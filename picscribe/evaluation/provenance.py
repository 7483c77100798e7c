"""How a report was made, as text by part and name: for its page, and to say where two reports differ."""

import shlex
from collections.abc import Mapping
from typing import Any

from picscribe.evaluation.results import Report


def provenance(report: Report) -> dict[str, dict[str, str]]:
    """Part → name → value, all as text; what is nested has its names joined with a dot."""
    parts: dict[str, Mapping[str, Any]] = {
        "Model": report.model,
        "Data": report.data,
        "Generation": report.generation,
        "Intervals": report.resampling,
        "Versions": report.versions,
    }
    return {part: _flatten(values) for part, values in parts.items() if values}


def command(report: Report) -> str:
    """The command line that makes the report again, as a shell takes it."""
    data, options = report.data, report.generation
    given = {
        "--images": data.get("images"),
        "--format": data["format"],
        "--split": data["split"],
        "--metric": None if report.metric == "captions" else report.metric,
        "--revision": report.model["revision"],
        "--device": report.model["device"],
        "--dtype": report.model.get("dtype"),
        "--quantize": report.model.get("quantize"),
        "--beams": options["beams"],
        "--length-penalty": options["length_penalty"],
        "--max-words": options["max_new_tokens"],
        "--batch-size": options["batch_size"],
        "--samples": report.resampling["samples"],
        "--seed": report.resampling["seed"],
    }
    words = ["picscribe", "evaluate", report.model["name"], data["path"]]
    for option, value in given.items():
        if value is not None:
            words += [option, str(value)]
    if report.model.get("compile"):
        words.append("--compile")
    return shlex.join(words)


def _flatten(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = _as_text(value)
    return flat


def _as_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def differences(first: Report, second: Report) -> list[tuple[str, str, str]]:
    """What the two were not made alike in: "Part: name", the first's value, the second's ("–" where it has none)."""
    one, other = provenance(first), provenance(second)
    found = []
    for part in dict.fromkeys([*one, *other]):
        here, there = one.get(part, {}), other.get(part, {})
        for name in dict.fromkeys([*here, *there]):
            values = here.get(name, "–"), there.get(name, "–")
            if values[0] != values[1]:
                found.append((f"{part}: {name}", *values))
    return found
