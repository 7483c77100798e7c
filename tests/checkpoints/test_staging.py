"""A folder appears whole or not at all, and nobody's other files are removed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors import SafetensorError

from picscribe.checkpoints import Checkpoint, load, save, save_original
from picscribe.checkpoints.staging import staged_folder
from picscribe.errors import CheckpointError

MakeCheckpoint = Callable[..., Checkpoint]


def test_an_error_leaves_the_earlier_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with staged_folder(folder, {"a"}) as stage:
        (stage / "a").write_text("earlier")
    with pytest.raises(KeyboardInterrupt), staged_folder(folder, {"a"}) as stage:
        (stage / "a").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "a").read_text() == "earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with staged_folder(folder, set()) as stage:
        (stage / "a").write_text("whole")
        assert not folder.exists()
    assert (folder / "a").read_text() == "whole"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "a").stat().st_mode & 0o777 == 0o644


def test_an_earlier_checkpoint_is_replaced_also_by_itself(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    save(make_checkpoint(seed=1), tmp_path / "model")
    save(make_checkpoint(seed=2), tmp_path / "model")
    loaded = load(tmp_path / "model")
    save(loaded, tmp_path / "model")  # the weights are still mapped from the file that is replaced
    expected = make_checkpoint(seed=2).model.state_dict()
    for name, tensor in load(tmp_path / "model").model.state_dict().items():
        assert tensor.equal(expected[name])
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("write", [save, save_original])
def test_other_files_are_never_removed(
    write: Callable[[Checkpoint, Path], None], make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"thesis\.tex"):
        write(make_checkpoint(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(CheckpointError, match="not a folder"):
        write(make_checkpoint(), tmp_path / "thesis.tex")


@pytest.mark.parametrize("write", [save, save_original])
def test_what_was_written_about_a_checkpoint_stays(
    write: Callable[[Checkpoint, Path], None], make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    write(make_checkpoint(seed=1), folder)
    (folder / "README.md").write_text("how it was trained")
    write(make_checkpoint(seed=2), folder)
    assert (folder / "README.md").read_text() == "how it was trained"
    before = load(folder).model.state_dict()
    assert all(before[name].equal(tensor) for name, tensor in make_checkpoint(seed=2).model.state_dict().items())
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(CheckpointError, match=r"README\.md"):
        write(make_checkpoint(), folder)


def test_a_folder_that_cannot_be_looked_into(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> Iterator[Path]:  # permissions would not keep root out
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be written \(Permission denied\)"):
        save(make_checkpoint(), tmp_path)


def test_a_place_that_cannot_be_written(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(make_checkpoint(), tmp_path / "file" / "model")


def test_a_failed_swap_puts_the_earlier_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    with staged_folder(folder, {"a"}) as stage:
        (stage / "a").write_text("earlier")
    rename = Path.rename

    def fail_for_the_stage(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError("disk trouble")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_stage)
    with pytest.raises(CheckpointError, match="disk trouble"), staged_folder(folder, {"a"}) as stage:
        (stage / "a").write_text("new")
    assert (folder / "a").read_text() == "earlier"
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_that_safetensors_tells_of(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No space left"), staged_folder(tmp_path / "model", {"a"}):
        raise SafetensorError("I/O error: No space left on device")
    assert list(tmp_path.iterdir()) == []
