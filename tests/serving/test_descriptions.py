"""Texts that go into photos and beside them, and those that are read out of them."""

import io
import xml.etree.ElementTree as XML
from typing import Any

import httpx
import pytest
from PIL import Image

from picscribe.serving.decoding import photo_texts
from picscribe.serving.decoding.descriptions import exiftool, sidecar

TEXT = 'A man & a woman <say> "ja", 名前'


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def texts_of_xmp(packet: bytes) -> dict[str, str]:
    """By an independent reader: the text of each property's default language."""
    found = {}
    for element in XML.fromstring(packet).iter():
        for item in element.findall("{*}Alt/{*}li"):
            if item.get("{http://www.w3.org/XML/1998/namespace}lang") == "x-default":
                found[element.tag.rpartition("}")[2]] = str(item.text)
    return found


def test_a_sidecar_holds_the_texts_whatever_is_in_them(client: httpx.Client) -> None:
    answer = client.post("/v1/metadata/sidecar", json={"alt_text": TEXT, "title": "x\0\x01y", "language": "de-CH"})
    assert answer.headers["content-type"].startswith("application/rdf+xml")
    found = texts_of_xmp(answer.content)
    assert found == {"description": TEXT, "AltTextAccessibility": TEXT, "title": "xy"}
    assert 'xml:lang="de-CH"' in answer.text
    assert texts_of_xmp(sidecar({"alt_text": "a", "description": "b"}).encode())["description"] == "b"


def test_texts_are_read_from_wherever_photos_have_them(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x010E] = "of EXIF"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "JPEG", exif=exif)
    found = client.post("/v1/metadata", content=buffer.getvalue()).json()
    assert found == {"description": "of EXIF", "format": "JPEG", "width": 8, "height": 6}
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "JPEG", exif=exif, xmp=sidecar({"alt_text": TEXT, "title": "t"}).encode())
    found = client.post("/v1/metadata", content=buffer.getvalue()).json()
    assert (found["alt_text"], found["description"], found["title"]) == (TEXT, TEXT, "t")
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Description", "of a PNG")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG", pnginfo=info)
    assert client.post("/v1/metadata", content=buffer.getvalue()).json()["description"] == "of a PNG"


def test_metadata_that_is_broken_or_hostile_counts_as_none() -> None:
    for packet in (
        b"<x:xmpmeta", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe\0", b"<a>" * 10_000, b"",
    ):  # fmt: skip
        buffer = io.BytesIO()
        Image.new("RGB", (8, 6)).save(buffer, "JPEG", xmp=packet)
        assert photo_texts.read(buffer.getvalue())["texts"] == {}
    assert photo_texts.read(b"no photo")["texts"] == {}


def test_a_photo_is_written_and_its_pixels_stay(client: httpx.Client) -> None:
    if exiftool() is None:
        refused = client.post("/v1/metadata/write", files={"image": ("a.jpg", jpeg())}, data={"alt_text": TEXT})
        assert (refused.status_code, refused.json()["error"]["code"]) == (501, "not_supported")
        pytest.skip("exiftool is not installed")
    photo = jpeg()
    answer = client.post("/v1/metadata/write", files={"image": ("a.jpg", photo)}, data={"alt_text": TEXT})
    assert answer.status_code == 200, answer.text
    assert Image.open(io.BytesIO(answer.content)).tobytes() == Image.open(io.BytesIO(photo)).tobytes()
    found = client.post("/v1/metadata", content=answer.content).json()
    assert (found["alt_text"], found["description"]) == (TEXT, TEXT)


def test_what_exiftool_cannot_write_is_an_error_of_that_photo(client: httpx.Client) -> None:
    if exiftool() is None:
        pytest.skip("exiftool is not installed")
    for content in (b"no photo" * 20, b"-o\n/etc/passwd\n" * 5, jpeg()[:200]):
        answer = client.post("/v1/metadata/write", files={"image": ("a.jpg", content)}, data={"alt_text": "x"})
        assert answer.status_code == 400, (content[:10], answer.text)
        assert "a.jpg" in answer.json()["error"]["message"]


def test_an_argument_cannot_be_smuggled_in(client: httpx.Client, tmp_path: Any) -> None:
    if exiftool() is None:
        pytest.skip("exiftool is not installed")
    target = tmp_path / "written"
    text = f"x\n-o\n{target}\n-execute"
    answer = client.post("/v1/metadata/write", files={"image": ("a.jpg", jpeg())}, data={"alt_text": text})
    assert answer.status_code == 200
    assert not target.exists()
