"""Tables of photos in Arrow's types: which column holds the photos, what a cell holds, and the examples of the rows."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picscribe.datasets.columns import Columns, find_columns
from picscribe.datasets.examples import Example, PackedImage
from picscribe.datasets.formats.class_folders import class_names
from picscribe.datasets.media_folder import stored_path
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import inside
from picscribe.errors import InputError

IMAGES = (
    *("image", "images", "img", "photo", "picture", "jpg", "jpeg", "png", "webp"),
    *("image_bytes", "image_path", "file_name"),
)
"""Names of columns of photos."""


@dataclass(frozen=True)
class TableLayout:
    """What the columns of a table hold: `image` is the way to the photos, through structs; `columns` says the rest.

    `outer` is a struct that holds the columns of texts, "" where the table itself does; `kind` is the photos' type.
    """

    image: tuple[str, ...]
    columns: Columns
    outer: str
    classes: Mapping[str, str]
    kind: Any

    @property
    def way(self) -> str:
        """To the photos, with dots between."""
        return ".".join(self.image)

    @property
    def used(self) -> list[str]:
        """The columns of texts to read, by their way from the top."""
        return [f"{self.outer}.{name}" if self.outer else name for name in self.columns.used]


def find_table_layout(schema: Any, file: Path) -> TableLayout:
    """What a table's schema holds, at its top or in a struct. Raises InputError where it has no photos or no texts."""
    from pyarrow import types

    structs = [field for field in schema if types.is_struct(field.type) and field.name not in IMAGES]
    image = _find_image(schema.names)
    for struct in [] if image else structs:
        if inner := _find_image([field.name for field in struct.type]):
            image = (struct.name, *inner)
            break
    if not image:
        listed = ", ".join(map(repr, schema.names[:12]))
        raise InputError(f"{file}: has no column of images ({', '.join(IMAGES)}): rename one; it has {listed}")
    outer = ""
    try:
        columns = find_columns(set(schema.names), str(file))
    except InputError:
        if len(image) == 1:
            raise
        outer = image[0]
        struct = schema.field(outer).type
        columns = find_columns({field.name for field in struct}, f"{file}: {outer}")
    kind = schema.field(image[0]).type
    for name in image[1:]:
        kind = kind.field(name).type
    if not (holds_photos(kind) or holds_paths(kind)):
        raise InputError(f"{file}: {'.'.join(image)} must be a column of bytes or of paths, found {kind}")
    return TableLayout(
        image, columns, outer, {**class_names(file.parent), **_label_names(schema, columns, outer)}, kind
    )


def _find_image(names: Iterable[str]) -> tuple[str, ...]:
    known = set(names)
    return next(((wanted,) for wanted in IMAGES if wanted in known), ())


def image_of(value: Any, images: Path, name: str = "") -> Path | bytes:
    """The bytes that a cell holds, or the file that it names, which is in `images`.

    A cell is bytes, a list of bytes' numbers, a path, {bytes, path} of which bytes may be null, or a list of one of
    these. Raises InputError where it is none of them, or holds no photo or several.
    """
    if isinstance(value, dict):
        if value.get("bytes"):
            return image_of(value["bytes"], images, name)
        if value.get("path"):
            return images / inside(value["path"], f"the path of {name}".removesuffix(" of "))
        inner = [key for key in IMAGES if value.get(key) is not None]
        if len(inner) == 1:
            return image_of(value[inner[0]], images, name)
        raise InputError(f"{name} has neither bytes nor a path: give one of them, or remove the row")
    if isinstance(value, list | tuple):
        if value and all(type(one) is int for one in value):
            if not all(-128 <= one < 256 for one in value):
                raise InputError(
                    f"{name} is a list of numbers that are not bytes (0 to 255): store the file of the image"
                )
            return bytes(one & 255 for one in value)
        if len(value) != 1:
            raise InputError(f"{name} is a list of {len(value)} photos: give one photo per row")
        return image_of(value[0], images, name)
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str):
        return images / inside(value, name)
    raise InputError(f"{name} has no image: fill it in, or remove the row")


