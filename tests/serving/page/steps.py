"""What tests of the page do again and again."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="needs the extra dev")

from playwright.sync_api import expect

OpenPage = Callable[..., Any]
SLOW = 300_000
"""Milliseconds: captions on a machine that does other things."""


def add(page: Any, *files: Any) -> None:
    """Choose files, and wait until each has its row."""
    before = page.locator(".row").count()
    page.set_input_files("#choose-files", list(files))
    expect(page.locator(".row")).to_have_count(before + len(files))


def captioned(page: Any) -> None:
    """Wait until no photo waits for a caption. The bar of progress comes with the first row, never after it."""
    expect(page.locator(".row").first).to_be_attached()
    expect(page.locator("#progress")).to_be_hidden(timeout=SLOW)


def picture(number: int) -> dict[str, Any]:
    """A file for the page: a small picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (number * 37 % 256, number * 91 % 256, number * 53 % 256)).save(buffer, "PNG")
    return {"name": f"photo-{number:03}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
