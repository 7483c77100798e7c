"""What a job is to look at: folders, lists, tables, tars, image folders, single files; here or behind addresses.

Everything is read piece by piece: however many entries there are, few are in memory.
"""

import csv
import fnmatch
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from picscribe.bulk.entries import JOB, Entry, is_address, printable
from picscribe.bulk.inputs.fetching import file_system
from picscribe.errors import ConfigurationError, InputError, MissingPackageError
from picscribe.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from picscribe.media.folders import is_hidden, names_in
from picscribe.text_files import parse_json, require_own_content

PATHS = ("path", "file_name", "filename", "file", "image", "image_path", "photo", "url", "image_url", "video")
"""Columns that a list names its photos in, unless told otherwise, the first that is there."""

IMAGES = ("image", "img", "photo", "jpg", "png", "webp", "image_bytes", "bytes")
"""Columns of a table that hold photos themselves."""

METADATA = "metadata.jsonl"
LISTS = (".txt", ".lst", ".list")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SORTED = 10_000
"""Names of a folder that are put in order; of more, each so many are."""

LONGEST_LINE = 1 << 20
SEEN = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))


@dataclass(frozen=True)
class Selection:
    """Which files of folders, and which columns of lists.

    include, exclude: patterns such as `*.jpg` or `thumbs/*`, of names and of paths within a folder. path_column: that
    names the photos. column: of questions or texts. root: what paths of lists are relative to, instead of the list's
    folder. outputs: absolute paths that the job writes itself, which are no inputs. note: called with what is left out.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    path_column: str | None = None
    column: str | None = None
    root: str | None = None
    outputs: frozenset[str] = frozenset()
    note: Callable[[str], None] = lambda _: None

    def takes(self, relative: str) -> bool:
        """Whether a file of a folder is wanted, by its path in the folder."""
        name = relative.rpartition("/")[2]
        if self.include:
            wanted = any(fnmatch.fnmatchcase(relative, one) or fnmatch.fnmatchcase(name, one) for one in self.include)
        else:
            wanted = os.path.splitext(name)[1].lower() in SEEN
        return wanted and not any(
            fnmatch.fnmatchcase(relative, one) or fnmatch.fnmatchcase(name, one) for one in self.exclude
        )


def find_entries(inputs: Sequence[str], selection: Selection) -> Iterator[Entry]:
    """The entries of all inputs, in order, some perhaps twice.

    Raises InputError for an input that is not there or is nothing that is known; what is wrong with a part of one is
    noted, and the rest continues.
    """
    for given in inputs:
        if is_address(given):
            yield from _address(given, selection)
        elif os.path.isdir(given):
            yield from _folder(given, selection)
        elif os.path.lexists(given):
            yield from _file(given, selection)
        else:
            raise InputError(f"{printable(given)} does not exist: check the name")


def entry_of_file(path: str, given: str, selection: Selection) -> Entry | None:
    """The entry of a file that came into the folder `given`; None where it is none."""
    relative = os.path.relpath(path, os.path.abspath(given)).replace(os.sep, "/")
    hidden = any(map(_is_hidden, relative.split("/")))
    if hidden or not selection.takes(relative) or os.path.abspath(path) in selection.outputs:
        return None
    return Entry(os.path.abspath(path), relative, os.path.join(given, relative))


# Folders


def _folder(given: str, selection: Selection) -> Iterator[Entry]:
    root = os.path.abspath(given)
    links, odd, found = 0, 0, 0
    waiting = [""]
    while waiting:
        relative = waiting.pop()
        folders = []
        table = os.path.join(root, relative, METADATA)
        if table not in selection.outputs and os.path.isfile(table):  # first: its rows know more than its photos
            for entry in _table(table, selection, relative, given):
                found += 1
                yield entry
        for name, kind in _names_in(os.path.join(root, relative), relative == "", selection.note):
            path = f"{relative}/{name}" if relative else name
            if kind == "folder":
                folders.append(path)
            elif kind == "link":
                links += 1
            elif name == METADATA or os.path.join(root, path) in selection.outputs:
                continue
            elif selection.takes(path):
                found += 1
                yield Entry(os.path.join(root, path), path, os.path.join(given, path))
            else:
                odd += 1
        waiting += reversed(folders)
    if links:
        selection.note(f"{printable(given)}: {links} links to folders are not followed")
    if not found:
        of_these = f" ({odd} other files are)" if odd else ""
        selection.note(f"{printable(given)}: no photos or videos are in this folder{of_these}")


def _names_in(folder: str, first: bool, note: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """`media.folders.names_in` without a job's own files. Raises InputError for the first folder, notes others."""
    try:
        for name, kind in names_in(folder, at_a_time=SORTED):
            if not name.endswith(JOB):
                yield name, kind
    except OSError as error:
        problem = f"folder {printable(folder)} cannot be read ({error.strerror or error})"
        if first:
            raise InputError(f"{problem}: check its permissions") from error
        note(problem)


