"""ExifTool as a process that stays, for metadata inside photos. It works in a folder of ours, on files that we name."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from picscribe.bulk.failures import EntryError
from picscribe.errors import MissingPackageError
from picscribe.text_files import split_lines

SECONDS = 120
"""One file takes no longer, or ExifTool is ended, and the file has failed."""


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
        self._errors: Any = None
        self._number = 0

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        # An empty -config: what a user's own file defines is none of ours.
        return subprocess.Popen(
            [self.program, "-config", "", "-stay_open", "True", "-@", "-"],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )

    def run(self, *arguments: str) -> bytes:
        """What ExifTool writes to standard output. Raises EntryError where it complains of an error, or ends."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin and process.stdout
        self._number += 1
        ready = f"{{ready{self._number}}}\n".encode()
        begin = self._errors.seek(0, os.SEEK_END)
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        output = b""
        try:
            process.stdin.write("".join(f"{one}\n" for one in (*arguments, f"-execute{self._number}")).encode())
            process.stdin.flush()
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
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self._process = None
