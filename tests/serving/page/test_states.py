"""The page for everyone and in every weather: accessibility in each state, keys, reloads, restarts, many photos."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="needs the extra dev")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")

from playwright.sync_api import expect  # noqa: E402

from picscribe.serving.safety import keys  # noqa: E402
from tests.serving.page.steps import SLOW, OpenPage, add, captioned, picture  # noqa: E402

KEY = "a key that nobody guesses"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 320, "height": 640}
OTHER_COLOURS = ({"color_scheme": "dark"}, {"color_scheme": "dark", "forced_colors": "active"})
PLAIN_COLOURS = {"color_scheme": "light", "forced_colors": "none"}
VIOLATIONS = """
    async (rules) => {
        const found = await axe.run({resultTypes: ['violations'], ...(rules && {runOnly: rules})});
        return found.violations.map(({id, help, nodes}) => `${id}: ${help}: ${nodes.map(({html}) => html).join(' ')}`);
    }
"""
TEN_FRAMES = "async () => { for (let i = 0; i < 10; i++) await new Promise(requestAnimationFrame); }"


class Looks:
    """What is checked of the page in each state."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.browser = page.context.new_cdp_session(page)
        self.browser.send("Performance.enable")
        page.evaluate(axe.Axe().axe_script)

    def check(self, state: str) -> None:
        """Axe finds nothing, in any colours; nothing is wider than the window; the page is at rest."""
        page = self.page
        assert page.evaluate(VIOLATIONS, None) == [], state
        for colours in OTHER_COLOURS:
            page.emulate_media(**colours)
            assert page.evaluate(VIOLATIONS, ["color-contrast"]) == [], f"{state}, {colours}"
        page.emulate_media(**PLAIN_COLOURS)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{state}: {wide} pixels wider than the window"
        for _ in range(20):  # thumbnails and words may still come
            before = self.layouts()
            page.evaluate(TEN_FRAMES)
            if self.layouts() - before < 8:
                return
        raise AssertionError(f"{state}: the page lays itself out again and again")

    def layouts(self) -> int:
        """How often the page has been laid out."""
        metrics = self.browser.send("Performance.getMetrics")["metrics"]
        return int(next(metric["value"] for metric in metrics if metric["name"] == "LayoutCount"))


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_in_any_state(
    open_page: OpenPage, photo_files: list[Path], tmp_path: Path, size: dict[str, int]
) -> None:
    page = open_page(
        expect=("400", "net::ERR", "aborted"), viewport=size, color_scheme="light", reduced_motion="reduce"
    )
    is_narrow = size is PHONE
    check = Looks(page).check

    def show(dialog: str, opener: str, state: str) -> None:
        page.locator(opener).click()
        expect(page.locator(dialog)).to_be_visible()
        check(state)
        page.keyboard.press("Escape")
        expect(page.locator(dialog)).to_be_hidden()

    check("empty")
    page.route("**/v1/caption", lambda route: None)
    add(page, photo_files[0])
    check("captions on their way")
    page.unroute("**/v1/caption")
    page.locator(".row [aria-label^=Cancel]").click()
    check("cancelled")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    add(page, tmp_path / "broken.jpg", photo_files[1], photo_files[4])
    captioned(page)
    check("captions and errors")
    page.locator(".row-open").nth(1).click()
    check("an error, open")
    if is_narrow:
        page.locator("#back").click()
    page.locator(".row-open").nth(2).click()
    page.locator("#editor-text").fill("Image of " + "a very long text " * 20)
    check("hints")
    page.locator(".word").nth(2).focus()
    expect(page.locator(".heat")).to_be_visible()
    check("a heat map")
    page.get_by_label("Question about this photo").fill("what is it?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer")).to_be_visible()
    check("a conversation")
    page.get_by_role("tab", name="Labels").click()
    page.get_by_role("button", name="Rank them").click()
    expect(page.locator(".ranking li").first).to_be_visible()
    check("labels")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".compared")).to_have_count(2)
    check("two models")
    page.get_by_role("button", name="Decorative").click()
    check("decorative")
    page.locator("#next").click()
    page.get_by_role("button", name="Accept", exact=True).click()
    check("accepted")
    show("#settings", "#open-settings", "settings")
    page.evaluate("document.querySelector('#key').showModal()")
    check("a key is asked for")
    page.keyboard.press("Escape")
    page.locator("#open-settings").click()
    show("#confirm-clear", "#clear", "before all is removed")
    if is_narrow:
        page.locator("#back").click()
    else:
        show("#shortcuts", "#open-shortcuts", "shortcuts")
    show("#take-along", "#open-take-along", "take along")
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator("#camera")).to_be_visible()
    check("camera")
    page.keyboard.press("Escape")
    page.locator("[data-filter=failed]").click()
    check("filtered")
    page.route("**/v1/**", lambda route: route.abort())
    page.route("**/readyz", lambda route: route.abort())
    page.locator("[data-filter=all]").click()
    add(page, photo_files[2])
    expect(page.locator("#offline")).to_be_visible()
    check("offline")


