"""The pages of evaluations and comparisons: read back strictly, with hostile texts, drawn to scale."""

import base64
import html
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from statistics import fmean
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from picscribe.evaluation.charts import length_histogram
from picscribe.evaluation.comparison import Change, Comparison, Difference
from picscribe.evaluation.comparison_page import comparison_page
from picscribe.evaluation.page import MEANINGS, report_page
from picscribe.evaluation.results import Item, Report
from picscribe.evaluation.warning_signs import most_frequent, warning_signs
from picscribe.markup import element, escape, thumbnail
from picscribe.metrics.bootstrap import Resampling
from picscribe.metrics.scores import AnswerMetric, score_answers, score_captions

VOID = {"img", "meta"}
KNOWN = {
    *("html", "head", "title", "style", "body", "main", "section", "h1", "h2", "p", "strong", "span", "code", "div"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li"),
    *("svg", "rect", "path", "line", "text"),
}
ATTRIBUTES = {
    *("lang", "dir", "class", "charset", "http-equiv", "content", "name", "scope", "role", "aria-label", "tabindex"),
    *("src", "alt", "width", "height", "viewbox", "x", "y", "x1", "x2", "y1", "y2", "d", "text-anchor"),
}


class PageReader(HTMLParser):
    """Reads a page as a strict reader would: every tag known, closed in order, nothing that runs or loads.

    `texts`: (tag, text) as shown; `images`, `meta`: attributes of each.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.images: list[dict[str, str | None]] = []
        self.meta: list[dict[str, str | None]] = []
        self.labels: list[str] = []
        page.encode("utf-8")
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN | VOID, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        named = dict(attrs)
        assert len(named) == len(attrs)
        if tag == "img":
            assert (named["src"] or "").startswith("data:image/jpeg;base64,")
            self.images.append(named)
        if tag == "meta":
            self.meta.append(named)
        if named.get("aria-label"):
            self.labels.append(named["aria-label"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"comment {data!r}")

    def of(self, tag: str) -> list[str]:
        """The texts directly within elements of `tag`, in order."""
        return [text for name, text in self.texts if name == tag]

    @property
    def text(self) -> str:
        """All that is shown, a line a text."""
        return "\n".join(text for tag, text in self.texts if tag != "style")


HOSTILE = [
    "<script>alert(1)</script>",
    "</p></li></style></title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)\' & &lt;',
    "before \u202eafter\u202c \u200b\u00ad\ufeff\u2028",
    "bell \x07 escape \x1b[31m null \x00 \x9b",
    "half a pair \ud83d",
    "<!-- <![CDATA[ ]]> -->",
    "<svg onload=alert(1)>",
    "dog " * 5000,
    "",
]


def item(identity: str, prediction: str, references: Sequence[str], score: float, **more: str) -> Item:
    fields = {"image": f"{identity}.jpg", "question": "", **more}
    return Item(id=identity, prediction=prediction, references=tuple(references), scores={"CIDEr": score}, **fields)


def made_report(items: Sequence[Item], **scores: float) -> Report:
    return Report(
        scores={"CIDEr": fmean(one.scores["CIDEr"] for one in items), **scores},
        intervals={"CIDEr": (0.123, 0.987)},
        metric="captions",
        model={"name": "tiny", "revision": None, "sha256": "f00d", "parameters": 1234567, "device": "cpu"},
        data={"path": "data/birds.json", "format": "karpathy", "task": "captions", "split": "val", "sha256": "beef"},
        generation={"beams": 4, "length_penalty": 0.6, "max_new_tokens": 20, "batch_size": 32, "banned_words": []},
        resampling={"samples": 1000, "level": 0.9, "seed": 7},
        versions={"torch": "2.13", "picscribe": "0.1"},
        seconds=12.4,
        errors={one.id: one.error for one in items if one.error},
    )


def numbered(count: int) -> list[Item]:
    """Items 0 to count - 1 in a shuffled order; the larger the number, the better."""
    order = sorted(range(count), key=lambda n: n * 7 % count)
    return [item(f"id{n}", f"bird number {n}", [f"reference of {n}"], n / 10) for n in order]


def no_picture(item: Item) -> Image.Image | None:
    return None


def cards_of(page: str) -> dict[str, list[str]]:
    """The ids shown under each heading that has cards."""
    sections = re.split(r"<h2>", page)[1:]
    return {
        part.partition("</h2>")[0]: re.findall(r'<p class="small" dir="auto">(.*?)</p>', part)
        for part in sections
        if 'class="cards"' in part
    }


def test_scores_intervals_and_origin_are_on_the_page() -> None:
    page = report_page(made_report(numbered(30), distinct=1.0), numbered(30), no_picture)
    read = PageReader(page)
    assert read.of("title") == read.of("h1") == ["tiny on birds.json, val"]
    for shown in ("1.4500", "0.1230 to 0.9870", "90 % interval", "f00d", "beef", "1,234,567", "2.13", "karpathy"):
        assert shown in read.text
    assert "30 examples, 12 seconds" in read.text
    assert MEANINGS["CIDEr"] in read.text
    assert read.of("code") == [
        "picscribe evaluate tiny data/birds.json --format karpathy --split val --device cpu --beams 4 "
        "--length-penalty 0.6 --max-words 20 --batch-size 32 --samples 1000 --seed 7"
    ]
    assert "Warning" not in read.text


def test_every_score_that_an_evaluation_gives_is_explained() -> None:
    scores = set(score_captions({"a": "a dog", "b": "a cat"}, {"a": ["a dog"], "b": ["the cat"]}))
    for metric in get_args(AnswerMetric):
        scores |= set(score_answers({"a": "dog"}, {"a": ["dog"] * 10}, metric))
    assert scores <= set(MEANINGS)


def test_the_page_loads_and_runs_nothing() -> None:
    read = PageReader(report_page(made_report(numbered(30)), numbered(30), no_picture))
    policy = next(one["content"] for one in read.meta if one.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").split("; ")[:3] == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    (style,) = read.of("style")
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style and "@import" not in style


def test_the_same_input_gives_the_same_bytes() -> None:
    def picture(item: Item) -> Image.Image:
        return Image.new("RGB", (300, 200), (10, 20, 30))

    pages = [report_page(made_report(numbered(30)), numbered(30), picture) for _ in range(2)]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_has_no_power_anywhere(text: str) -> None:
    items = [
        item(text or "empty", text, [text, text], 0.5, question=text),
        item("failed", "", [text], 0, error=text or "unknown"),
        item("more", text, [text] * 30, 0.4),
    ]
    report = made_report(items, **{text: 0.5})
    report = replace(report, model={**report.model, "name": text}, data={**report.data, "path": text, "split": text})
    read = PageReader(report_page(report, items, lambda _: Image.new("L", (5, 5))))
    shown = read.text
    bad = [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"]
    assert bad == []
    # The command must be whole to be of use.
    assert len(shown) - len("".join(read.of("code"))) < 60_000
    if len(text) < 100 and not re.search(r"[^ -~]", text):
        assert shown.count(text) >= 6


def test_what_is_invisible_is_spelled_out_and_what_writing_needs_is_not() -> None:
    text = "a\u202eb \x1b \ud83d نمی\u200cخواهم 👩\u200d💻 naïve 犬\tc\nd"
    assert escape(text) == "a[U+202E]b [U+001B] [U+D83D] نمی\u200cخواهم 👩\u200d💻 naïve 犬 c d"


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
def test_any_text_comes_back_as_it_is_shown(content: str, attribute: str) -> None:
    made = element("p", content, element("img", src="data:image/jpeg;base64,", alt=attribute))
    reader = PageReader(made)
    assert html.unescape(escape(content)) == "".join(text for _, text in reader.texts) or not content.strip()
    assert reader.images[0]["alt"] == html.unescape(escape(attribute))


def test_best_worst_and_middle_are_eight_each_and_all_where_there_are_few() -> None:
    shown = cards_of(report_page(made_report(numbered(41)), numbered(41), no_picture))
    assert list(shown) == ["Best by CIDEr", "Worst by CIDEr", "In the middle by CIDEr"]
    assert shown["Best by CIDEr"] == [f"id{n}" for n in range(40, 32, -1)]
    assert shown["Worst by CIDEr"] == [f"id{n}" for n in range(8)]
    assert shown["In the middle by CIDEr"] == [f"id{n}" for n in range(24, 16, -1)]
    few = cards_of(report_page(made_report(numbered(24)), numbered(24), no_picture))
    assert few == {"All examples, best first by CIDEr": [f"id{n}" for n in range(23, -1, -1)]}


def test_a_score_that_only_the_whole_has_does_not_rank() -> None:
    items = numbered(3)
    report = replace(made_report(items), scores={"distinct": 1.0, "CIDEr": 0.1})
    assert list(cards_of(report_page(report, items, no_picture))) == ["All examples, best first by CIDEr"]


def test_examples_with_errors_are_listed_and_not_among_the_worst() -> None:
    items = [*numbered(5), *(item(f"bad{n}", "", ["a"], 0, error=f"bad{n}.jpg is broken") for n in range(130))]
    page = report_page(made_report(items), items, no_picture)
    read = PageReader(page)
    assert cards_of(page) == {"All examples, best first by CIDEr": [f"id{n}" for n in range(4, -1, -1)]}
    assert "bad0.jpg is broken" in read.text
    assert "bad99.jpg is broken" in read.text
    assert "bad100.jpg is broken" not in read.text
    assert "130 examples, which count as an empty prediction; the first 100 of them" in read.text
    assert "130 of 135 examples could not be used" in read.text


def test_a_run_in_which_nothing_could_be_used_has_a_page() -> None:
    items = [item("a", "", ["a"], 0, error="broken")]
    read = PageReader(report_page(made_report(items), items, no_picture))
    assert "broken" in read.text
    assert read.images == []


def test_thumbnails_are_small_described_and_leave_the_picture_alone() -> None:
    photo = Image.new("RGBA", (1000, 500), (200, 30, 30, 255))
    read = PageReader(thumbnail(photo, "Photo <1>"))
    (attributes,) = read.images
    assert (attributes["alt"], attributes["width"], attributes["height"]) == ("Photo <1>", "224", "112")
    jpeg = Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").partition(",")[2])))
    assert (jpeg.format, jpeg.size, photo.size) == ("JPEG", (224, 112), (1000, 500))
    assert jpeg.getpixel((100, 50)) == pytest.approx((200, 30, 30), abs=4)


# The histogram


def drawn_bars(chart: str) -> list[tuple[float, float]]:
    """(left, height) of each bar; the first rectangle after them is the legend's."""
    found = re.findall(r'<rect class="bar" x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)">', chart)
    return [(float(x), float(height)) for x, height in found][:-1]


def test_bars_are_as_high_as_the_shares_and_as_far_right_as_the_lengths() -> None:
    chart = length_histogram([2, 2, 2, 4], [3, 3, 10])
    PageReader(chart)
    (x2, high), (x4, low) = drawn_bars(chart)
    assert high / low == pytest.approx(3, rel=0.01)
    slot = (x4 - x2) / 2
    assert slot == pytest.approx((440 - 44 - 8) / 11, abs=0.1)
    # 75 % where the highest line is 100 % and 162 pixels above the lowest.
    assert high == pytest.approx(0.75 * 162, abs=0.1)
    assert re.findall(r'text-anchor="end">(\d+) %', chart) == ["0", "20", "40", "60", "80", "100"]
    assert re.findall(r'text-anchor="middle">(\d+)', chart) == [str(n) for n in range(11)]


def test_the_line_of_the_references_ends_where_it_began() -> None:
    chart = length_histogram([1], [0, 1, 1, 1])
    path = re.findall(r'<path class="outline" d="(.*?)"', chart)[0]
    assert path == "M44.0 190.0V149.5H238.0V68.5H432.0V190.0"


def test_very_long_texts_are_counted_together() -> None:
    chart = length_histogram([5, 40, 41, 9999], [6])
    assert len(drawn_bars(chart)) == 2
    assert ">40 +<" in chart
    assert "5 to 9999 words" in chart


@given(st.lists(st.integers(0, 100), min_size=1), st.lists(st.integers(0, 100), min_size=1))
def test_whatever_the_lengths_the_drawing_stays_in_its_frame(predictions: list[int], references: list[int]) -> None:
    chart = length_histogram(predictions, references)
    PageReader(chart)
    for x, height in drawn_bars(chart):
        assert 44 <= x <= 432
        assert 0 < height <= 162
    path = re.findall(r'<path class="outline" d="(.*?)"', chart)[0]
    assert all(28 <= float(y) <= 190 for y in re.findall(r"V([\d.]+)", path))


# What tells a broken model


def test_a_model_that_ignores_its_images_gives_a_warning() -> None:
    (sign,) = warning_signs({"CIDEr": 0.5, "CIDEr shuffled": 0.4}, [])
    assert "handed to other images CIDEr is still 0.4000, 80% of 0.5000" in sign
    assert warning_signs({"CIDEr": 0.5, "CIDEr shuffled": 0.05}, []) == []
    assert warning_signs({"CIDEr": 0.0, "CIDEr shuffled": 0.0}, [])[0].startswith("CIDEr is 0")
    (alone,) = warning_signs({"CIDEr": 0.0, "CIDEr shuffled": 0.0}, numbered(1))
    assert alone.startswith("CIDEr of a single image is 0, whatever was said")
    assert warning_signs({"exact-match": 1.0}, numbered(1)) == []
    page = report_page(made_report(numbered(3), **{"CIDEr shuffled": 0.1}), numbered(3), no_picture)
    assert "hardly looks at its images" in PageReader(page).text


def test_a_model_that_repeats_itself_gives_a_warning() -> None:
    items = [item(str(n), "a dog." if n < 9 else f"bird {n}", ["A dog." if n < 2 else "a cat"], 0.1) for n in range(30)]
    (sign,) = warning_signs({}, items)
    assert sign == "“a dog.” is said of 30.0% of the images, and is a reference of 2 of them."
    assert most_frequent(items, 5) == [("a dog.", 9)]
    page = PageReader(report_page(made_report(items), items, no_picture))
    assert "Most frequent predictions" in page.text
    assert "30.0%" in page.of("td")
    (distinct,) = warning_signs({"distinct": 0.02}, numbered(30))
    assert distinct.startswith("Only 2.0% of the predictions")


def test_answers_that_are_as_frequent_as_they_should_be_are_no_sign() -> None:
    assert warning_signs({}, [item(str(n), "yes", ["Yes"], 1.0) for n in range(30)]) == []
    assert warning_signs({}, [item(str(n), "yes", ["no"], 0.0) for n in range(19)]) == []


def test_empty_predictions_and_failed_examples_are_counted_apart() -> None:
    items = [item("a", " ", ["a"], 0), item("b", "", ["a"], 0, error="broken"), item("c", "a", ["a"], 1)]
    assert warning_signs({}, items) == [
        "1 of 3 examples could not be used and count as an empty prediction.",
        "1 of 3 predictions are empty.",
    ]


# The page of a comparison


def test_a_comparison_shows_both_texts_side_by_side() -> None:
    scores = {"CIDEr": 0.1}, {"CIDEr": 0.9}
    change = Change("id<1>", "1.jpg", "", ("a <b>dog</b>",), HOSTILE[1], "two dogs", *scores)
    comparison = Comparison(
        first="runs/<a>",
        second="runs/b",
        examples=1200,
        same_text=7,
        metric="CIDEr",
        first_better=3,
        second_better=1190,
        resampling=Resampling(level=0.9),
        scores=(
            Difference("CIDEr", 0.5, 0.75, 0.25, (0.1, 0.4), 0.001),
            Difference("distinct", 0.5, 0.25, -0.25, None, None),
        ),
        settings=(("Generation: beams", "1", "<4>"),),
        better=(change,),
        worse=(),
    )
    read = PageReader(comparison_page(comparison, lambda _: Image.new("RGB", (9, 9))))
    assert read.of("code") == ["runs/<a>", "runs/b"]
    assert "1,200 examples, 7 with the same text; by CIDEr A is better in 3, B in 1,190" in read.text
    assert read.of("td") == [
        *("0.5000", "0.7500", "+0.2500", "+0.1000 to +0.4000", "0.0010"),
        *("0.5000", "0.2500", "-0.2500"),
        *("1", "<4>"),
    ]
    assert {HOSTILE[1], "two dogs", "id<1>"} <= set(read.of("p"))
    assert read.of("li") == ["a <b>dog</b>"]
    assert len(read.images) == 1
    assert not any("below" in title for title in read.of("h2"))