def holds_photos(kind: Any) -> bool:
    """Whether a column of this type may hold photos themselves: bytes, {bytes, path}, or lists of those or of bytes."""
    from pyarrow import types

    inner = kind
    while types.is_dictionary(inner) or is_list(inner):
        inner = inner.value_type
    checks = ("is_struct", "is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary")
    return (is_list(kind) and types.is_integer(inner)) or _is_one_of(inner, *checks)


def holds_paths(kind: Any) -> bool:
    """Whether a column of this type holds names of files, and no bytes."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return holds_paths(kind.value_type)
    if is_list(kind):
        return holds_paths(kind.value_type)
    if types.is_struct(kind):
        return "bytes" not in [field.name for field in kind] and "path" in [field.name for field in kind]
    return _is_one_of(kind, "is_string", "is_large_string", "is_string_view")


def is_list(kind: Any) -> bool:
    """Whether a type is any of Arrow's lists."""
    return _is_one_of(kind, "is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")


def _is_one_of(kind: Any, *checks: str) -> bool:
    """By the names of pyarrow's checks, of which older versions lack some."""
    from pyarrow import types

    return any(getattr(types, check)(kind) for check in checks if hasattr(types, check))


def rows_of(batch: Any, layout: TableLayout, with_image: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Of each row of a batch the cell of the photo, None unless `with_image`, and the columns of texts."""
    part = batch.column(layout.outer).field if layout.outer else batch.column
    texts = {name: part(name).to_pylist() for name in layout.columns.used}
    cells = image_column(batch, layout.way).to_pylist() if with_image else [None] * batch.num_rows
    for number, cell in enumerate(cells):
        yield cell, {name: column[number] for name, column in texts.items()}


def image_column(batch: Any, way: str) -> Any:
    """The column of a batch at the end of a way, the names of structs with dots between."""
    if way in batch.schema.names:
        return batch.column(way)
    first, *names = way.split(".")
    column = batch.column(first)
    for name in names:
        column = column.field(name)
    return column


def keep_rows(
    found: Iterable[tuple[str, PackedImage | None, Any, dict[str, Any]]],
    layout: TableLayout,
    images: Path,
    name: Path,
    split: str,
    rows: Rows,
) -> None:
    """Keep a table's examples: of each row where it is, its photo or None and the cell that names its file, its texts.

    `name` is the table's, relative to the data set, for examples that have no id; `split` is for rows that name none.
    """
    columns, stem = layout.columns, name.with_suffix("").as_posix()
    for number, (where, packed, cell, record) in enumerate(found):
        own_split = columns.split_of(record, split)
        with rows.reading(where, own_split):
            source = packed or image_of(cell, images, layout.image[-1])
            if isinstance(source, bytes):
                raise InputError(f"{layout.image[-1]} has bytes, but other rows have paths: use one of them throughout")
            identity = columns.id_of(record, f"{stem}/{number}")
            texts, question = columns.texts_of(record, layout.classes), columns.question_of(record)
            rows.add(Example(identity, source, texts, question, own_split, where))


def read_image(value: Any, images: Path, where: str) -> bytes:
    """The image file's bytes that a cell holds, or those of the file that it names. Raises InputError that names it."""
    try:
        found = image_of(value, images)
    except InputError as error:
        raise InputError(f"{where}: {str(error).strip()}") from error
    if isinstance(found, bytes):
        return found
    try:
        return stored_path(found).read_bytes()
    except OSError as error:
        raise InputError(f"{where}: {found} cannot be read ({error.strerror or error})") from error


def _label_names(schema: Any, columns: Columns, outer: str) -> dict[str, str]:
    """The names of a column of numbered classes, by number, as Hugging Face's datasets stores them in the schema."""
    if columns.task != "labels":
        return {}
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return names_of_labels(features[outer] if outer else features, columns)
    except (KeyError, TypeError, ValueError):
        return {}


def names_of_labels(features: Any, columns: Columns) -> dict[str, str]:
    """The names of numbered classes in the features of Hugging Face's datasets; empty where there are none."""
    try:
        return {str(number): str(name) for number, name in enumerate(features[columns.texts]["names"])}
    except (KeyError, TypeError):
        return {}
