"""XMP packets: what picscribe says in them, and everything that anybody else said, which stays.

Written are dc:description, tiff:ImageDescription and Iptc4xmpCore:AltTextAccessibility (XMP specification part 1,
ISO 16684-1; IPTC Photo Metadata Standard 2021.1), each an rdf:Alt with x-default, within x:xmpmeta, and a mark of our
own that says by which model, so that a machine's words can be distinguished from a person's.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.dom import minidom
from xml.dom.minidom import Document, Element
from xml.parsers import expat

import picscribe
from picscribe.errors import InputError

X = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
OURS = "urn:picscribe:xmp:1.0#"
XML = "http://www.w3.org/XML/1998/namespace"
XMLNS = "http://www.w3.org/2000/xmlns/"

PREFIXES = {X: "x", RDF: "rdf", DC: "dc", TIFF: "tiff", IPTC: "Iptc4xmpCore", OURS: "picscribe"}

DESCRIPTION = ((DC, "description"), (TIFF, "ImageDescription"))
ALT_TEXT = ((IPTC, "AltTextAccessibility"),)
UNITS = {"Description": DESCRIPTION, "AltText": ALT_TEXT}
"""What is one text: a description under its two names, and the alt text. Our marks have these names."""

LONGEST_ALT = 250
"""Letters beyond which IPTC's standard says that an alt text is too long."""

EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="{X}">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


@dataclass(frozen=True)
class Mark:
    """What our mark says besides the digests of the texts: model, version and options."""

    model: str
    options: str
    version: str = picscribe.__version__


