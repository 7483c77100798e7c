"""Each function of the page, on real photos, in a browser."""

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="needs the extra dev")

from playwright.sync_api import expect

import picscribe
from tests.serving.page.steps import SLOW, OpenPage, add, captioned

EXAMPLE = Path(picscribe.__file__).parent / "serving" / "page" / "example.jpg"


def choose(page: Any, name: str) -> None:
    page.locator(".row", has_text=name).locator(".row-open").click()
    expect(page.locator("#editor-title")).to_have_text(name)


def state(page: Any) -> Any:
    return page.locator("#editor [data-part=state]")


def as_sentence(words: str) -> str:
    """A model's words as the page suggests them: a capital letter at the front, one full stop at the end."""
    return words.removesuffix(".").capitalize() + "."


def text(page: Any) -> Any:
    return page.locator("#editor-text")


def test_an_example_becomes_a_text_with_one_click(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Try it with an example photo").click()
    captioned(page)
    best = picscribe.load("nano").caption(EXAMPLE, num_captions=3, beams=4)
    expect(text(page)).to_have_value(as_sentence(best.text))
    expect(page.locator(".alternative-text")).to_have_text([one.text for one in best.alternatives])
    sure = [f"{round(100 * one.confidence)} %" for one in best.alternatives]
    expect(page.locator(".alternative .number")).to_have_text(sure)
    expect(page.locator(".thumbnail img")).to_be_visible()
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(state(page)).to_have_text("Accepted")
    page.get_by_role("button", name="Undo").click()
    expect(state(page)).to_have_text("To review")


PACED = """
    () => {
        const box = document.querySelector('#editor-text');
        const plain = window.fetch;
        window.seen = [];
        const drawn = async (before) => {
            for (let frame = 0; box.value === before && frame < 600; frame++) await new Promise(requestAnimationFrame);
            if (box.value !== before) window.seen.push(box.value);
        };
        window.fetch = async (address, options) => {
            const answer = await plain(address, options);
            if (!(options?.body instanceof FormData && options.body.has('stream'))) return answer;
            const events = (await answer.text()).split(/(?<=\\n\\n)/);
            const write = async (controller) => {
                for (const event of events) {
                    const before = box.value;
                    controller.enqueue(new TextEncoder().encode(event));
                    if (/"chunk": ?"[^"]/.test(event)) await drawn(before);
                }
                controller.close();
            };
            return new Response(new ReadableStream({start: (controller) => void write(controller)}));
        };
    }
"""
"""Has the page read a streamed caption event by event: each waits until the last one's words are in the text box."""


def test_words_appear_while_they_are_written(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(PACED)
    held: list[Any] = []
    page.route(
        "**/v1/caption",
        lambda route: held.append(route) if route.request.resource_type == "xhr" else route.continue_(),
    )
    page.locator("#welcome [data-example]").click()
    best = picscribe.load("nano").caption(EXAMPLE, beams=1).text
    page.wait_for_function("best => window.seen.at(-1) === best", arg=best)
    expect(page.get_by_role("button", name="Accept", exact=True)).to_be_disabled()
    seen = page.evaluate("window.seen")
    assert len(seen) >= 3, "words, one after the other"
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen)), seen
    for _ in range(200):
        if held:
            break
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(text(page)).to_have_value(re.compile(r"\.$"))