def test_right_to_left_fits_too(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page(viewport=PHONE)
    page.evaluate("document.documentElement.dir = 'rtl'")
    add(page, photo_files[0])
    captioned(page)
    row = page.locator(".row")
    picture, state = row.locator(".thumbnail").bounding_box(), row.locator(".state").bounding_box()
    assert picture["x"] > state["x"], "the picture stands where reading begins"
    page.locator(".row-open").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_photos_are_captioned_with_the_keyboard_alone(open_page: OpenPage, photo_files: list[Path]) -> None:
    page = open_page()
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # early: it takes the browser a moment to heed

    def tab_to(selector: str) -> None:
        for _ in range(60):
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"Tab never comes to {selector}")

    tab_to("#welcome [data-choose=files]")
    page.keyboard.press("Enter")
    for _ in range(1200):
        if choosers:
            break
        page.wait_for_timeout(100)
    choosers[0].set_files(photo_files)
    captioned(page)
    tab_to(".row-open")
    page.keyboard.press("Enter")
    texts = []
    for number, photo in enumerate(photo_files):
        expect(page.locator("#editor-title")).to_have_text(photo.name)
        expect(page.locator("#editor-text")).to_be_focused()
        if number == 1:
            page.keyboard.press("Control+a")
            page.keyboard.type("A man with a camera.")
        if number == 2:
            first = page.locator("#editor-text").input_value()
            tab_to(".alternatives li:nth-child(2) button")
            page.keyboard.press("Enter")
            expect(page.locator("#editor-text")).not_to_have_value(first)
        texts.append(page.locator("#editor-text").input_value())
        if number == 3:
            tab_to("[data-part=decorative]")
            page.keyboard.press("Space")
            page.keyboard.press("Alt+ArrowDown")
        else:
            page.keyboard.press("Control+Enter")
    expect(page.locator(".row .state")).to_have_text(["Accepted", "Edited", "Accepted", "Decorative", "Accepted"])
    expect(page.locator("#announcements")).to_contain_text("All photos are decided")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+Backspace")
    expect(page.locator(".row .state").nth(3)).to_contain_text("%")
    page.keyboard.press("Escape")
    expect(page.locator(".row-open:focus")).to_have_count(1)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#editor-title")).to_have_text(photo_files[1].name)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".row [title=Remove]:focus")).to_have_count(1)
    page.locator("#open-take-along").focus()
    page.keyboard.press("Enter")
    tab_to("[name=form]")
    for _ in range(6):
        if page.locator("[name=form][value=txt]").is_checked():
            break
        page.keyboard.press("ArrowDown")
    tab_to("#take-along-go")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines == [f"{photo_files[number].name}\t{texts[number]}" for number in (0, 1, 2, 4)]


def test_a_reload_midway_loses_nothing(open_page: OpenPage) -> None:
    page = open_page()
    sent: list[Any] = []

    def hold_most(route: Any) -> None:
        """Let streamed words through, and two whole captions."""
        if route.request.resource_type == "xhr":
            sent.append(route)
        if len(sent) <= 2 or route not in sent:
            route.continue_()

    page.route("**/v1/caption", hold_most)
    add(page, *(picture(number) for number in range(12)))
    expect(page.locator(".row .thumbnail img")).to_have_count(12)
    page.locator("#editor-text").fill("Mine, not accepted yet.")
    expect(page.locator("#summary")).to_have_text("2 of 12 captioned", timeout=SLOW)
    page.unroute("**/v1/caption")
    page.reload()
    expect(page.locator(".row")).to_have_count(12)
    captioned(page)
    expect(page.locator("#editor-text")).to_have_value("Mine, not accepted yet.")
    page.locator(".row-open").nth(3).click()
    page.get_by_role("button", name="Decorative").click()
    page.reload()
    expect(page.locator(".row .state").nth(3)).to_have_text("Decorative")
    states = ["Decorative" if number == 3 else re.compile(" %") for number in range(12)]
    expect(page.locator(".row .state")).to_have_text(states)
    expect(page.locator(".row .thumbnail img")).to_have_count(12)


def test_a_text_is_kept_even_where_the_tab_ends_at_once(open_page: OpenPage) -> None:
    page = open_page()
    add(page, picture(1))
    captioned(page)
    page.evaluate(
        """() => {
            const box = document.querySelector('#editor-text');
            box.value = 'The last words.';
            box.dispatchEvent(new Event('input'));
            location.reload();
        }"""
    )
    expect(page.locator("#editor-text")).to_have_value("The last words.")


