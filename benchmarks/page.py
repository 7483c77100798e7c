"""The page with many photos: milliseconds that each interaction takes, and its screenshots.

    python -m benchmarks.page                       # 300 photos dropped at once; tables on the terminal
    python -m benchmarks.page --screenshots docs/images   # page-*.webp, as README and docs show them

Needs the extra `dev` and Debian's chromium. An interaction's time is the browser's own (Event Timing): from the key or
click until the next frame is on the screen. On a busy machine that grows with the load; the processor time of the page
itself, which is shown too, does not.
"""

import argparse
import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OPTIONS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-sync")
WATCH = """
    window.slow = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
            if (entry.interactionId)
                window.slow.push([entry.name, entry.duration, entry.processingEnd - entry.startTime,
                                  entry.target?.id || entry.target?.className || ""]);
    }).observe({type: 'event', durationThreshold: 16, buffered: true});
"""


@contextlib.contextmanager
def service() -> Iterator[str]:
    """The address of a service of nano, which leaves the processors to the browser, as one elsewhere would."""
    command = ["nice", "-n", "5", sys.executable, "-m", "picscribe", "serve", "--port", "0", "--queue", "1024"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if " at http" in line).split(" at ")[1].split(";")[0]
        yield address
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=[f"--{name}" for name in OPTIONS]
        )
        yield found
        found.close()


def many_photos(number: int, folder: Path) -> list[Path]:
    """Photos that differ: cuts of the examples, 1600 pixels wide, JPEG."""
    sources = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    made = []
    for place in range(number):
        source = sources[place % len(sources)]
        left = place // len(sources)
        cut = source.crop((left, 0, source.width, source.height - left)).resize((1600, 1200))
        made.append(folder / f"photo-{place:03}.jpg")
        cut.save(made[-1], quality=85)
    return made


class Costs:
    """Processor time of the page's main thread, which other processes do not lengthen, from an action until a frame."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.browser = page.context.new_cdp_session(page)
        self.browser.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.found: dict[str, list[float]] = {}

    def of(self, name: str, act: Callable[[], Any]) -> None:
        """Do something, wait until it is on the screen, and note what it took."""
        before = self._spent()
        act()
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        )
        self.found.setdefault(name, []).append(1000 * (self._spent() - before))

    def of_click(self, name: str, target: Any) -> None:
        """Click in the middle of an element, without the checks that Playwright makes in the page before."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        self.of(name, lambda: self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))

    def _spent(self) -> float:
        metrics = self.browser.send("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def measure(number: int) -> None:
    """Drop photos, and use the page at once, while captions arrive."""
    from playwright.sync_api import expect

    with service() as address, browser() as chromium, tempfile.TemporaryDirectory() as folder:
        photos = many_photos(number, Path(folder))
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        page.goto(address)
        expect(page.locator("html[data-ready]")).to_be_attached()
        page.evaluate(WATCH)
        page.set_input_files("#choose-files", photos)
        expect(page.locator(".row")).to_have_count(number, timeout=60_000)
        costs = Costs(page)
        for _ in range(3):
            costs.of_click("click into the text", page.locator("#editor-text"))
            for letter in "A text, typed while photos arrive.":
                costs.of("a letter", lambda letter=letter: page.keyboard.type(letter))
            costs.of("accept, and the next photo", lambda: page.keyboard.press("Control+Enter"))
            costs.of("back to the table", lambda: page.keyboard.press("Escape"))
            for key in ("ArrowDown", "ArrowDown", "PageDown", "End", "Home"):
                costs.of("another photo", lambda key=key: page.keyboard.press(key))
            for name in ("done", "open", "all"):
                costs.of_click("a filter", page.locator(f"[data-filter={name}]"))
            costs.of_click("open a photo", page.locator(".row-open").nth(number // 2))
        expect(page.locator(".row .thumbnail img")).to_have_count(number, timeout=300_000)
        page.wait_for_timeout(500)
        entries = page.evaluate("window.slow")
    by_name: dict[str, list[tuple[float, float]]] = {}
    for name, whole, handled, _ in entries:
        by_name.setdefault(name, []).append((whole, handled))
    print("milliseconds of the page's own processor time, photos that arrive meanwhile included")
    for name, times in costs.found.items():
        times.sort()
        print(f"{name:<26} {len(times):>4} times  median {times[len(times) // 2]:.0f}  highest {times[-1]:.0f}")
    print(f"{number} photos; milliseconds until the next frame (and until the page had handled the event)")
    for name, times in sorted(by_name.items()):
        whole, handled = sorted(one for one, _ in times), sorted(one for _, one in times)
        middle = len(times) // 2
        print(
            f"{name:<12} {len(times):>4} times  median {whole[middle]:.0f} ({handled[middle]:.0f})"
            f"  highest {whole[-1]:.0f} ({handled[-1]:.0f})  above 100: {sum(one > 100 for one in whole)}"
        )
    for name, whole, handled, target in sorted(entries, key=lambda entry: -entry[1])[:5]:
        if whole > 100:
            print(f"above 100: {name} on {target}, {whole:.0f} ({handled:.0f})")


def screenshots(folder: Path) -> None:
    """Three pictures of the page, WebP: light, dark, a phone's width."""
    from playwright.sync_api import expect

    folder.mkdir(parents=True, exist_ok=True)
    with service() as address, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.goto(address)
        expect(page.locator("html[data-ready]")).to_be_attached()
        page.set_input_files("#choose-files", sorted(EXAMPLES.glob("*.jpg")))
        expect(page.locator(".row")).to_have_count(5)
        expect(page.locator("#progress")).to_be_hidden(timeout=120_000)
        page.locator(".row", has_text="astronaut").locator(".row-open").click()
        page.locator("#editor-text").fill("An astronaut in an orange suit smiles beside a model of a space shuttle.")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#editor-title")).to_have_text("camera.jpg")
        page.locator(".word").last.hover()
        expect(page.locator(".heat")).to_be_visible()
        save(page, folder / "page.webp")
        page.emulate_media(color_scheme="dark")
        save(page, folder / "page-dark.webp")
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator(".word").last.hover()
        expect(page.locator(".heat")).to_be_visible()
        save(page, folder / "page-phone.webp")


def save(page: Any, path: Path) -> None:
    """A screenshot as WebP."""
    page.wait_for_timeout(300)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=82, method=6)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--screenshots", type=Path, help="make these instead, in this folder")
    given = parser.parse_args()
    if given.screenshots:
        screenshots(given.screenshots)
    else:
        measure(given.photos)
