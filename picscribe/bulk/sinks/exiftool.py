"""ExifTool as a process that stays, for metadata inside photos. It works in a folder of ours, on files that we name."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from picscribe.bulk.failures import EntryError
from picscribe.errors import MissingPackageError
from picscribe.text_files import split_lines

SECONDS = 120
"""One file takes no longer, or ExifTool is ended, and the file has failed."""

FEED = """
import os
while commands := os.read(0, 65536):
    os.write(1, commands)
os.write(1, b"-stay_open\\nFalse\\n")
"""
"""Passes commands on, and tells ExifTool to end where they end. ExifTool by itself would wait for more for ever, also
after whoever started it was killed."""


class ExifTool:
    """`exiftool -stay_open True -@ -` with `folder` as its working directory, so that names are always plain.

    Raises MissingPackageError where it is not installed.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("exiftool")
        if program is None:
            raise MissingPackageError(
                "metadata inside photos needs ExifTool: apt-get install libimage-exiftool-perl, brew install exiftool,"
                " or exiftool.org; XMP sidecars (--to xmp) need nothing"
            )
        self.program, self.folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._feed: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._number = 0

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._feed = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FEED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        # An empty -config: what a user's own file defines is none of ours.
        process = subprocess.Popen(
            [self.program, "-config", "", "-stay_open", "True", "-@", "-"],
            cwd=self.folder,
            stdin=self._feed.stdout,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert self._feed.stdout
        self._feed.stdout.close()  # ExifTool's alone
        return process

    def run(self, *arguments: str) -> bytes:
        """What ExifTool writes to standard output. Raises EntryError where it complains of an error, or ends."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = self._start()
        process, feed = self._process, self._feed
        assert feed and feed.stdin and process.stdout
        self._number += 1
        ready = f"{{ready{self._number}}}\n".encode()
        begin = self._errors.seek(0, os.SEEK_END)
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        output = b""
        try:
            feed.stdin.write("".join(f"{one}\n" for one in (*arguments, f"-execute{self._number}")).encode())
            feed.stdin.flush()
            while not output.endswith(ready):
                chunk = process.stdout.readline()
                if not chunk:
                    self.close()
                    raise EntryError("unwritable", f"ExifTool crashed, or took longer than {SECONDS} s")
                output += chunk
        except OSError as error:
            self.close()
            raise EntryError("unwritable", f"ExifTool failed ({error})") from error
        finally:
            watch.cancel()
        self._errors.seek(begin)
        said = self._errors.read().decode("utf-8", "replace")
        problems = [line for line in split_lines(said) if line.startswith("Error")]
        if problems:
            raise EntryError("unwritable", f"ExifTool says: {problems[0].removeprefix('Error:').strip()}")
        return output.removesuffix(ready)

    def close(self) -> None:
        """End it."""
        for process in (self._process, self._feed):
            if process is not None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        streams = (self._feed and self._feed.stdin, self._process and self._process.stdout, self._errors)
        for stream in streams:
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()
        self._process = self._feed = self._errors = None
