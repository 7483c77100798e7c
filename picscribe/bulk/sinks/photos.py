"""Texts inside the photos themselves: a copy is written and checked before it takes the photo's place."""

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from picscribe.bulk.entries import Entry, Row, digest_of, printable
from picscribe.bulk.failures import DiskFull, EntryError, Failure
from picscribe.bulk.inputs.fetching import read_file
from picscribe.bulk.journal import Intent
from picscribe.bulk.sinks.exiftool import ExifTool
from picscribe.bulk.sinks.files import partial_of, refusal, signature, sync_folders
from picscribe.bulk.sinks.sink import Context, Rows
from picscribe.bulk.sinks.xmp import Packet, leaves
from picscribe.bulk.sinks.xmp_sidecars import merge_row
from picscribe.errors import ConfigurationError, InputError

# How a photo begins → the suffix that ExifTool knows its kind by. The photo's own may be wrong.
KINDS = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.S), "webp"),
    (re.compile(rb"II\*\0|MM\0\*"), "tif"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", re.S), "heic"),
    (re.compile(rb"....ftypavi[fs]", re.S), "avif"),
)
PACKET = re.compile(rb"<x:xmpmeta.*?</x:xmpmeta>", re.S)

BY_CAMERAS = re.compile(r"(?:[A-Z ]*DIGITAL (?:STILL )?CAMERA|SONY DSC|DCIM|default|untitled)\s*", re.I)
"""What cameras put into a description by themselves, which nobody wrote."""

HAS_ALPHA = 0x10
"""The bit of WebP's VP8X header that says that there is transparency."""


