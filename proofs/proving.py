"""What every proof does: a data set written once, a recipe trained, held-out examples scored."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

RUNS = Path("runs/proofs")


def make_data(name: str, write: Callable[[Path], None]) -> Path:
    """The folder of a proof's data, written by `write` where it is not there as a whole."""
    return make_folder(RUNS / name / "data", write)


def make_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """A folder, written by `write` where it is not there as a whole."""
    if not folder.exists():
        half = folder.with_name(f"{folder.name}-being-written")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        write(half)
        half.rename(folder)
    return folder


def train(name: str, *arguments: str) -> Path:
    """Run `picscribe train` on recipes/proofs/NAME.yaml, or on other arguments, to its end; the best checkpoint."""
    run, ended = RUNS / name / "run", RUNS / name / "trained"
    if not ended.exists():
        resume = ["--resume"] if (run / "states").exists() else []
        picscribe("train", *(arguments or (f"recipes/proofs/{name}.yaml",)), "--output", str(run), *resume)
        ended.touch()
    return run / "best"


def evaluate(name: str, model: Path, data: Path, figure: str, *options: str, split: str = "test") -> dict[str, float]:
    """Score a model on a split; the scores, which `picscribe evaluate` prints too."""
    output = RUNS / name / f"evaluation-{figure}"
    picscribe("evaluate", str(model), str(data), "--split", split, "--output", str(output), *options)
    scores: dict[str, float] = json.loads((output / "report.json").read_text())["scores"]
    return scores


def picscribe(*arguments: str) -> None:
    """Run a command of picscribe's, and show it."""
    print("$ picscribe", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "picscribe", *arguments], check=True)


def write_lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """A metadata.jsonl: a row a line, `file_name` beside what is said of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