def test_a_restart_of_the_service_loses_nothing(open_page: OpenPage, serve: Any, free_port: int) -> None:
    service = serve(port=free_port)
    page = open_page(service.url, expect=("ERR_CONNECTION", "ERR_EMPTY", "503"))
    add(page, picture(1))
    captioned(page)
    service.stop()
    add(page, *(picture(number) for number in range(2, 8)))
    expect(page.locator("#offline")).to_be_visible()
    page.locator("#editor-text").fill("Written while the service was away.")
    expect(page.locator(".row .state").last).to_have_text("Waiting")
    serve(port=free_port)
    expect(page.locator("#offline")).to_be_hidden(timeout=SLOW)
    captioned(page)
    expect(page.locator("#editor-text")).to_have_value("Written while the service was away.")
    expect(page.locator(".row .state")).to_have_text([re.compile(" %")] * 7)


@pytest.fixture(scope="module")
def guarded(serve: Any) -> Any:
    return serve(key_hashes=(keys.hash_of(KEY),))


def test_a_key_is_asked_for_and_used(open_page: OpenPage, guarded: Any) -> None:
    page = open_page(guarded.url, expect=("401",), ready="#key")
    assert page.evaluate("document.contentType") == "text/html"
    Looks(page).check("the key's page")
    field, button = page.get_by_label("Key", exact=True), page.get_by_role("button", name="Go on")
    field.fill("this is not the key")
    button.click()
    expect(page.locator("#said")).to_have_text("The service does not know this key.")
    field.fill(KEY)
    button.click()
    expect(page.locator("html[data-ready]")).to_be_attached()
    add(page, picture(1))
    captioned(page)
    expect(page.locator(".row .state")).to_contain_text(" %")
    page.context.clear_cookies()
    add(page, picture(2))
    expect(page.locator("#key")).to_be_visible()
    page.get_by_label("Key", exact=True).fill("this is not the key")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#key-said")).to_have_text("The service does not know this key.")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#key")).to_be_hidden()
    captioned(page)
    expect(page.locator(".row .state")).to_have_text([re.compile(" %")] * 2)
    assert (
        page.evaluate(
            "[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join()"
        ).find(KEY)
        == -1
    )
    assert page.evaluate("document.cookie") == ""
    page.locator("#open-settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("picscribe asks for a key")


def test_a_link_from_another_site_finds_who_signed_in(open_page: OpenPage, guarded: Any) -> None:
    page = open_page(f"{guarded.url}/status", expect=("401",), ready="#key")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("h1")).to_contain_text("picscribe")
    assert page.url == f"{guarded.url}/status"
    page.goto("about:blank")
    page.set_content(f'<a href="{guarded.url}/status">a link</a>')
    page.get_by_text("a link").click()
    expect(page.locator("table").first).to_be_visible()


def test_two_tabs_do_not_overwrite_each_other(open_page: OpenPage) -> None:
    first = open_page()
    second = first.context.new_page()
    second.goto(first.url)
    expect(second.locator("#elsewhere")).to_be_visible()
    second.get_by_role("button", name="Go on in this tab").click()
    expect(second.locator("html[data-ready]")).to_be_attached()
    expect(first.locator("#elsewhere")).to_be_visible()
    for _ in range(3):
        second.reload()
        expect(second.locator("html[data-ready]")).to_be_attached()
        assert second.locator("#elsewhere").is_hidden(), "the page before a reload is no other tab"


KEPT = """
    async (wanted) => {
        const settled = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
        const database = await settled(indexedDB.open('picscribe'));
        const kept = await settled(database.transaction('files').objectStore('files').count());
        database.close();
        return kept === wanted;
    }
"""
"""Whether the browser keeps the files of so many photos."""


@pytest.mark.slow
def test_300_photos_are_all_there_and_stay_cheap(open_page: OpenPage, serve: Any) -> None:
    """No seconds are counted here: `python -m benchmarks.page` does that."""
    page = open_page(serve().url)
    page.set_input_files("#choose-files", [picture(number) for number in range(300)])
    expect(page.locator(".row")).to_have_count(300)
    expect(page.locator(".row .thumbnail img")).to_have_count(300, timeout=SLOW)
    assert page.evaluate("document.querySelector('.row').querySelectorAll('*').length") <= 40
    assert page.evaluate("getComputedStyle(document.querySelector('.row')).contentVisibility") == "auto"
    assert page.locator(".row button:not([tabindex='-1'])").count() <= 4, "Tab passes through one row only"
    page.wait_for_function(KEPT, arg=300)
    page.reload()
    expect(page.locator(".row")).to_have_count(300)
    names = page.locator(".row-name").all_text_contents()
    assert sorted(names) == [f"photo-{number:03}.png" for number in range(300)]
    captioned(page)
    expect(page.locator("[data-filter=failed] .number")).to_have_text("0")
    expect(page.locator("[data-filter=open] .number")).to_have_text("300")
    page.locator("[data-filter=done]").click()
    expect(page.locator(".row:not([hidden])")).to_have_count(0)
    expect(page.locator("#none")).to_be_visible()
