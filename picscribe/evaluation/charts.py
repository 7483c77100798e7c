"""The chart of an evaluation's page, as inline SVG: how long predictions and references are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from picscribe.markup import Markup, element, join

LONGEST = 40
"""Words; longer texts are counted with these, so that one of a thousand words does not flatten the others."""

WIDTH, HEIGHT = 440.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 28.0, 40.0
FLOOR = HEIGHT - BOTTOM
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
LINES = 5


@dataclass(frozen=True)
class _Scale:
    """Where a length (in words, 0 to `longest`) and a share (0 to `LINES` times `step`) lie in the drawing."""

    longest: int
    step: float

    def across(self, words: float) -> float:
        return LEFT + words * (WIDTH - LEFT - RIGHT) / (self.longest + 1)

    def up(self, share: float) -> float:
        return FLOOR - share / (LINES * self.step) * (FLOOR - TOP)


def length_histogram(predictions: Sequence[int], references: Sequence[int]) -> Markup:
    """Share of texts by their length in words: bars for predictions, a line for references; neither may be empty.

    The two differ in form, so that colour is not needed to tell them apart.
    """
    longest = min(LONGEST, max(*predictions, *references, 1))
    bars, line = _shares(predictions, longest), _shares(references, longest)
    highest = max(*bars, *line)
    scale = _Scale(longest, next(step for step in STEPS if highest <= LINES * step))
    summary = f"Predictions: {_summary(predictions)}; references: {_summary(references)}."
    chart = element(
        "svg",
        *_axes(scale),
        *_bars(bars, scale),
        _outline(line, scale),
        *_legend(),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=f"Histogram of lengths. {summary}",
    )
    return join([element("p", summary, class_="soft"), chart])


def _shares(lengths: Sequence[int], longest: int) -> list[float]:
    counts = Counter(min(length, longest) for length in lengths)
    return [counts[length] / len(lengths) for length in range(longest + 1)]


def _summary(lengths: Sequence[int]) -> str:
    return f"{min(lengths)} to {max(lengths)} words, half of them at most {median(lengths):g}"


def _bars(shares: Sequence[float], scale: _Scale) -> list[Markup]:
    return [
        _rectangle("bar", scale.across(length + 0.15), scale.up(share), scale.across(length + 0.85), FLOOR)
        for length, share in enumerate(shares)
        if share
    ]


def _rectangle(name: str, left: float, top: float, right: float, bottom: float) -> Markup:
    return element(
        "rect",
        class_=name,
        x=f"{left:.1f}",
        y=f"{top:.1f}",
        width=f"{right - left:.1f}",
        height=f"{bottom - top:.1f}",
    )


def _outline(shares: Sequence[float], scale: _Scale) -> Markup:
    steps = "".join(f"V{scale.up(share):.1f}H{scale.across(length + 1):.1f}" for length, share in enumerate(shares))
    return element("path", class_="outline", d=f"M{scale.across(0):.1f} {FLOOR:.1f}{steps}V{FLOOR:.1f}")


def _axes(scale: _Scale) -> list[Markup]:
    drawn = []
    for number in range(LINES + 1):
        height = scale.up(number * scale.step)
        ends = {"x1": f"{LEFT:.1f}", "x2": f"{WIDTH - RIGHT:.1f}", "y1": f"{height:.1f}", "y2": f"{height:.1f}"}
        drawn.append(element("line", class_="grid", **ends))
        drawn.append(_label(f"{number * scale.step * 100:.0f} %", LEFT - 5, height + 4, "end"))
    every = 1 if scale.longest <= 12 else 5
    for length in range(0, scale.longest + 1, every):
        more = " +" if length == LONGEST else ""
        drawn.append(_label(f"{length}{more}", scale.across(length + 0.5), FLOOR + 15, "middle"))
    drawn.append(_label("words", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle"))
    return drawn


def _legend() -> list[Markup]:
    return [
        _rectangle("bar", LEFT, 4, LEFT + 12, 15),
        _label("predictions", LEFT + 18, 14, "start"),
        element("path", class_="outline", d=f"M{LEFT + 100:.1f} 15.0V5.0H{LEFT + 112:.1f}V15.0"),
        _label("references", LEFT + 118, 14, "start"),
    ]


def _label(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