def test_photos_come_in_every_way(open_page: OpenPage, photo_files: list[Path], tmp_path: Path) -> None:
    page = open_page()
    folder = tmp_path / "holiday"
    (folder / "beach").mkdir(parents=True)
    Image.open(photo_files[0]).save(folder / "one.png")
    Image.open(photo_files[1]).save(folder / "beach" / "two.webp")
    (folder / "notes.txt").write_text("no photo")
    page.set_input_files("#choose-folder", folder)
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#news")).to_contain_text("neither a photo nor a video")
    content = list(photo_files[2].read_bytes())
    page.evaluate(
        """(content) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], 'dropped.jpg', {type: 'image/jpeg'}));
            const usual = {bubbles: true, cancelable: true};
            for (const kind of ['dragenter', 'dragover', 'drop'])
                document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, ...usual}));
            const copied = new DataTransfer();
            copied.items.add(new File([new Uint8Array(content)], 'image.png', {type: 'image/png'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: copied, ...usual}));
        }""",
        content,
    )
    expect(page.locator(".row")).to_have_count(4)
    page.get_by_role("button", name="Take a photo").click()
    page.get_by_role("button", name="Take it").click()
    expect(page.locator(".row")).to_have_count(5)
    expect(page.locator("#camera")).to_be_hidden()
    names = page.locator(".row-name").all_inner_texts()
    assert {"one.png", "two.webp", "dropped.jpg"} <= set(names)
    assert any(re.match(r"pasted-.*\.png", name) for name in names)
    assert any(re.match(r"camera-.*\.jpg", name) for name in names)
    captioned(page)
    states = page.locator(".row .state").all_inner_texts()
    assert all(re.fullmatch(r"(To review|Check this) · \d+ %", one) for one in states), states
    page.set_input_files("#choose-folder", folder)
    expect(page.locator("#news")).to_contain_text("2 were here already")
    expect(page.locator(".row")).to_have_count(5)


def test_heic_and_videos_have_previews_made_by_the_server(
    open_page: OpenPage, photo_files: list[Path], tmp_path: Path
) -> None:
    heif = pytest.importorskip("pillow_heif")
    av = pytest.importorskip("av")
    photo = Image.open(photo_files[4]).convert("RGB")
    heif.from_pillow(photo).save(tmp_path / "phone.heic")
    with av.open(tmp_path / "film.mp4", "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(12):
            film.mux(stream.encode(av.VideoFrame.from_image(photo.resize((320, 240)))))
        film.mux(stream.encode())
    page = open_page()
    add(page, tmp_path / "phone.heic", tmp_path / "film.mp4")
    captioned(page)
    for name in ("phone.heic", "film.mp4"):
        choose(page, name)
        expect(page.locator("#editor")).to_have_attribute("data-picture", "shown")
        page.wait_for_function("document.querySelector('#editor [data-part=picture]').naturalWidth > 100")
    expect(page.locator(".thumbnail img")).to_have_count(2)


def test_a_suggestion_is_accepted_edited_undone_or_left(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, *photo_files[:2])
    captioned(page)
    first = text(page).input_value()
    text(page).fill("An astronaut in an orange suit.")
    expect(page.locator(".row").first.locator(".row-text")).to_have_text("An astronaut in an orange suit.")
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(state(page)).to_have_text("Edited")
    page.get_by_role("button", name="Decorative").click()
    expect(state(page)).to_have_text("Decorative")
    expect(text(page)).to_be_disabled()
    expect(page.locator("[data-part=decorative-note]")).to_contain_text('alt=""')
    for expected in ("Edited", "To review", "To review"):
        page.get_by_role("button", name="Undo").click()
        expect(state(page)).to_have_text(expected)
    expect(text(page)).to_have_value(first)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    second = page.locator(".alternative-text").nth(1).inner_text()
    page.locator(".alternative").nth(1).click()
    expect(text(page)).to_have_value(as_sentence(second))


def test_the_photos_own_text_is_shown_and_kept(
    open_page: OpenPage, photo_files: list[Path], tmp_path: Path, client: Any
) -> None:
    packet = client.post(
        "/v1/metadata/sidecar", json={"alt_text": "Eileen Collins smiles.", "title": "Portrait"}
    ).content
    Image.open(photo_files[0]).save(tmp_path / "own.jpg", xmp=packet)
    page = open_page()
    add(page, tmp_path / "own.jpg")
    captioned(page)
    expect(page.locator("[data-part=existing]")).to_contain_text("Eileen Collins smiles.")
    assert text(page).input_value() != "Eileen Collins smiles."
    page.get_by_role("button", name="Keep this text").first.click()
    expect(text(page)).to_have_value("Eileen Collins smiles.")
    expect(state(page)).to_have_text("Kept")


def test_hints_are_polite_and_never_cut(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, photo_files[0])
    captioned(page)
    hints = page.locator("[data-hint]")
    text(page).fill("Image of a red door.")
    expect(hints).to_have_count(1)
    page.get_by_role("button", name="Remove these words").click()
    expect(text(page)).to_have_value("A red door.")
    text(page).fill("IMG_2034.JPG")
    expect(hints).to_have_count(2)
    assert [hint.get_attribute("data-hint") for hint in hints.all()] == ["file-name", "full-stop"]
    text(page).fill("A red door")
    page.get_by_role("button", name="Add a full stop").click()
    expect(text(page)).to_have_value("A red door.")
    expect(hints).to_have_count(0)
    length = page.locator("#editor-length")
    for size, hint in ((125, ""), (126, "125"), (251, "250")):
        text(page).fill("x" * (size - 1) + ".")
        expect(page.locator("#editor-count")).to_have_text(f"{size} characters")
        expect(length).to_contain_text(hint) if hint else expect(length).to_be_empty()
        expect(text(page)).to_have_value("x" * (size - 1) + ".")
    expect(page.locator("#announcements")).to_contain_text("More than 250 characters")


def test_what_the_model_is_unsure_of_says_so(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, photo_files[0])
    captioned(page)
    expect(page.locator("[data-part=check]")).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label(re.compile("check this")).fill("99")
    page.get_by_role("button", name="Done", exact=True).click()
    expect(page.locator("[data-part=check]")).to_contain_text("Check this: the model is only")
    expect(page.locator(".row .state")).to_contain_text("Check this")


def test_a_word_shows_where_the_model_looked(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, photo_files[4])
    captioned(page)
    heat = page.locator(".heat")
    expect(heat).to_be_hidden()
    page.locator(".word").nth(2).hover()
    expect(heat).to_be_visible()
    strongest = heat.evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
        ".reduce((a, b) => a > b ? a : b)"
    )
    assert strongest > 100
    photo, map_ = page.locator("[data-part=picture]").bounding_box(), heat.bounding_box()
    assert picscribe.load("nano").preprocessing.mode == "square", "the model sees all of the photo"
    assert [map_[name] for name in map_] == pytest.approx([photo[name] for name in map_], abs=1)
    first = heat.evaluate("canvas => canvas.toDataURL()")
    page.mouse.move(5, 5)
    expect(heat).to_be_hidden()
    page.locator(".word").nth(3).focus()
    expect(heat).to_be_visible()
    page.wait_for_function("(first) => document.querySelector('.heat').toDataURL() !== first", arg=first)
    expect(page.locator("[data-part=legend]")).to_contain_text("Where the model looked for")


