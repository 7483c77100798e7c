"""How many files one `caption()` passes, which is what a reader has to know; `benchmarks.caption_path` lists them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_one_caption_passes_no_more_files_than_it_did() -> None:
    """Reading threads counted. Lower the number where the way becomes shorter."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.caption_path", "nano", "examples/cat.jpg"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    files = re.findall(r"^ *\d+  (\S+)$", run.stdout, re.M)
    assert {"scribe.py", "inference.py", "model/git.py", "media/images.py"} <= set(files)
    assert len(files) <= 15, run.stdout