class Packet:
    """An XMP packet, to read texts from and put ours into."""

    def __init__(self, content: bytes | None) -> None:
        """Raises InputError for what is no XMP; None is an empty one."""
        self._document = _parse(content if content is not None and content.strip() else EMPTY.encode())
        self._rdf = self._wrap()

    def text(self, unit: str) -> str:
        """What a unit says by default; "" for nothing."""
        for namespace, name in UNITS[unit]:
            for description in self._descriptions():
                if said := _read(description, namespace, name):
                    return said
        return ""

    def is_ours(self, unit: str) -> bool:
        """Whether the text of a unit is, to the letter, what our mark says that picscribe wrote."""
        said = self.text(unit)
        return any(one.getAttributeNS(OURS, unit) == _digest(said) for one in self._descriptions())

    def write(self, unit: str, text: str, mark: Mark | None) -> None:
        """Have a unit say a text; with a mark it is all ours, without it a person has a part in it."""
        for namespace, name in UNITS[unit]:
            self._set(namespace, name, text)
        for description in self._descriptions():
            if description.hasAttributeNS(OURS, unit):
                description.removeAttributeNS(OURS, unit)
        if mark is not None:
            home = self._home()
            said = {"Model": mark.model, "Version": mark.version, "Options": mark.options, unit: _digest(text)}
            prefix = self._declare(home, OURS)
            for name, value in said.items():
                for description in self._descriptions():
                    if description.hasAttributeNS(OURS, name):
                        description.removeAttributeNS(OURS, name)
                home.setAttributeNS(OURS, f"{prefix}:{name}", _writable(value))

    def encode(self) -> bytes:
        """The packet as UTF-8."""
        try:
            return ("\n".join(map(_serialised, self._document.childNodes)) + "\n").encode("utf-8", "backslashreplace")
        except RecursionError:
            raise InputError("its elements are within each other too deeply") from None

    def says_the_same(self, other: "Packet") -> bool:
        """Whether two packets differ only in what is around their x:xmpmeta."""
        one, two = (_serialised(packet._document.documentElement) for packet in (self, other))
        return one == two

    def _wrap(self) -> Element:
        """rdf:RDF, within an x:xmpmeta, which is put around it where it is missing. Raises InputError for none."""
        document = self._document
        root = document.documentElement
        assert root is not None
        if (root.namespaceURI, root.localName) == (RDF, "RDF"):
            meta = document.createElementNS(X, "x:xmpmeta")
            meta.setAttributeNS(XMLNS, "xmlns:x", X)
            document.replaceChild(meta, root)
            meta.appendChild(root)
            return root
        if root.localName in ("xmpmeta", "xapmeta") and root.namespaceURI == X:
            found = [one for one in _elements(root) if (one.namespaceURI, one.localName) == (RDF, "RDF")]
            if found:
                return found[0]
            made = document.createElementNS(RDF, "rdf:RDF")
            made.setAttributeNS(XMLNS, "xmlns:rdf", RDF)
            root.appendChild(made)
            return made
        raise InputError(f"its root is <{root.tagName}>, not x:xmpmeta: it is not XMP")

    def _descriptions(self) -> list[Element]:
        return [one for one in _elements(self._rdf) if (one.namespaceURI, one.localName) == (RDF, "Description")]

    def _home(self) -> Element:
        """The first rdf:Description, which new properties go into."""
        found = self._descriptions()
        if found:
            return found[0]
        prefix = self._declare(self._rdf, RDF)
        made = self._document.createElementNS(RDF, f"{prefix}:Description")
        made.setAttributeNS(RDF, f"{prefix}:about", "")
        self._rdf.appendChild(made)
        return made

    def _declare(self, element: Element, namespace: str) -> str:
        """The prefix of a namespace where `element` stands, declared there if it was not."""
        prefix = _prefix_of(element, namespace)
        if prefix is None:
            prefix, number = PREFIXES[namespace], 0
            while _namespace_of(element, prefix) is not None:  # somebody has our prefix for something else
                number += 1
                prefix = f"{PREFIXES[namespace]}{number}"
            element.setAttributeNS(XMLNS, f"xmlns:{prefix}", namespace)
        return prefix

    def _set(self, namespace: str, name: str, text: str) -> None:
        """Have a property's default say a text; its other languages stay."""
        holder = next((one for one in self._descriptions() if _property(one, namespace, name) is not None), None)
        for description in self._descriptions():
            if description.hasAttributeNS(namespace, name):  # the short form, which has no languages
                description.removeAttributeNS(namespace, name)
        if holder is None:
            holder = self._home()
            prefix = self._declare(holder, namespace)
            holder.appendChild(self._document.createElementNS(namespace, f"{prefix}:{name}"))
        found = _property(holder, namespace, name)
        assert found is not None
        item = self._default_of(found)
        while item.firstChild is not None:
            item.removeChild(item.firstChild)
        item.appendChild(self._document.createTextNode(_writable(text)))

    def _default_of(self, found: Element) -> Element:
        """The rdf:li of x-default in a property, made where it is missing."""
        rdf = self._declare(found, RDF)
        alternatives = next(
            (one for one in _elements(found) if one.namespaceURI == RDF and one.localName == "Alt"), None
        )
        if alternatives is None:
            others = [
                one for one in _elements(found) if one.namespaceURI == RDF
            ]  # a Bag or Seq, which is not right here
            while found.firstChild is not None:
                found.removeChild(found.firstChild)
            alternatives = self._document.createElementNS(RDF, f"{rdf}:Alt")
            found.appendChild(alternatives)
            for other in others:
                for item in _elements(other):
                    if item.hasAttributeNS(XML, "lang") and item.getAttributeNS(XML, "lang") != "x-default":
                        alternatives.appendChild(item)
        for item in _elements(alternatives):
            if item.getAttributeNS(XML, "lang").lower() == "x-default":
                return item
        made = self._document.createElementNS(RDF, f"{rdf}:li")
        made.setAttributeNS(XML, "xml:lang", "x-default")
        alternatives.insertBefore(made, alternatives.firstChild)
        return made


def _serialised(node: Any) -> str:
    """A node as XML. minidom's own way, before Python 3.13, loses line ends and tabs of attributes."""
    if node.nodeType == node.ELEMENT_NODE:
        said = "".join(f' {name}="{_escaped(value, True)}"' for name, value in node.attributes.items())
        if not node.childNodes:
            return f"<{node.tagName}{said}/>"
        return f"<{node.tagName}{said}>{''.join(map(_serialised, node.childNodes))}</{node.tagName}>"
    if node.nodeType == node.TEXT_NODE:
        return _escaped(node.data, False)
    return str(node.toxml())  # comments, instructions, CDATA


def _escaped(text: str, in_attribute: bool) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    if in_attribute:
        text = text.replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return text