class InsidePhotos:
    """XMP inside JPEG, PNG, WebP, TIFF, GIF, HEIC and AVIF; see `xmp.merge` for what is kept."""

    copies = False
    name = "inside"

    def __init__(self, context: Context) -> None:
        """Raises MissingPackageError without ExifTool, ConfigurationError for scores."""
        if context.work.kind == "score":
            raise ConfigurationError("scores of texts cannot be written into photos: use jsonl or csv")
        self.context, self.folder = context, context.folder / "photos"
        self.tool = ExifTool(self.folder)
        self._upto = 0
        self._ready: list[tuple[Row, Path, tuple[int, ...]]] = []
        self._problems: dict[int, Failure] = {}

    def claims(self, entry: Entry) -> Sequence[bytes]:
        """The photo. Raises ConfigurationError for one that is not a separate file."""
        if entry.remote or entry.part:
            raise ConfigurationError(
                f"{printable(entry.path)} is not a separate file, so nothing can be written into it: use jsonl"
            )
        return (b"inside:" + os.fsencode(os.path.realpath(entry.source)),)

    def leaves(self, entry: Entry) -> bool:
        """Whether both texts are there and stay, as far as that can be seen without unpacking anything."""
        if self.context.existing not in ("skip", "machine"):
            return False
        try:
            found = PACKET.search(read_file(entry.source, "", self.context.most))
            return found is not None and leaves(found.group(), self.context.existing)
        except (EntryError, InputError):
            return False

    def open(self, position: Mapping[str, Any] | None, rows: Rows) -> None:
        """Clear away what a kill left in the job's folder; photos are whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._upto = position["upto"] if position else 0

    def prepare(self, rows: Sequence[Row]) -> None:
        """Make and check the new photos, in the job's folder, and note what they will be."""
        self._ready, self._problems = [], {}
        for row in rows:
            if row.value is None:
                continue
            try:
                self._prepare(row)
            except EntryError as error:
                where = printable(row.entry.path)
                said = str(error) if where in str(error) else f"{where}: {error}"
                self._problems[row.number] = Failure(error.kind, said)

    def _prepare(self, row: Row) -> None:
        path = os.path.realpath(row.entry.source)
        seen = signature(path)
        content = read_file(path, printable(row.entry.path), self.context.most)
        now, intent = digest_of(content), self.context.journal.intended(path)
        if seen is None or (intent is not None and intent.row == row.number and intent.after == now):
            return
        kind = next((kind for begins, kind in KINDS if begins.match(content)), None)
        if kind is None:
            raise EntryError("unwritable", "nothing can be written into this kind of file: use --to xmp")
        copy = self.folder / f"{row.number}.{kind}"
        try:
            copy.write_bytes(content)
            if not self._write(row, copy, kind, content):
                copy.unlink()
                return
            after = digest_of(copy.read_bytes())
        except OSError as error:
            problem = refusal(str(copy), error)
            if isinstance(problem, DiskFull):
                raise problem from error
            raise EntryError(problem.kind, problem.reason) from error
        self.context.journal.intend(path, Intent(row.number, now, after, False))
        self._ready.append((row, copy, seen))

    def _write(self, row: Row, copy: Path, kind: str, content: bytes) -> bool:
        """Have a copy hold the text, and check it; whether it changed. Raises EntryError."""
        said = self._read_fields(copy)
        if said.get("HasExtendedXMP"):
            raise EntryError("unwritable", "its XMP is in several pieces, which could be lost: use --to xmp")
        there = self.tool.run("-b", "-XMP", copy.name) or None
        described = str(said.get("ImageDescription") or said.get("Caption-Abstract") or "").strip()
        try:
            packet = merge_row(self.context, row, there, "" if BY_CAMERAS.fullmatch(described) else described)
        except InputError as error:
            raise EntryError("unwritable", f"its XMP cannot be added to: {error}") from error
        if packet is None:
            return False
        (self.folder / "packet.xmp").write_bytes(packet)
        self.tool.run("-overwrite_original", "-XMP<=packet.xmp", copy.name)
        self._check(copy, kind, content, packet)
        return True

    def _read_fields(self, copy: Path) -> dict[str, Any]:
        fields = ("-IFD0:ImageDescription", "-IPTC:Caption-Abstract", "-XMP:HasExtendedXMP")
        found = self.tool.run("-j", "-charset", "iptc=utf8", *fields, copy.name)
        try:
            return dict(json.loads(found)[0])
        except (ValueError, LookupError):
            return {}

    def _check(self, copy: Path, kind: str, before: bytes, packet: bytes) -> None:
        """Raises EntryError where the copy does not say what it should, or is not the same picture."""
        written = self.tool.run("-b", "-XMP", copy.name)
        if not written or not Packet(written).says_the_same(Packet(packet)):
            raise EntryError(
                "unwritable", "ExifTool did not write the text as given, so the photo is unchanged: use --to xmp"
            )
        after = copy.read_bytes()
        if kind == "webp" and _loses_alpha(before, after):
            raise EntryError(
                "unwritable",
                "this ExifTool loses the transparency of lossless WebP, so the photo is unchanged: use --to xmp, or a"
                " newer ExifTool",
            )
        if not _are_same_pictures(before, after, kind):
            raise EntryError("unwritable", "its pixels would change, so the photo is unchanged: use --to xmp")

    def write(self, rows: Sequence[Row]) -> Mapping[int, Failure]:
        """Put the new photos into the places of the old ones."""
        failures, folders = dict(self._problems), set[str]()
        for row, copy, seen in self._ready:
            path = os.path.realpath(row.entry.source)
            try:
                self._replace(row, copy, path, seen)
                folders.add(os.path.dirname(path))
            except EntryError as error:
                failures[row.number] = error.failure
            finally:
                with contextlib.suppress(OSError):
                    copy.unlink()
        sync_folders(folders)
        self._upto = max([self._upto, *(row.number for row in rows)])
        return failures

    def _replace(self, row: Row, copy: Path, path: str, seen: tuple[int, ...]) -> None:
        partial = partial_of(path)
        try:
            shutil.copyfile(copy, partial)
            old = os.stat(path)
            if old.st_nlink > 1:
                self.context.warn(
                    f"{printable(row.entry.path)} has {old.st_nlink - 1} more names (hard links), which keep the photo"
                    " as it was"
                )
            with contextlib.suppress(OSError, AttributeError):
                os.chown(partial, old.st_uid, old.st_gid)
            shutil.copystat(path, partial)
            if os.stat(partial).st_mode != old.st_mode:
                self.context.warn(f"{printable(row.entry.path)}: its permissions could not be kept")
            with open(partial, "rb") as stream:
                os.fsync(stream.fileno())
            if signature(path) != seen:
                raise EntryError(
                    "unwritable",
                    f"{printable(row.entry.path)} was changed by another program meanwhile: add --retry-failed",
                )
            os.replace(partial, path)
        except (OSError, EntryError) as error:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            if isinstance(error, EntryError):
                raise
            problem = refusal(path, error)
            if isinstance(problem, DiskFull):
                raise problem from error
            raise EntryError(problem.kind, problem.reason) from error

    def position(self) -> Mapping[str, Any]:
        """The last row."""
        return {"upto": self._upto}

    def finish(self) -> None:
        """Every photo is written already."""

    def close(self) -> None:
        """End ExifTool, and clear away the copies."""
        self.tool.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _loses_alpha(before: bytes, after: bytes) -> bool:
    """Whether a lossless WebP with transparency no longer says that it has some.

    ExifTool 12.57, of Debian 12, gives it a VP8X header without that bit, by which readers go; Pillow does not.
    """
    if before[12:16] == b"VP8X":
        return bool(before[20] & HAS_ALPHA) and not after[20] & HAS_ALPHA
    has_alpha = before[12:16] == b"VP8L" and bool(before[24] & 0x10)
    return has_alpha and after[12:16] == b"VP8X" and not after[20] & HAS_ALPHA


def _are_same_pictures(before: bytes, after: bytes, kind: str) -> bool:
    """Whether two files decode to the same pixels, in every frame, under the same colour profile."""
    from picscribe.media import open_image

    try:
        if kind == "heic":  # which Pillow alone does not read; upright, so that its turn is compared as well
            return open_image(before).tobytes() == open_image(after).tobytes()
        with Image.open(io.BytesIO(before)) as one, Image.open(io.BytesIO(after)) as other:
            frames = getattr(one, "n_frames", 1)
            if frames != getattr(other, "n_frames", 1) or one.size != other.size:
                return False
            for frame in range(frames):
                one.seek(frame)
                other.seek(frame)
                same = one.mode == other.mode and one.tobytes() == other.tobytes()
                if not same or one.info.get("icc_profile") != other.info.get("icc_profile"):
                    return False
            return one.getexif().get(0x0112) == other.getexif().get(0x0112)
    except InputError as error:
        raise EntryError("unwritable", f"its pixels cannot be compared ({error})") from error
    except Exception as error:  # Pillow's decoders raise many types
        raise EntryError("unwritable", f"its pixels cannot be compared ({error})") from error