def _is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or holds a job's journal, and copies of photos that are being written."""
    return is_hidden(name) or name.endswith(JOB)


# Single files, lists and archives


def _file(given: str, selection: Selection) -> Iterator[Entry]:
    suffix = os.path.splitext(given)[1].lower()
    path = os.path.abspath(given)
    if suffix in (*LISTS, *TABLES):
        require_own_content(Path(path))
    if suffix in LISTS:
        yield from _list(path, selection)
    elif suffix in TABLES:
        yield from _table(path, selection)
    elif suffix == ".tar":
        yield from _tar(path, given, selection)
    elif suffix in SEEN or suffix == "":
        yield Entry(path, os.path.basename(path), given)
    else:
        known = ", ".join((*LISTS, *TABLES, ".tar"))
        raise InputError(f"{printable(given)} is not a photo, a video, a folder or one of {known}")


def _address(given: str, selection: Selection) -> Iterator[Entry]:
    suffix = os.path.splitext(given.split("?")[0])[1].lower()
    if suffix in LISTS:
        yield from _list(given, selection)
    elif suffix in TABLES:
        yield from _table(given, selection)
    elif suffix == ".tar":
        yield from _tar(given, given, selection)
    elif suffix in SEEN or given.lower().startswith(("http://", "https://")):
        yield _entry_at(given)
    else:
        yield from _remote_folder(given, selection)


def _entry_at(address: str, asked: tuple[str, ...] = (), fields: Mapping[str, Any] | None = None) -> Entry:
    name = address.partition("://")[2].split("?")[0].strip("/")
    return Entry(address, name or "index", address, {}, asked, fields or {})


def _remote_folder(given: str, selection: Selection) -> Iterator[Entry]:
    system, root = file_system(given)
    try:
        if not system.isdir(root):
            raise InputError(f"{printable(given)} is not a folder there: check the address")
        for folder, _, files in system.walk(root):
            inside = folder[len(root) :].strip("/")
            for name in sorted(files):
                relative = f"{inside}/{name}" if inside else name
                if not name.startswith(".") and selection.takes(relative):
                    address = given.rstrip("/") + "/" + relative
                    yield Entry(address, relative, address)
    except OSError as error:
        raise InputError(f"{printable(given)} cannot be listed ({error})") from error


def _opened(source: str) -> BinaryIO:
    try:
        if is_address(source):
            system, path = file_system(source)
            return cast(BinaryIO, system.open(path, "rb"))
        return open(source, "rb")
    except OSError as error:
        raise InputError(f"{printable(source)} cannot be read ({error.strerror or error})") from error


