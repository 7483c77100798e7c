"""Debian's Chromium, driven by Playwright, on pages of a service that captions with `nano`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra dev")

from picscribe.serving.settings import ModelSpec  # noqa: E402

PATIENCE = 120_000
"""Milliseconds: nothing here takes a tenth of them, but the machine may do other things too."""
playwright.expect.set_options(timeout=PATIENCE)
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    f"--{name}"
    for name in (
        "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",
    )
]  # fmt: skip
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Of one module: Playwright's event loop, which it leaves in the main thread, must not outlive these tests."""
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def captioner(serve: Any, tiny_model: Path) -> Any:
    """A service of `nano`, and of a model that knows nothing, to compare with."""
    return serve(models=(ModelSpec("nano", "nano"), ModelSpec("tiny", str(tiny_model))))


@pytest.fixture
def open_page(browser: Any, captioner: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page in a browser of its own. Ends with an error for one in the console, or a request to elsewhere."""
    wrong: list[str] = []
    expected: list[str] = []
    contexts = []

    def open_(
        url: str | None = None, expect: tuple[str, ...] = (), ready: str = "html[data-ready]", **options: Any
    ) -> Any:
        url = url or captioner.url
        expected.extend(expect)
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
        page.on(
            "response", lambda got: got.status >= 400 and wrong.append(f"{got.status} {got.url} {got.text()[:300]}")
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.extend(elsewhere(request.url, url)))
        page.goto(url)
        playwright.expect(page.locator(ready)).to_be_attached()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [one for one in wrong if not any(part in one for part in expected)] == []


def elsewhere(address: str, own: str) -> list[str]:
    """A request to another host than the service's."""
    parts = urlsplit(address)
    return [f"asked {address}"] if parts.scheme in ("http", "https") and parts.netloc != urlsplit(own).netloc else []


@pytest.fixture
def photo_files() -> list[Path]:
    """Five real photos."""
    return sorted(EXAMPLES.glob("*.jpg"))
