"""The comparison of two commits: who imports from where, in which order, and what is said of the figures."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import before_after, metrics
from benchmarks.before_after import Found, Inputs, Timed

INPUTS = Inputs(Path("captions.json"), Path("base"))


def make_tree(folder: Path, words: str) -> Path:
    """A tree whose picscribe prints `words` whatever it is asked."""
    (folder / "picscribe" / "cli").mkdir(parents=True)
    (folder / "picscribe" / "__init__.py").touch()
    (folder / "picscribe" / "cli" / "__init__.py").touch()
    (folder / "picscribe" / "cli" / "main.py").write_text(f"def main(): print({words!r})\n")
    return folder


def test_a_process_imports_from_its_own_tree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import picscribe; print(picscribe.__file__)"]
    for name in ("one", "other"):
        tree = make_tree(tmp_path / name, name)
        assert before_after.run_python(tree, command).strip() == str(tree / "picscribe" / "__init__.py")


def test_whole_processes_are_those_of_the_tree(tmp_path: Path) -> None:
    found = before_after.run_part("startup", make_tree(tmp_path, "a cat"), INPUTS)
    assert found["picscribe caption PHOTO"].result == "a cat\n"
    assert found["picscribe --help"].result == ""
    assert all(timed.seconds > 0 for timed in found.values())


def test_a_process_refuses_the_picscribe_of_another_tree(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"not from {tmp_path}"):
        before_after.print_here("caption", tmp_path, INPUTS)


def test_what_fails_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)failed.*no such driver"):
        before_after.run_python(tmp_path, [sys.executable, "-c", "raise SystemExit('no such driver')"])


def test_sides_take_turns_and_ratios_are_after_by_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[str] = []
    seconds = {"old": iter([1.0, 2.0, 4.0]), "new": iter([3.0, 2.0, 4.0])}

    def run_part(part: str, tree: Path, inputs: Inputs) -> Found:
        runs.append(tree.name)
        return {"the same": Timed(next(seconds[tree.name]), "a cat"), "other": Timed(1.0, tree.name)}

    monkeypatch.setattr(before_after, "run_part", run_part)
    before_after.compare("caption", {"before": Path("old"), "after": Path("new")}, INPUTS, 3)
    assert runs == ["old", "new", "new", "old", "old", "new"]
    head, same, other = capsys.readouterr().out.splitlines()
    assert head.startswith("caption, 3 rounds")
    assert "1.000 (1.000 to 3.000)   2.000 s before, 3.000 s after" in same
    assert other.endswith("results differ")
    assert "differ" not in same


def test_made_up_captions_are_read_by_the_benchmark_of_metrics(tmp_path: Path) -> None:
    for name in ("one.json", "again.json"):
        before_after.write_captions(tmp_path / name, images=20)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    predictions, references = metrics.read_captions(tmp_path / "one.json", 20)
    assert len(references) == 20
    assert all(len(set(texts)) == 5 for texts in references.values())
    assert all(0 < figure < 5 for figure in metrics.SIDES["picscribe"]()(predictions, references))


@pytest.fixture
def in_git() -> None:
    inside = ["git", "-C", str(before_after.ROOT), "rev-parse", "--verify", "--quiet", "HEAD"]
    if subprocess.run(inside, capture_output=True).returncode:
        pytest.skip("not a git checkout")


@pytest.mark.usefixtures("in_git")
def test_a_commit_that_the_clone_lacks_is_answered_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    lacking = "0123456789" * 4
    answer = f"{lacking} is no commit here: .* git fetch --unshallow"
    with pytest.raises(SystemExit, match=answer), before_after.checked_out(lacking, tmp_path / "before"):
        pass
    assert not (tmp_path / "before").exists()


@pytest.mark.usefixtures("in_git")
def test_the_worktree_goes_away_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), before_after.checked_out("HEAD", tmp_path / "before") as tree:
        assert (tree / "picscribe" / "__init__.py").exists()
        raise KeyboardInterrupt
    assert not (tmp_path / "before").exists()
