"""Photos of Parquet tables, in every type of column that data sets read, and beside the table."""

from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk.inputs.fetching import content_of
from picscribe.bulk.inputs.selection import Selection, _parquet

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize("kind", ["null bytes", "large", "list", "dictionary"])
def test_photos_are_found_in_every_type_of_column(kind: str, tmp_path: Path) -> None:
    photos = [b"one photo", b"another"]
    for name, photo in zip("ab", photos, strict=True):
        (tmp_path / f"{name}.jpg").write_bytes(photo)
    pair = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    column: Any = {
        "null bytes": pyarrow.array([{"bytes": None, "path": f"{name}.jpg"} for name in "ab"], pair),
        "large": pyarrow.array(photos, pyarrow.large_binary()),
        "list": pyarrow.array([[photo] for photo in photos]),
        "dictionary": pyarrow.array(photos).dictionary_encode(),
    }[kind]
    parquet.write_table(pyarrow.table({"image": column, "n": [1, 2]}), tmp_path / "x.parquet")
    entries = list(_parquet(str(tmp_path / "x.parquet"), Selection()))
    assert [content_of(entry, 1 << 20) for entry in entries] == photos
