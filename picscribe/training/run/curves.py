"""curves.png: how loss, learning rate and scores went over a run's steps."""

import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 640, 220, 48
LONGEST = 4
"""How many charts fit into one column; more are drawn in two, row by row."""
INK, LINE, GRID = (30, 30, 30), (31, 107, 176), (220, 220, 220)


def draw_curves(history: Sequence[Mapping[str, float]]) -> bytes:
    """A PNG with a chart a column of `history` but "step" and "seconds", over the steps; rows may lack columns."""
    names = [n for n in dict.fromkeys(key for row in history for key in row) if n not in ("step", "seconds", "epoch")]
    columns = 1 if len(names) <= LONGEST else 2
    sheet = Image.new("RGB", (columns * WIDTH, max(1, math.ceil(len(names) / columns)) * HEIGHT), "white")
    for number, name in enumerate(names):
        points = [(float(row["step"]), float(row[name])) for row in history if name in row]
        sheet.paste(_chart(name, points), (number % columns * WIDTH, number // columns * HEIGHT))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _chart(name: str, points: list[tuple[float, float]]) -> Image.Image:
    chart = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(chart), ImageFont.load_default(13)
    left, right, low, high = MARGIN + 24, WIDTH - 16, HEIGHT - 28, 28
    least, most = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    for value, height in ((most, high), (least, low)):
        draw.line((left, height, right, height), fill=GRID)
        draw.text((4, height - 8), f"{value:.4g}", fill=INK, font=font)
    draw.text((left, 6), name, fill=INK, font=font)
    draw.text((left, low + 6), f"step {first:.0f}", fill=INK, font=font)
    draw.text((right - 90, low + 6), f"step {last:.0f}", fill=INK, font=font)
    placed = [
        (
            left + (right - left) * (x - first) / max(1.0, last - first),
            low - (low - high) * (y - least) / ((most - least) or 1.0),
        )
        for x, y in points
    ]
    if len(placed) > 1:
        draw.line(placed, fill=LINE, width=2)
    for x, y in placed:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=LINE)
    return chart
