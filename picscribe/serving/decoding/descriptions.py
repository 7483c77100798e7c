"""Texts about a photo for others to read: an XMP sidecar, and metadata written into the photo itself by ExifTool."""

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from xml.sax.saxutils import escape, quoteattr

from picscribe import __version__
from picscribe.serving.errors import BadRequest, NotSupported, Overdue
from picscribe.serving.settings import ServiceLimits
from picscribe.serving.tasks import Photo
from picscribe.text_files import split_lines

SIDECAR = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="picscribe {version}">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
{texts}  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
TEXT = """   <{name}>
    <rdf:Alt>
{items}    </rdf:Alt>
   </{name}>
"""
ITEM = "     <rdf:li xml:lang={language}>{text}</rdf:li>\n"
XMP_NAMES = {"description": "dc:description", "title": "dc:title", "alt_text": "Iptc4xmpCore:AltTextAccessibility"}
EXIFTOOL_NAMES = {
    "description": ("XMP-dc:Description",),
    "title": ("XMP-dc:Title",),
    "alt_text": ("XMP-iptcCore:AltTextAccessibility",),
}
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc/perl", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
LONGEST_RUN = 30.0


def sidecar(texts: Mapping[str, str]) -> str:
    """An XMP file with `alt_text`, `description`, by default the same, and `title`, in `language` where known."""
    texts = {"description": texts.get("alt_text", ""), **texts}
    languages = ["x-default", *([texts["language"]] if texts.get("language") else [])]
    shown = ""
    for name, element in XMP_NAMES.items():
        if text := _printable(texts.get(name, "")):
            items = "".join(ITEM.format(language=quoteattr(one), text=escape(text)) for one in languages)
            shown += TEXT.format(name=element, items=items)
    return SIDECAR.format(version=__version__, texts=shown)


@cache
def exiftool() -> str | None:
    """Where ExifTool is; None where it is not installed."""
    return shutil.which("exiftool")


async def write_into(photo: Photo, texts: Mapping[str, str], limits: ServiceLimits) -> bytes:
    """The photo's file with the texts in its metadata, everything else as it was.

    ExifTool gets the file over a pipe and runs confined: it reads the system's own files, and nothing more.
    Raises NotSupported where it is not installed, BadRequest for a file that it cannot write.
    """
    program = exiftool()
    if program is None:
        raise NotSupported("this server has no ExifTool: ask for a sidecar, or install it (exiftool.org)")
    texts = {"description": texts.get("alt_text", ""), **texts}
    arguments = [program, "-config", "", "-q", "-charset", "UTF8"]
    for name, tags in EXIFTOOL_NAMES.items():
        if text := _printable(texts.get(name, "")):
            arguments += [f"-{tag}={text}" for tag in tags]
    launch = (
        "import sys, json; sys.path[:] = json.loads(sys.argv[1]);"
        " from picscribe.serving.decoding.descriptions import run_confined; run_confined(json.loads(sys.argv[2]))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-B", "-c", launch, json.dumps(sys.path), json.dumps([*arguments, "-o", "-", "-"]),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"LANG": "C.UTF-8"}, start_new_session=True,
    )  # fmt: skip
    try:
        written, said = await asyncio.wait_for(process.communicate(photo.content), min(LONGEST_RUN, limits.deadline))
    except asyncio.TimeoutError:
        raise Overdue("the deadline passed before the metadata was written") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode or not written:
        reason = split_lines(said.decode("utf-8", "replace").strip())
        shown = reason[0][:200] if reason else "no reason given"
        raise BadRequest(f"{photo.name} cannot be written to: {shown}", code="invalid_image", param="image")
    return written


def run_confined(arguments: list[str]) -> None:
    """Become another program that may read the system's files only, for a process that was started for this."""
    import os

    from picscribe.serving.safety.sandbox import allow_time, confine

    confine(2**30, readable=READABLE, programs=True)
    allow_time(LONGEST_RUN)
    os.execve(arguments[0], arguments, {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"})


def _printable(text: str) -> str:
    """The text without what XML and a command line cannot hold."""
    return "".join(one for one in text if one in "\n\t" or (one.isprintable() and ord(one) < 0x110000)).strip()
