"""What a person sees of a bulk run: a panel while it continues, a summary at its end."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from picscribe.cli.output.terminal import live_console, report

if TYPE_CHECKING:
    from picscribe.bulk.entries import Outcome
    from picscribe.bulk.running import Summary

LAST = 5
"""Captions shown."""
RECENT = 30.0
"""Seconds that the speed is measured over."""
NOTES = 20
"""Notes written out; the rest is counted."""


class Panel:
    """Told of a run as a `Listener`; draws where standard error is a terminal, else only passes on what matters."""

    def __init__(self) -> None:
        self.done = self.failed = self.total = self.notes = 0
        self._last: deque[tuple[str, str]] = deque(maxlen=LAST)
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._live: Any = None

    def __enter__(self) -> "Panel":
        if console := live_console():
            from rich.live import Live

            self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self.notes > NOTES:
            report(f"{self.notes - NOTES} more notes like these")

    def planned(self, counts: Mapping[str, int]) -> None:
        """How many there are in each state."""
        self.total = sum(counts.values())
        self.done = counts["done"] + counts["skipped"] + counts["held"]
        self.failed = counts["failed"]
        self._times = deque([(time.monotonic(), self.done + self.failed)])

    def settled(self, outcomes: "Sequence[Outcome]") -> None:
        """What was found just now."""
        from picscribe.bulk.entries import printable, texts_of

        for outcome in outcomes:
            self.failed += outcome.value is None
            self.done += outcome.value is not None
            said = "; ".join(texts_of(outcome.value)) if outcome.value is not None else ""
            if outcome.failure is not None:
                said = f"{outcome.failure.kind}: {outcome.failure.reason}"
            self._last.append((printable(outcome.entry.path), said))
        self._times.append((time.monotonic(), self.done + self.failed))
        while self._times[-1][0] - self._times[0][0] > RECENT and len(self._times) > 2:
            self._times.popleft()

    def note(self, text: str) -> None:
        """What a person should know."""
        self.notes += 1
        if self.notes <= NOTES:
            if self._live is not None:
                self._live.console.print(f"picscribe: {text}", markup=False, highlight=False)
            else:
                report(text)

    def speed(self) -> float:
        """Entries a second, lately."""
        (first, before), (last, now) = self._times[0], self._times[-1]
        return (now - before) / (last - first) if last > first else 0.0

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.panel import Panel as Box
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        speed = self.speed()
        left = self.total - self.done - self.failed
        ends = f"{_clock(left / speed)} to go" if speed and left > 0 else ""
        head = f"{self.done:,} done   {self.failed:,} failed   of {self.total:,}   {speed:.1f}/s   {ends}"
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=2)
        for path, said in self._last:
            table.add_row(Text(_plain(path), style="dim"), Text(_plain(said)))
        bar = ProgressBar(total=max(self.total, 1), completed=self.done + self.failed)
        return Box(Group(Text(head), bar, table), title="picscribe bulk")


def lines_of(summary: "Summary") -> Iterator[str]:
    """The summary at the end of a run."""
    counts = summary.counts
    rate = f", {summary.settled / summary.seconds:.1f} a second" if summary.seconds else ""
    yield f"{summary.settled:,} in this run, in {_clock(summary.seconds)}{rate}"
    said = [f"{counts['done']:,} done"]
    said += [f"{counts[name]:,} {words}" for name, words in STATES.items() if counts[name]]
    yield "of all: " + ", ".join(said)
    if summary.skipped:
        yield f"{summary.skipped:,} have a text already and are left as they are: --existing says otherwise"
    if summary.failures:
        each = ", ".join(f"{count:,} {kind}" for kind, count in sorted(summary.failures.items()))
        yield f"failed: {each}; named in {summary.folder / 'failures.jsonl'}; --retry-failed tries them again"
    if counts["held"]:
        page, job = summary.folder / "review.html", summary.folder
        yield f"unsure: look at {page}, then: picscribe bulk apply {job} edits.json"
    if summary.interrupted:
        yield "stopped: what was in hand is written; the same command continues from here"


STATES = {"failed": "failed", "pending": "to do", "skipped": "left as they are", "held": "to be looked at"}


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