def _read(description: Element, namespace: str, name: str) -> str:
    """A property's text by default, in whichever of RDF's forms it is."""
    if description.hasAttributeNS(namespace, name):
        return str(description.getAttributeNS(namespace, name)).strip()
    found = _property(description, namespace, name)
    if found is None:
        return ""
    items = [item for one in _elements(found) if one.namespaceURI == RDF for item in _elements(one)]
    if not items:
        return "" if list(_elements(found)) else _text_of(found)
    default = [item for item in items if item.getAttributeNS(XML, "lang").lower() in ("x-default", "")]
    return _text_of(default[0] if default else items[0])


def _property(description: Element, namespace: str, name: str) -> Element | None:
    return next((e for e in _elements(description) if (e.namespaceURI, e.localName) == (namespace, name)), None)


def _elements(parent: Any) -> Iterator[Element]:
    return (node for node in list(parent.childNodes) if node.nodeType == node.ELEMENT_NODE)


def _text_of(element: Element) -> str:
    return "".join(n.data for n in element.childNodes if n.nodeType in (n.TEXT_NODE, n.CDATA_SECTION_NODE)).strip()


def _prefix_of(element: Any, namespace: str) -> str | None:
    """The prefix of a namespace at an element; None if it has none."""
    hidden = set()
    while element is not None and element.nodeType == element.ELEMENT_NODE:
        for name, value in element.attributes.items():
            if name.startswith("xmlns:"):
                prefix = name.removeprefix("xmlns:")
                if value == namespace and prefix not in hidden:
                    return str(prefix)
                hidden.add(prefix)
        element = element.parentNode
    return None


def _namespace_of(element: Any, prefix: str) -> str | None:
    while element is not None and element.nodeType == element.ELEMENT_NODE:
        if element.hasAttribute(f"xmlns:{prefix}"):
            return str(element.getAttribute(f"xmlns:{prefix}"))
        element = element.parentNode
    return None


def _parse(content: bytes) -> Document:
    """Raises InputError for text that is not XML, and for a document type, which could make us read other files."""
    if b"\0" in content.rstrip(b"\0") or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = re.sub(rb"^\s*<\?xml[^>]*\?>", b"", _as_utf8(content))  # which names the encoding that it had
    content = content.rstrip(b"\0").strip().removeprefix(b"\xef\xbb\xbf")
    checker = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise InputError("it has a document type, which XMP never has")

    checker.StartDoctypeDeclHandler = refuse
    try:
        checker.Parse(content, True)
        return minidom.parseString(content)
    except (expat.ExpatError, ValueError) as error:
        raise InputError(f"it is not XML ({error})") from error


def _as_utf8(content: bytes) -> bytes:
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-be").encode()
    except UnicodeDecodeError as error:
        raise InputError(f"it is not XML ({error})") from error


def _writable(text: str) -> str:
    """A text without the control characters that XML cannot hold."""
    kept = [
        c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    ]
    return "".join(kept)


def _digest(text: str) -> str:
    return hashlib.sha256(_writable(text).strip().encode()).hexdigest()[:32]


def merge(
    content: bytes | None, text: str, existing: str, separator: str, mark: Mark, described: str = ""
) -> bytes | None:
    """A packet with our text in it, as far as what is there is to be kept; None where it stays as it is.

    existing: see `--existing`; each unit, the description and the alt text, is kept or written for itself.
    described: what a photo's EXIF or IPTC data says of it, which counts as a description where XMP has none.
    Raises InputError for what is no XMP.
    """
    packet = Packet(content)
    changed = False
    for unit in UNITS:
        there = packet.text(unit) or (described if unit == "Description" else "")
        if there == _writable(text).strip() and there:
            continue
        machine = packet.is_ours(unit)
        if not there or existing == "overwrite" or (machine and existing == "machine"):
            packet.write(unit, text, mark)
        elif existing == "append":
            packet.write(unit, there + separator + text, None)
        elif existing == "prepend":
            packet.write(unit, text + separator + there, None)
        else:
            continue
        changed = True
    return packet.encode() if changed else None


def leaves(content: bytes, existing: str) -> bool:
    """Whether both texts are there and stay as they are."""
    packet = Packet(content)
    if existing == "skip":
        return all(packet.text(unit) for unit in UNITS)
    return existing == "machine" and all(packet.text(unit) and not packet.is_ours(unit) for unit in UNITS)
