"""curves.png: a chart a column of the history, in one column or two."""

import io

import pytest
from PIL import Image, ImageChops

from picscribe.training.run.curves import HEIGHT, LINE, WIDTH, draw_curves


def drawn(names: int) -> Image.Image:
    history = [
        {"step": 10.0 * row, "seconds": 1.0, **{f"score {n}": float(row * n) for n in range(names)}}
        for row in (1, 2, 3)
    ]
    return Image.open(io.BytesIO(draw_curves(history)))


@pytest.mark.parametrize(("names", "columns", "rows"), [(1, 1, 1), (4, 1, 4), (5, 2, 3), (11, 2, 6)])
def test_every_column_of_the_history_has_a_chart(names: int, columns: int, rows: int) -> None:
    sheet = drawn(names)
    assert sheet.size == (columns * WIDTH, rows * HEIGHT)
    for number in range(columns * rows):
        left, top = number % columns * WIDTH, number // columns * HEIGHT
        chart = sheet.crop((left, top, left + WIDTH, top + HEIGHT))
        has_line = LINE in {colour for _, colour in chart.getcolors(1 << 16)}
        assert has_line == (number < names)


def test_a_rising_score_rises() -> None:
    chart = drawn(2).crop((0, HEIGHT, WIDTH, 2 * HEIGHT)).convert("RGB")
    line = (
        ImageChops.difference(chart, Image.new("RGB", chart.size, LINE))
        .convert("L")
        .point(lambda v: 255 if not v else 0)
    )
    left, right = (line.crop((x, 0, x + 60, HEIGHT)).getbbox() for x in (72, WIDTH - 76))
    assert left is not None and right is not None
    assert right[1] < left[1], "higher on the sheet"


def test_rows_may_lack_columns() -> None:
    assert draw_curves([{"step": 0.0, "CIDEr": 0.1}, {"step": 1.0, "loss": 2.0, "CIDEr": 0.2}])
    assert draw_curves([])
