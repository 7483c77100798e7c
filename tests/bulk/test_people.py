"""What is for people: looking before a run, a sample, a review, a folder that grows, a full disk, the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from picscribe.bulk import DiskFull, Options, Run, Work, status_of
from picscribe.bulk.entries import Entry, Outcome
from picscribe.bulk.failures import Failure
from picscribe.bulk.running import options_of
from picscribe.cli.main import app
from picscribe.cli.output.bulk_panel import Panel
from picscribe.errors import ConfigurationError, InputError

ROOT = Path(__file__).resolve().parents[2]


def test_a_look_before_the_run(bulk: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "0.txt").write_text("mine\n", encoding="utf-8")
    options = Options((str(folder),), ("txt",))
    before = sorted(tmp_path.rglob("*"))
    counts = Run(options, lambda _: pytest.fail("a model"), bulk).look()
    assert (counts["found"], counts["new"], counts["to leave"]) == (7, 6, 1)
    assert sorted(tmp_path.rglob("*")) == before
    bulk(folder, "txt")
    bulk.draw(folder / "new.png", 9)
    counts = Run(options, lambda _: pytest.fail("a model"), bulk).look()
    assert (counts["found"], counts["new"], counts["done"], counts["failed"], counts["skipped"]) == (8, 1, 5, 1, 1)
    (folder / "0.jpg").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="would both be written"):
        Run(Options((str(folder),), ("txt",), names="stem"), lambda _: pytest.fail("a model"), bulk).look()


def test_a_sample_to_look_at_is_not_computed_again(bulk: Any, folder: Path, tmp_path: Path) -> None:
    page = bulk.run_of(folder, "txt", tmp_path / "o.jsonl").sample(4)
    assert len(bulk.calls) <= 4 and page.count("<li>") == 4
    assert not list(folder.glob("*.txt")) and not (tmp_path / "o.jsonl").exists()
    assert page.count("data:image/jpeg") == len(bulk.calls) and "confidence" in page
    sampled = set(bulk.calls)
    bulk(folder, "txt", tmp_path / "o.jsonl")
    assert len(bulk.calls) == 6 - len(sampled) and not sampled & set(bulk.calls)


def test_unsure_results_wait_for_a_person_whose_words_are_written(bulk: Any, folder: Path, tmp_path: Path) -> None:
    outputs = ("txt", "xmp", tmp_path / "o.jsonl", f"webdataset:{tmp_path}/w")
    bulk(folder, *outputs[2:3], job=str(tmp_path / "try"))
    confidences = sorted(row["confidence"] for row in bulk.lines(tmp_path / "o.jsonl"))
    (tmp_path / "o.jsonl").unlink()
    summary = bulk(folder, *outputs, min_confidence=confidences[3], job=str(tmp_path / "job"))
    assert (summary.counts["held"], summary.counts["done"]) == (3, 3)
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 3 == len(list(folder.rglob("*.txt")))
    page = (tmp_path / "job" / "review.html").read_text("utf-8")
    numbers = [int(number) for number in re.findall(r'data-entry="(\d+)"', page)]
    (name,) = re.findall(r'data-job="(\w+)"', page)
    assert len(numbers) == 3 and page.count("<textarea") == 3 and page.count("data:image/jpeg") == 3
    assert re.search(r"script-src &#x27;sha256-[\w+/=]+&#x27;", page)
    edits = tmp_path / "edits.json"
    edits.write_text(
        json.dumps({"job": name, "edits": [{"entry": n, "text": f"words {n}"} for n in [*numbers[:2], 999]]})
    )
    run = Run(options_of(tmp_path / "job"), lambda _: pytest.fail("a model"), bulk)
    assert run.apply(edits) == (2, 1)
    rows = bulk.lines(tmp_path / "o.jsonl")
    assert len(rows) == 5 and [row["caption"] for row in rows[3:]] == [f"words {n}" for n in numbers[:2]]
    assert (
        rows[3]["edited"] is True
        and Path(rows[3]["path"]).with_suffix(".txt").read_text("utf-8") == f"words {numbers[0]}\n"
    )
    assert Run(options_of(tmp_path / "job"), lambda _: pytest.fail("a model"), bulk).apply(edits) == (0, 3)
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 5
    assert status_of(str(tmp_path / "job")).counts["held"] == 1
    assert len(re.findall('data-entry="', (tmp_path / "job" / "review.html").read_text("utf-8"))) == 1
    for wrong in ("[]", '{"job": "x", "edits": []}', json.dumps({"job": name, "edits": [{"entry": "1", "text": 2}]})):
        edits.write_text(wrong)
        with pytest.raises(InputError, match=r"edits\.json"):
            Run(options_of(tmp_path / "job"), lambda _: pytest.fail("a model"), bulk).apply(edits)


def test_hostile_words_have_no_power_over_pages() -> None:
    from picscribe.bulk.pages import review_page, sample_page

    entry = Entry("/<script>x.png", "x", "</textarea><script>alert(1)</script>", number=1)
    value = {"caption": "</textarea><script>alert(2)</script>", "confidence": 0.5}
    for page in (sample_page("t", [(entry, value, None)], 1), review_page("j", [(entry, value)], 1, 1)):
        assert "<script>alert" not in page and "&lt;script&gt;alert(2)" in page


def test_a_folder_that_grows_is_watched(bulk: Any, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    run = bulk.run_of(folder, tmp_path / "o.jsonl", watch=True)
    thread = threading.Thread(target=run.go)
    thread.start()

    def wait_for(count: int) -> None:
        for _ in range(3000):
            if (tmp_path / "o.jsonl").exists() and (tmp_path / "o.jsonl").read_bytes().count(b"\n") == count:
                return
            time.sleep(0.1)
        pytest.fail(f"{count} rows never came")

    try:
        wait_for(6)
        bulk.draw(folder / "below" / "new.png", 9)
        (folder / "notes.txt").touch()
        wait_for(7)
        bulk.draw(tmp_path / "mended.png", 10)
        os.replace(tmp_path / "mended.png", folder / "broken6.jpg")  # which had failed
        os.utime(folder / "broken6.jpg")
        wait_for(8)
    finally:
        run.stopping = True
        thread.join()
    with pytest.raises(ConfigurationError, match="needs a folder"):
        bulk.run_of(folder / "0.png", tmp_path / "p.jsonl", watch=True).go()


def test_a_photo_that_comes_before_the_folder_is_watched_is_taken_in(bulk: Any, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    run = bulk.run_of(folder, tmp_path / "o.jsonl", watch=True)
    settled: list[str] = []

    def note(outcomes: Any) -> None:
        if not settled:
            bulk.draw(folder / "late.png", 9)
        settled.extend(Path(outcome.entry.path).name for outcome in outcomes)
        run.stopping = "late.png" in settled

    bulk.settled = note
    run.go()
    assert settled.index("late.png") >= 7, "all others were listed before it came"
    assert len(bulk.lines(tmp_path / "o.jsonl")) == 7


def test_a_full_disk_stops_the_run_and_marks_nothing_as_failed(bulk: Any, folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        for number in range(10, 60):
            bulk.draw(folder / f"{number}.png", number, size=(200, 200))
        for output in (f"webdataset:{small}/w", f"txt:{small}/t", f"jsonl:{small}/o.jsonl"):
            kind = output.partition(":")[0]
            ballast = small / "ballast"
            ballast.write_bytes(bytes(os.statvfs(small).f_bavail * 4096 - 4096))
            job = str(tmp_path / f"job-{kind}")
            with pytest.raises(DiskFull, match="no room"):
                bulk(folder, output, job=job, separator=" " * 10)
                if kind == "jsonl":  # it fits: fill it with more rows than there is room for
                    raise DiskFull("no room")
            ballast.unlink()
            summary = bulk(folder, output, job=job)
            assert (summary.counts["done"], summary.failures) == (56, {"unreadable": 1})
            assert not list(small.rglob("*.partial"))
        journal = small / "job"
        (small / "ballast").write_bytes(bytes(os.statvfs(small).f_bavail * 4096 - 8192))
        with pytest.raises((DiskFull, InputError), match=r"no room|No space"):
            bulk(folder, tmp_path / "o.jsonl", job=str(journal))
        (small / "ballast").unlink()
        shutil.rmtree(small / "w")
        assert bulk(folder, tmp_path / "o.jsonl", job=str(journal)).counts["done"] == 56
        assert len(bulk.lines(tmp_path / "o.jsonl")) == 56
    finally:
        subprocess.run(["umount", small], check=True)


# On the command line


def is_ready_to_stop(pid: int, job: Path) -> bool:
    """Whether a run has begun, and handles SIGTERM, which it does together with SIGINT and nothing does before."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # not Linux
        return (job / "failures.jsonl").exists()
    handled = re.search(r"^SigCgt:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)
    return handled is not None and bool(int(handled[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_the_command_from_end_to_end_in_the_poorest_locale(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "Schloß 🏰.png").write_bytes((folder / "0.png").read_bytes())
    command = [sys.executable, "-m", "picscribe", "bulk", str(folder), "--to", "txt", "--to", str(tmp_path / "o.jsonl")]
    command += ["--model", str(tiny_model), "--workers", "1"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while process.poll() is None and not is_ready_to_stop(process.pid, folder):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    # The signal may come while the command ends, after its last photo: then it ends by the signal.
    assert process.returncode in (1, -signal.SIGINT) and "Traceback" not in said, said
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr  # one is broken
    assert "7 done, 1 failed" in done.stderr and "1 unreadable" in done.stderr and "Traceback" not in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_bytes().decode("utf-8").splitlines()]
    assert len(rows) == 7 and any(row["path"].endswith("Schloß 🏰.png") for row in rows)
    (folder / "broken6.jpg").unlink()
    runner = CliRunner()
    found = runner.invoke(app, ["bulk", "status", str(folder), "--failures"])
    assert found.exit_code == 0 and "unreadable" in found.output and "8 of 8 rows" in found.output


def test_wrong_usage_is_told_with_exit_code_2(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for arguments, what in (
        (["--to", "tx"], "is not a known output"),
        (["--to", "txt", "--existing", "never"], "none of skip"),
        (["--to", "txt", "--ask", "why", "--score-text", "a"], "a job is one of"),
        (["--to", "txt", "--retry-failed=sleepy"], "not a class of failures"),
        (["--to", "txt", "--sample", "3"], "--html"),
        (["--to", "txt", "--to", "txt"], "is named twice"),
        (["--to", "s3://bucket/o.jsonl"], "local paths only"),
        ([], "Missing option"),
    ):
        done = runner.invoke(app, ["bulk", str(folder), *arguments, "--dry-run"])
        assert done.exit_code == 2, (arguments, done.output)
        assert what in done.output, done.output
    done = runner.invoke(app, ["bulk", str(folder / "nothing"), "--to", "txt"])
    assert done.exit_code == 1 and "does not exist" in done.output
    done = runner.invoke(app, ["bulk", str(folder), "--to", f"txt:{tmp_path}/t", "--dry-run"])
    assert done.exit_code == 0 and re.search(r"new +7", done.output)


def test_the_panel_shows_what_is_done_and_obeys_no_file_name() -> None:
    from rich.console import Console

    panel = Panel()
    panel.planned({"pending": 8, "done": 1, "failed": 1, "skipped": 0, "held": 0})
    entry = Entry("/a", "a", "a\x1b[31m[bold]b.png")
    panel.settled([Outcome(entry, {"caption": "two dogs"}), Outcome(entry, None, failure=Failure("network", "gone"))])
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(panel._draw())
    text = console.export_text()
    assert (
        "2 done" in text and "2 failed" in text and "of 10" in text and "two dogs" in text and "network: gone" in text
    )
    assert "\x1b" not in text and "[bold]" in text


def test_options_of_a_job_come_back(bulk: Any, folder: Path, tmp_path: Path) -> None:
    work = Work("ask", options={"beams": 2, "banned_words": ("dog",)}, questions=("the cat",))
    bulk(folder, tmp_path / "o.jsonl", work=work, existing="append", shard=7)
    found = options_of(tmp_path / "o.jsonl.picscribe")
    assert (found.work, found.existing, found.shard) == (work, "append", 7)
    assert found.outputs == (f"jsonl:{tmp_path}/o.jsonl",)
