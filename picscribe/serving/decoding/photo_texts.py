"""What a photo's metadata says in words: alternative text, description, title, from XMP, IPTC, EXIF and PNG text.

Alternative text is Iptc4xmpCore:AltTextAccessibility (IPTC Photo Metadata Standard 2021.1), the description
dc:description, IPTC 2:120 or EXIF ImageDescription.
"""

import contextlib
import io
import xml.etree.ElementTree as XML
from typing import Any

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
XMP_NAMES = {
    "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility": "alt_text",
    "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}ExtDescrAccessibility": "extended_description",
    "{http://purl.org/dc/elements/1.1/}description": "description",
    "{http://purl.org/dc/elements/1.1/}title": "title",
}
IPTC_CAPTION, IPTC_TITLE = (2, 120), (2, 5)
EXIF_DESCRIPTION = 0x010E
LONGEST = 10_000
"""Characters of one text that are shown."""


def read(content: bytes) -> dict[str, Any]:
    """`{"texts": {alt_text, extended_description, description, title}, "format", "width", "height"}`, as far as known.

    Metadata that cannot be read counts as none.
    """
    from PIL import Image, IptcImagePlugin

    texts: dict[str, str] = {}
    found: dict[str, Any] = {"texts": texts}
    try:
        image = Image.open(io.BytesIO(content))
    except Exception:
        return found
    found |= {"format": image.format, "width": image.width, "height": image.height}
    with contextlib.suppress(Exception):
        _add(texts, _of_xmp(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")))
    with contextlib.suppress(Exception):
        iptc: dict[Any, Any] = IptcImagePlugin.getiptcinfo(image) or {}
        _add(texts, {"description": _decoded(iptc.get(IPTC_CAPTION)), "title": _decoded(iptc.get(IPTC_TITLE))})
    with contextlib.suppress(Exception):
        _add(texts, {"description": _decoded(image.getexif().get(EXIF_DESCRIPTION))})
    with contextlib.suppress(Exception):
        _add(texts, {"description": image.info.get("Description"), "title": image.info.get("Title")})
    return found


def _add(texts: dict[str, str], found: dict[str, Any]) -> None:
    """Take what is not known yet and is a text."""
    for name, value in found.items():
        if isinstance(value, str) and (text := " ".join(value.split())):
            texts.setdefault(name, text[:LONGEST].encode("utf-8", "replace").decode())


def _decoded(value: object) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8").strip("\0")
        except UnicodeDecodeError:
            return value.decode("latin-1").strip("\0")
    return value.strip("\0") if isinstance(value, str) else None


def _of_xmp(packet: object) -> dict[str, str]:
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    found: dict[str, str] = {}
    for element in XML.fromstring(packet.strip(b"\0 \n")).iter():
        for name, value in element.attrib.items():
            if name in XMP_NAMES:
                found.setdefault(XMP_NAMES[name], value)
        if element.tag in XMP_NAMES:
            items = sorted(element.iter(f"{RDF}li"), key=lambda item: item.get(LANGUAGE) != "x-default")
            text = items[0].text if items else element.text
            found.setdefault(XMP_NAMES[element.tag], text or "")
    return found