def test_words_keep_their_places_while_frames_are_shown(open_page: OpenPage, photo_files: list[Path]) -> None:
    """A word that moves from under the pointer would hide the frames, come back, and show them again, for ever."""
    page = open_page()
    words = ["a", "dog", "runs"]
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    explanation = {
        "view": "square",
        "frames": [pixel, pixel],
        "words": [{"word": word, "maps": [[[0.1, 0.9], [0.2, 0.3]]] * 2} for word in words],
    }
    page.route("**/v1/explain", lambda route: route.fulfill(json=explanation))
    add(page, photo_files[0])
    captioned(page)
    page.locator(".word").first.focus()
    expect(page.locator(".word")).to_have_text(words)
    page.mouse.move(5, 5)
    text(page).focus()
    expect(page.locator(".frame")).to_have_count(2)
    expect(page.locator("[data-part=frames]")).to_be_hidden()
    place = page.locator(".word").nth(1).bounding_box()
    page.locator(".word").nth(1).hover()
    expect(page.locator(".frame img").first).to_be_visible()
    assert page.locator(".word").nth(1).bounding_box() == place
    expect(page.locator("[data-part=legend]")).to_contain_text("in the frames below")


def test_a_refusal_that_names_no_time_is_not_asked_again_at_once(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page(expect=("429",))
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(status=429, body="a proxy's page")

    page.route("**/v1/caption", refuse)
    add(page, photo_files[0])
    expect(page.locator(".row .state")).to_have_text("Waiting")
    page.wait_for_timeout(1500)
    assert len(asked) <= 2
    page.unroute("**/v1/caption")
    captioned(page)


def test_questions_labels_and_two_models(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, photo_files[2])
    captioned(page)
    scribe = picscribe.load("nano")
    for question in ("what is it?", "what color is it?"):
        page.get_by_label("Question about this photo").fill(question)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator(".question").last).to_contain_text(question)
        expect(page.locator(".answer").last).to_contain_text(scribe.ask(photo_files[2], [question])[0].text)
    expect(page.locator(".answer")).to_have_count(2)
    page.get_by_role("tab", name="Labels").click()
    page.get_by_label("Labels, one a line").fill("a dog\na cat\na car")
    page.get_by_role("button", name="Rank them").click()
    ranking = scribe.classify(photo_files[2], ["a dog", "a cat", "a car"], top_k=3).ranking
    expect(page.locator(".ranking .label")).to_have_text([one.label for one in ranking])
    widths = [
        float(one.evaluate("bar => parseFloat(bar.style.inlineSize)"))
        for one in page.locator(".ranking .bar-fill").all()
    ]
    assert widths == pytest.approx([max(1, 100 * one.probability) for one in ranking], abs=0.1)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".compared h4")).to_have_text(["nano", "tiny"])
    page.get_by_role("button", name="Use the text of nano").click()
    expect(text(page)).to_have_value(as_sentence(scribe.caption(photo_files[2]).text))
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)


