"""docs/gallery.md: what the models of the proofs say about inputs they have not seen, good and bad.

    python -m proofs.gallery

Reads what `python -m proofs.moving_shapes` and the others left in runs/proofs. If a model is not there, the page keeps
its old part about it. The page shows the example photos and pictures that the proofs drew. Of data sets that are not
ours it shows only words.
"""

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

import picscribe
from picscribe.datasets import Example, load_examples
from picscribe.media.video import read_frames
from proofs import moving_shapes, scene_text
from proofs.proving import RUNS

PAGE, PICTURES = Path("docs/gallery.md"), Path("docs/gallery")
GOOD, BAD = 5, 5
QUESTIONS = ("what color is the shirt?", "what is the man doing?", "how many people are there?", "is there a dog?")


def items_of(name: str, figure: str) -> list[dict[str, object]]:
    """Every held-out example of an evaluation, with what was said."""
    items: list[dict[str, object]] = json.loads((RUNS / name / f"evaluation-{figure}" / "items.json").read_text())
    return items


def chosen(items: list[dict[str, object]], metric: str) -> list[dict[str, object]]:
    """The first that are right and the first that are wrong."""
    right = [item for item in items if item["scores"][metric]]  # type: ignore[index]
    wrong = [item for item in items if not item["scores"][metric]]  # type: ignore[index]
    return right[:GOOD] + wrong[:BAD]


def score_of(name: str, figure: str) -> str:
    """The scores of an evaluation, in words."""
    report = json.loads((RUNS / name / f"evaluation-{figure}" / "report.json").read_text())
    return ", ".join(f"{metric} {value:.3f}" for metric, value in report["scores"].items())


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(*head: str) -> list[str]:
    """The head of a Markdown table."""
    return [row(*head), row(*("---" for _ in head))]


def keep(picture: Image.Image, name: str) -> str:
    """Write a picture beside the page; Markdown that shows it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture.save(PICTURES / name, optimize=True)
    return f"![]({PICTURES.name}/{name})"


def strip(example: Example) -> Image.Image:
    """The frames of a video side by side."""
    frames = read_frames(example.image(), moving_shapes.FRAMES)
    whole = Image.new("RGB", (sum(frame.width + 2 for frame in frames), frames[0].height), "white")
    for number, frame in enumerate(frames):
        whole.paste(frame, (number * (frame.width + 2), 0))
    return whole


def videos() -> list[str]:
    """Moving shapes, with and without the order of the frames."""
    name, data = moving_shapes.NAME, RUNS / moving_shapes.NAME / "data"
    examples = {e.id: e for e in load_examples(data / "captions.json", data / "videos", "test")[1]}
    blind = {item["id"]: item["prediction"] for item in items_of(name, "captions-without-order")}
    lines = [
        "## Videos of moving shapes",
        "",
        f"Six frames each. Captions: {score_of(name, 'captions')}; with the temporal embeddings set to zero: "
        f"{score_of(name, 'captions-without-order')}; questions: {score_of(name, 'questions')}.",
        "",
        *table("video", "said", "is", "said without temporal embeddings"),
    ]
    for item in chosen(items_of(name, "captions"), "exact-match"):
        picture = keep(strip(examples[str(item["id"])]), f"shape-{item['id']}.png")
        lines.append(row(picture, item["prediction"], item["references"][0], blind[item["id"]]))  # type: ignore[index]
    return lines


def words() -> list[str]:
    """Words read out of pictures."""
    name, data = scene_text.NAME, RUNS / scene_text.NAME / "data"
    examples = {e.id: e for e in load_examples(data, None, "test")[1]}
    lines = ["## Words in pictures", "", f"Words that were not in the training data: {score_of(name, 'words')}.", ""]
    lines += table("picture", "said", "is")
    for item in chosen(items_of(name, "words"), "scene-text"):
        example = examples[str(item["id"])]
        assert isinstance(example.source, Path)
        picture = keep(Image.open(example.source), f"word-{example.source.stem}.png")
        lines.append(row(picture, item["prediction"], item["references"][0]))  # type: ignore[index]
    return lines


def answers(name: str, figure: str, metric: str, title: str, about: str) -> list[str]:
    """What was answered about pictures that are not shown."""
    told = f"{about}: {score_of(name, figure)}. The pictures are not ours to show, so the table gives their names."
    lines = [f"## {title}", "", told, "", *table("picture", "asked", "said", "is")]
    for item in chosen(items_of(name, figure), metric):
        cells = (item["id"], item["question"] or "–", item["prediction"], item["references"][0])  # type: ignore[index]
        lines.append(row(*cells))
    return lines


def photos() -> list[str]:
    """The example photos: nano's captions and answers."""
    nano = picscribe.load("nano")
    lines = ["## Photos", "", *table("photo", "nano says", *QUESTIONS)]
    for file in sorted(Path("examples").glob("*.jpg")):
        said = [answer.text for answer in nano.ask(file, list(QUESTIONS), beams=1)]
        lines.append(row(f'<img src="../{file}" width="200" alt="">', nano.caption(file).text, *said))
    return lines


PARTS: tuple[tuple[str, str, Callable[[], list[str]]], ...] = (
    (moving_shapes.NAME, "## Videos of moving shapes", videos),
    (scene_text.NAME, "## Words in pictures", words),
    (
        "easy-vqa",
        "## Questions about shapes",
        lambda: answers("easy-vqa", "answers", "exact-match", "Questions about shapes", "easy-vqa's test"),
    ),
    (
        "fashion-mnist",
        "## Clothes",
        lambda: answers("fashion-mnist", "free", "equal", "Clothes", "Free generation"),
    ),
)
"""Of each proof: its name, how its part of the page begins, and what writes it."""


def parts_of(page: str) -> dict[str, list[str]]:
    """The lines of a page's parts by their titles."""
    parts: dict[str, list[str]] = {}
    for line in page.splitlines():
        if line.startswith("## "):
            parts[line] = []
        if parts:
            parts[next(reversed(parts))].append(line)
    return parts


def main() -> None:
    """Write the page from what is there. Keep the old part of a model that is not, or name it."""
    before = parts_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    lines = [
        "# Gallery",
        "",
        "What small models say about inputs that they have not seen. Right answers come first, then wrong ones.",
    ]
    lines += ["`python -m proofs.gallery` makes this page. Each model has a command of its own, such as:", ""]
    lines += ["```sh", "python -m proofs.moving_shapes", "```", ""]
    lines += [*photos(), ""]
    for name, title, write in PARTS:
        if (RUNS / name / "trained").exists():
            lines += [*write(), ""]
        elif title in before:
            print(f"not trained here, so the page keeps its old part: {name}")
            lines += before[title]
        else:
            print(f"not trained, so left out: {name}")
    page = "\n".join(lines).rstrip() + "\n"
    PAGE.write_text(page, encoding="utf-8")
    for picture in PICTURES.glob("*.png"):
        if picture.name not in page:
            picture.unlink()


if __name__ == "__main__":
    main()