def _list(source: str, selection: Selection) -> Iterator[Entry]:
    """A path or address a line, or each ended by a NUL byte as `find -print0` writes them."""
    with _opened(source) as stream:
        zeros = b"\0" in stream.read(1 << 16)
        stream.seek(0)
        for number, line in enumerate(_split(stream, b"\0" if zeros else b"\n"), start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not zeros:
                line = line.rstrip(b"\r")
            if line.strip() and (zeros or not line.startswith(b"#")):
                yield _listed_entry(os.fsdecode(line), source, selection)


def _split(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Pieces of a stream that `end` parts; none is longer than a line may be."""
    rest = b""
    while chunk := stream.read(1 << 16):
        *pieces, rest = (rest + chunk).split(end)
        yield from pieces
        if len(rest) > LONGEST_LINE:
            raise InputError(f"a line over {LONGEST_LINE >> 20} MiB long is in this list: is it a list of paths?")
    if rest:
        yield rest


def _listed_entry(
    said: str, source: str, selection: Selection, asked: tuple[str, ...] = (), fields: Mapping[str, Any] | None = None
) -> Entry:
    """The entry of a path or address that a list names."""
    if is_address(said):
        return _entry_at(said, asked, fields)
    if is_address(source) and selection.root is None:
        return _entry_at(source.rpartition("/")[0] + "/" + said, asked, fields)
    root = os.path.abspath(selection.root) if selection.root is not None else os.path.dirname(source)
    path = os.path.normpath(os.path.join(root, said))
    within = os.path.relpath(path, root) if not os.path.isabs(said) else path.lstrip(os.sep)
    return Entry(path, within.replace(os.sep, "/"), said if os.path.isabs(said) else path, {}, asked, fields or {})


# Tables


def _table(source: str, selection: Selection, inside: str = "", given: str | None = None) -> Iterator[Entry]:
    """The rows of a CSV, TSV, JSON Lines or Parquet file; of a folder's metadata.jsonl where `given` is the folder."""
    suffix = os.path.splitext(source)[1].lower()
    if suffix == ".parquet":
        yield from _parquet(source, selection)
        return
    rows = _jsonl(source, selection.note) if suffix == ".jsonl" else _csv(source, suffix, selection.note)
    column: str | None = None
    for number, row in rows:
        where = f"{printable(source)}: row {number}"
        if column is None:
            column = _path_column(row, selection, where)
        said = row.get(column)
        if not isinstance(said, str) or not _is_name(said):
            selection.note(f"{where} names no photo in {column}")
            continue
        asked = _asked(row, selection, where)
        fields = {name: value for name, value in row.items() if name not in (column, selection.column)}
        if given is None:
            yield _listed_entry(said, source, selection, asked, fields)
            continue
        if os.path.isabs(said) or ".." in said.split("/"):
            selection.note(f"{where} names {printable(said)!r}, which is not in this folder")
            continue
        name = f"{inside}/{said}" if inside else said
        yield Entry(os.path.join(os.path.dirname(source), said), name, os.path.join(given, name), {}, asked, fields)


def _is_name(said: str) -> bool:
    """Whether a file could have this name: JSON can write texts that none has."""
    try:
        return bool(said) and b"\0" not in os.fsencode(said)
    except UnicodeEncodeError:
        return False


def _path_column(row: Mapping[str, Any], selection: Selection, where: str) -> str:
    if selection.path_column is not None:
        if selection.path_column not in row:
            raise InputError(f"{where} has no column {selection.path_column!r}; it has {', '.join(map(str, row))}")
        return selection.path_column
    found = next((name for name in PATHS if name in row), None)
    if found is None:
        raise InputError(
            f"{where} names no photo: name its column with --path-column; it has {', '.join(map(str, row))}"
        )
    return found


def _asked(row: Mapping[str, Any], selection: Selection, where: str) -> tuple[str, ...]:
    """What a row asks, in the column of questions or texts: one, or a list."""
    if selection.column is None:
        return ()
    if selection.column not in row:
        raise InputError(f"{where} has no column {selection.column!r}; it has {', '.join(map(str, row))}")
    said = row[selection.column]
    texts = tuple(str(one) for one in (said if isinstance(said, list) else [said]) if one not in (None, ""))
    if not texts:
        selection.note(f"{where} asks nothing in {selection.column}")
    return texts


def _jsonl(source: str, note: Callable[[str], None]) -> Iterator[tuple[int, dict[str, Any]]]:
    with _opened(source) as stream:
        for number, line in enumerate(_split(stream, b"\n"), start=1):
            if not line.strip():
                continue
            where = f"{printable(source)}: row {number}"
            try:
                row = parse_json(line, where)
            except InputError as error:
                note(str(error))
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                note(f"{where}: is not a JSON object")


def _csv(source: str, suffix: str, note: Callable[[str], None]) -> Iterator[tuple[int, dict[str, Any]]]:
    with _opened(source) as raw, io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t" if suffix == ".tsv" else ",")
        try:
            header = next(rows, [])
            for number, cells in enumerate(rows, start=1):
                if len(cells) == len(header):
                    yield number, dict(zip(header, cells, strict=True))
                elif cells:
                    note(f"{printable(source)}: row {number} has {len(cells)} cells, the header {len(header)}")
        except csv.Error as error:
            raise InputError(f"{printable(source)}: is not a CSV file that can be read ({error})") from error


def _parquet(source: str, selection: Selection) -> Iterator[Entry]:
    try:
        import pyarrow.parquet as parquet

        from picscribe.datasets.formats.tables import holds_photos
    except ImportError as error:
        raise MissingPackageError(f'{source}: Parquet needs pyarrow: pip install "picscribe[bulk]"') from error
    if is_address(source):
        raise InputError(f"{printable(source)}: tables are read from files here only: download it first")
    try:
        file = parquet.ParquetFile(source)
        schema = file.schema_arrow
        images = [name for name in IMAGES if name in schema.names and holds_photos(schema.field(name).type)]
        others = [name for name in schema.names if name not in images]
        for group in range(file.num_row_groups):
            number = 0
            for batch in file.iter_batches(1000, row_groups=[group], columns=others):
                for row in batch.to_pylist():
                    yield _table_row(source, selection, images, group, number, row)
                    number += 1
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these
        if isinstance(error, InputError):
            raise
        raise InputError(f"{printable(source)}: is not a Parquet file that can be read ({error})") from error


def _table_row(
    source: str, selection: Selection, images: Sequence[str], group: int, number: int, row: Mapping[str, Any]
) -> Entry:
    where = f"{printable(source)}: row group {group}, row {number}"
    asked = _asked(row, selection, where)
    column = selection.path_column if selection.path_column is not None else next(iter(images), None)
    if column is None or column not in images:
        column = _path_column(row, selection, where)
        fields = {name: value for name, value in row.items() if name not in (column, selection.column)}
        return _listed_entry(str(row[column]), source, selection, asked, _plain(fields))
    fields = {name: value for name, value in row.items() if name != selection.column}
    name = f"{os.path.splitext(os.path.basename(source))[0]}/{group:05d}-{number:07d}"
    part = {"group": group, "row": number, "column": column}
    return Entry(source, name, f"{source}#{group}/{number}", part, asked, _plain(fields))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON can hold; others as texts."""
    return {name: json.loads(json.dumps(value, default=str)) for name, value in fields.items()}


# Tars


def _tar(source: str, given: str, selection: Selection) -> Iterator[Entry]:
    """The photos of a tar; members with the same name up to the first dot belong to one photo."""
    key, members = "", list[tuple[str, int, int]]()
    try:
        with _opened(source) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if not member.isreg() or member.issparse():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem = f"{folder}/{name.partition('.')[0]}"
                if stem != key:
                    yield from _sample(source, given, members, selection)
                    key, members = stem, []
                members.append((member.name, member.offset_data, member.size))
            yield from _sample(source, given, members, selection)
    except (tarfile.TarError, EOFError) as error:
        selection.note(f"{printable(given)}: cannot be read to its end ({error}): download it again")
    except OSError as error:
        raise InputError(f"{printable(given)}: cannot be read ({error.strerror or error})") from error


def _sample(source: str, given: str, members: Sequence[tuple[str, int, int]], selection: Selection) -> Iterator[Entry]:
    if selection.column is not None and members:
        raise ConfigurationError(f"{printable(given)}: a tar has no columns: list its photos in a table for that")
    photos = [member for member in members if selection.takes(member[0])]
    for name, offset, size in photos:
        others = [list(member) for member in members if member not in photos]
        part = {"offset": offset, "size": size, **({"members": others} if others else {})}
        yield Entry(source, name, f"{given}#{name}", part)
