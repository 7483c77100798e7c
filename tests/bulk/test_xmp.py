"""XMP packets: what readers find in them, and that everybody else's fields stay."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from picscribe.bulk.sinks.xmp import Mark, Packet, leaves, merge
from picscribe.errors import InputError

MARK = Mark("tiny", "caption beams=4")

NAMES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
}

LIGHTROOM = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.6">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmp:Rating="4" crs:ToneCurve="0, 0&#10;255, 255">
   <dc:subject><rdf:Bag><rdf:li>harbour &amp; sea</rdf:li></rdf:Bag></dc:subject>
   <dc:description><rdf:Alt>
     <rdf:li xml:lang="x-default">A harbour at night</rdf:li><rdf:li xml:lang="de">Ein Hafen</rdf:li>
   </rdf:Alt></dc:description>
   <!-- kept --><![CDATA[raw <text>]]>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def words_of_alt_text(content: bytes) -> str:
    """As WordPress reads it: by this path from the root, and then the x-default item of its rdf:Alt."""
    root = ElementTree.fromstring(content)
    assert root.tag == "{adobe:ns:meta/}xmpmeta"
    found = root.find("rdf:RDF/rdf:Description/Iptc4xmpCore:AltTextAccessibility", NAMES)
    assert found is not None
    (item,) = [
        one
        for one in found.findall("rdf:Alt/rdf:li", NAMES)
        if one.get("{http://www.w3.org/XML/1998/namespace}lang") == "x-default"
    ]
    return item.text or ""


def merged(content: bytes | None, text: str, existing: str = "skip") -> bytes:
    packet = merge(content, text, existing, " / ", MARK)
    assert packet is not None
    return packet


def test_a_new_packet_says_it_three_times() -> None:
    content = merged(None, 'a <dog> & a "cat"\u2028')
    assert words_of_alt_text(content) == 'a <dog> & a "cat"\u2028'
    root = ElementTree.fromstring(content)
    for path in ("dc:description", "tiff:ImageDescription"):
        item = root.find(f"rdf:RDF/rdf:Description/{path}/rdf:Alt/rdf:li", NAMES)
        assert item is not None and item.text == 'a <dog> & a "cat"\u2028'
    assert Packet(content).is_ours("Description") and Packet(content).is_ours("AltText")
    assert b"tiny" in content and b"beams=4" in content


def test_what_others_wrote_stays_to_the_letter() -> None:
    content = merged(LIGHTROOM, "a machine's words")
    assert words_of_alt_text(content) == "a machine's words"
    packet = Packet(content)
    assert packet.text("Description") == "A harbour at night"
    assert not packet.is_ours("Description") and packet.is_ours("AltText")
    foreign = (b"harbour &amp; sea", b'xmp:Rating="4"', b'crs:ToneCurve="0, 0&#10;255, 255"', b"Ein Hafen")
    for kept in (*foreign, b"<!-- kept -->", b"<![CDATA[raw <text>]]>", b'x:xmptk="Adobe XMP Core 5.6"'):
        assert kept in content, kept
    assert content.startswith(b"<?xpacket begin=") and content.rstrip().endswith(b'<?xpacket end="w"?>')


@pytest.mark.parametrize(
    ("existing", "description"),
    [
        ("skip", "A harbour at night"),
        ("machine", "A harbour at night"),
        ("overwrite", "new"),
        ("append", "A harbour at night / new"),
        ("prepend", "new / A harbour at night"),
    ],
)
def test_what_becomes_of_a_person_s_text(existing: str, description: str) -> None:
    content = merged(LIGHTROOM, "new", existing)
    assert Packet(content).text("Description") == description
    assert b"Ein Hafen" in content
    assert Packet(content).is_ours("Description") == (existing == "overwrite")


def test_a_machine_s_text_is_replaced_until_a_person_edits_it() -> None:
    first = merged(LIGHTROOM, "old words")
    second = merged(first, "new words", "machine")
    assert words_of_alt_text(second) == "new words"
    edited = second.replace(b"new words", b"my words")
    assert merge(edited, "newest", "machine", "", MARK) is None
    assert leaves(edited, "machine") and not leaves(second, "machine") and leaves(second, "skip")
    assert merge(second, "newest", "skip", "", MARK) is None


@pytest.mark.parametrize(
    "content",
    [
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about=""/></r:RDF>',
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:dc="urn:other" dc:a="1"><rdf:RDF'
        b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>',
        b"",
        b"  \n",
    ],
)
def test_odd_packets_are_completed(content: bytes) -> None:
    assert words_of_alt_text(merged(content, "words")) == "words"
    assert Packet(merged(content, "words")).text("Description") == "words"


def test_short_forms_are_read_and_replaced() -> None:
    content = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:ImageDescription="mine" tiff:Make="X"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    assert Packet(content).text("Description") == "mine"
    assert Packet(merged(content, "new")).text("Description") == "mine"
    replaced = merged(content, "new", "overwrite")
    assert b"mine" not in replaced and b'tiff:Make="X"' in replaced
    assert Packet(replaced).text("Description") == "new"


def test_utf_16_is_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?>' + LIGHTROOM.decode().lstrip("\ufeff").partition("?>\n")[2]
    assert Packet(text.encode("utf-16")).text("Description") == "A harbour at night"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not XML", "not XML"),
        (b"<html/>", "it is not XMP"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>', "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "document type"),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
         + b"<a>" * 5000 + b"</a>" * 5000 + b"</rdf:RDF></x:xmpmeta>", "too deeply"),
    ],
)  # fmt: skip
def test_invalid_xmp_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        merge(content, "words", "skip", "", MARK)


def test_letters_that_xml_cannot_hold_are_left_out() -> None:
    assert words_of_alt_text(merged(None, "a\x00b\x1bc\ud800d\ufffe")) == "abcd"


# As sidecars


def test_sidecars_are_named_after_the_photo_and_others_are_used(bulk: Any, folder: Path) -> None:
    (folder / "1.xmp").write_bytes(LIGHTROOM)
    (folder / "2.png.xmp").write_bytes(merged(None, "mine").replace(b"picscribe:AltText", b"picscribe:Other"))
    bulk.draw(folder / "3.jpg", 30)
    (folder / "3.xmp").write_bytes(LIGHTROOM)
    bulk(folder, "xmp")
    names = sorted(path.name for path in folder.rglob("*.xmp"))
    assert names == ["0.png.xmp", "1.xmp", "2.png.xmp", "3.jpg.xmp", "3.png.xmp", "3.xmp", "4.png.xmp", "5.jpg.xmp"]
    assert words_of_alt_text((folder / "0.png.xmp").read_bytes()) == bulk.scribe.caption(folder / "0.png").text
    assert words_of_alt_text((folder / "1.xmp").read_bytes()) == bulk.scribe.caption(folder / "1.png").text
    assert words_of_alt_text((folder / "2.png.xmp").read_bytes()) == "mine"
    assert (folder / "3.xmp").read_bytes() == LIGHTROOM  # of two photos: it says nothing of one


def test_adobe_s_names(bulk: Any, folder: Path) -> None:
    bulk(folder, "xmp", full_xmp=False)
    assert sorted(path.name for path in folder.glob("*.xmp")) == [f"{n}.xmp" for n in range(5)]


def test_an_invalid_sidecar_is_kept_and_named(bulk: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "0.png.xmp").write_bytes(b"my notes")
    summary = bulk(folder, "xmp", tmp_path / "out.jsonl")
    assert (folder / "0.png.xmp").read_bytes() == b"my notes"
    assert summary.failures == {"unreadable": 1, "unwritable": 1}
    assert len(bulk.lines(tmp_path / "out.jsonl")) == 6
    (folder / "0.png.xmp").unlink()
    assert bulk(folder, "xmp", tmp_path / "out.jsonl", retry=("unwritable",)).failures == {"unreadable": 1}
    assert bulk.calls == []
    assert words_of_alt_text((folder / "0.png.xmp").read_bytes())
    assert len(bulk.lines(tmp_path / "out.jsonl")) == 6


def test_long_alt_texts_are_warned_about_and_not_cut(bulk: Any, folder: Path) -> None:
    from picscribe.bulk.entries import Entry, Row
    from picscribe.bulk.sinks.sink import Context
    from picscribe.bulk.sinks.xmp_sidecars import merge_row
    from picscribe.bulk.work import Work

    warned: list[str] = []
    context = Context(None, folder, Work(), "skip", "\n", "tiny", "", (), warned.append, 1 << 20)  # type: ignore[arg-type]
    text = "word " * 60
    content = merge_row(context, Row(1, Entry("/a.jpg", "a.jpg", "a.jpg"), {"caption": text}, b""), None)
    assert content is not None and words_of_alt_text(content) == text
    assert warned and "300 letters" in warned[0]