def test_texts_are_taken_along(open_page: OpenPage, photo_files: list[Path], tmp_path: Path) -> None:
    page = open_page()
    hostile = tmp_path / '=1+1"<b>.jpg'
    shutil.copy(photo_files[1], hostile)
    add(page, photo_files[0], hostile, photo_files[2])
    captioned(page)
    text(page).fill("An astronaut, smiling.")
    page.get_by_role("button", name="Accept", exact=True).click()
    choose(page, hostile.name)
    text(page).fill('A "man" & <camera>.')
    page.get_by_role("button", name="Accept", exact=True).click()
    choose(page, photo_files[2].name)
    page.get_by_role("button", name="Decorative").click()

    def take(form: str) -> bytes:
        page.get_by_role("button", name="Take along").click()
        page.locator(f"[name=form][value={form}]").check()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
        expect(page.locator("#take-along")).to_be_hidden()
        return Path(waiting.value.path()).read_bytes()

    rows = list(csv.DictReader(io.StringIO(take("csv").decode("utf-8-sig"))))
    assert [row["alt"] for row in rows] == ["An astronaut, smiling.", 'A "man" & <camera>.', ""]
    assert [row["decorative"] for row in rows] == ["false", "false", "true"]
    assert rows[1]["file"] == f"'{hostile.name}", "a spreadsheet would run it"
    entries = json.loads(take("json"))
    assert [entry["file"] for entry in entries] == ["astronaut.jpg", hostile.name, "cat.jpg"]
    assert [entry["decision"] for entry in entries] == ["edited", "edited", "decorative"]
    assert "astronaut.jpg\tAn astronaut, smiling.\n" in take("txt").decode()
    html = take("html").decode()
    assert '<img src="astronaut.jpg" alt="An astronaut, smiling.">' in html
    assert 'alt="A &quot;man&quot; &amp; &lt;camera&gt;."' in html and '<img src="cat.jpg" alt="">' in html
    with zipfile.ZipFile(io.BytesIO(take("xmp"))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["astronaut.jpg.xmp", "=1+1__b_.jpg.xmp"]
        assert "An astronaut, smiling." in archive.read("astronaut.jpg.xmp").decode()
    if shutil.which("exiftool"):
        with zipfile.ZipFile(io.BytesIO(take("photos"))) as archive:
            (tmp_path / "written.jpg").write_bytes(archive.read("astronaut.jpg"))
        said = subprocess.run(
            ["exiftool", "-s3", "-XMP-iptcCore:AltTextAccessibility", tmp_path / "written.jpg"], capture_output=True
        )
        assert said.stdout.decode().strip() == "An astronaut, smiling."
        assert Image.open(tmp_path / "written.jpg").tobytes() == Image.open(photo_files[0]).tobytes()


def test_a_text_is_copied(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    add(page, photo_files[0])
    captioned(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#announcements")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == text(page).input_value()


def test_what_fails_says_why_and_harms_nothing_else(
    open_page: OpenPage, photo_files: list[Path], tmp_path: Path
) -> None:
    page = open_page(expect=("400", "500"))
    (tmp_path / "broken.jpg").write_bytes(photo_files[0].read_bytes()[:300])
    add(page, tmp_path / "broken.jpg", photo_files[1])
    captioned(page)
    rows = page.locator(".row")
    expect(rows.nth(0).locator(".state")).to_have_text("Failed")
    expect(rows.nth(1).locator(".state")).to_contain_text("To review")
    expect(page.locator("#editor [data-part=error] span")).not_to_be_empty()
    page.locator('[data-filter="failed"]').click()
    expect(rows.nth(1)).to_be_hidden()
    page.locator('[data-filter="all"]').click()
    page.route(
        "**/v1/caption", lambda route: route.fulfill(status=500, json={"error": {"message": "the model fell over"}})
    )
    add(page, photo_files[2])
    expect(rows.nth(2).locator(".state")).to_have_text("Failed", timeout=SLOW)
    expect(rows.nth(2).locator(".row-text")).to_have_text("The model fell over.")
    page.unroute("**/v1/caption")
    rows.nth(2).get_by_role("button", name="Try again").click()
    expect(rows.nth(2).locator(".state")).to_contain_text("To review", timeout=SLOW)


def test_a_photo_is_cancelled_and_removed_and_both_are_undone(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page(expect=("net::ERR",))
    page.route("**/v1/caption", lambda route: None)
    add(page, photo_files[0], photo_files[1])
    row = page.locator(".row").first
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".state")).to_have_text("Cancelled")
    page.unroute("**/v1/caption")
    row.get_by_role("button", name="Try again").click()
    expect(row.locator(".state")).to_contain_text("To review", timeout=SLOW)
    row.get_by_role("button", name="Remove").click()
    expect(page.locator(".row-name")).to_have_text(["camera.jpg"])
    page.locator("#news").get_by_role("button", name="Undo").click()
    expect(page.locator(".row-name")).to_have_text(["astronaut.jpg", "camera.jpg"])


def test_a_filter_shows_what_it_names(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    add(page, *photo_files[:3])
    captioned(page)
    shown = page.locator(".row:not([hidden]) .row-name")
    page.locator("[data-filter=open]").click()
    choose(page, "camera.jpg")
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.locator("[data-filter=done] .number")).to_have_text("1")
    expect(shown).to_have_text(["astronaut.jpg", "camera.jpg", "cat.jpg"])  # it does not vanish under one's hands
    page.locator("[data-filter=done]").click()
    expect(shown).to_have_text(["camera.jpg"])
    page.locator("[data-filter=open]").click()
    expect(shown).to_have_text(["astronaut.jpg", "cat.jpg"])
    expect(page.locator(".row-open:not([tabindex='-1'])")).to_have_count(1)
    expect(page.locator(".row:not([hidden]) .row-open").first).to_have_attribute("tabindex", "0")
    page.locator("[data-filter=failed]").click()
    expect(page.locator("#none")).to_be_visible()


def test_maps_lie_over_what_the_model_saw(open_page: OpenPage) -> None:
    parts = open_page().evaluate(
        """async () => {
            const {seenPart} = await import('/assets/scripts/heat_map.js');
            const parts = ['center_crop', 'square', 'keep_aspect'].map((view) => seenPart(view, 300, 200));
            return parts.map((part) => Object.values(part));
        }"""
    )
    assert parts[0] == pytest.approx([1 / 6, 0, 2 / 3, 1])
    assert parts[1:] == [[0, 0, 1, 1]] * 2
