"""Every released GIT checkpoint: its names, task, sizes, input and published score."""

from dataclasses import dataclass

LICENCE = "MIT"


@dataclass(frozen=True)
class Score:
    """A published figure: `value` of `metric` on the data set `data`, and where it was published."""

    metric: str
    value: float
    data: str
    where: str = "the original repository's README"


@dataclass(frozen=True)
class Released:
    """A released checkpoint. `hub_id` is None where Hugging Face has none, `score` where none was published.

    `parameters` is rounded to millions; `image_tokens` counts those of one square image or frame of `image_size`
    pixels; `longer_edge` is the most that the original code's aspect-keeping resize allows, None where it crops.
    """

    name: str
    hub_id: str | None
    original_name: str
    task: str
    parameters: int
    image_size: int
    longer_edge: int | None
    frames: int
    image_tokens: int
    score: Score | None
    licence: str = LICENCE


@dataclass(frozen=True)
class _Size:
    parameters: int
    patch_size: int
    vqa_size: int
    vqa_longer_edge: int


_SIZES = {
    "base": _Size(177_000_000, 16, 480, 640),
    "large": _Size(394_000_000, 14, 420, 560),
    "large-r": _Size(394_000_000, 14, 420, 560),
}
VIDEO_FRAMES = 6


def _release(size: str, tuned: str | None, task: str, score: Score | None, on_hub: bool = True) -> Released:
    facts = _SIZES[size]
    name = f"git-{size}" + (f"-{tuned.lower().replace('_', '-')}" if tuned else "")
    crops = task != "visual question answering"
    side = 224 if crops else facts.vqa_size
    return Released(
        name=name,
        hub_id=f"microsoft/{name}" if on_hub else None,
        original_name="_".join(["GIT", size.upper().replace("-", "_"), *([tuned] if tuned else [])]),
        task=task,
        parameters=facts.parameters,
        image_size=side,
        longer_edge=None if crops else facts.vqa_longer_edge,
        frames=VIDEO_FRAMES if task.startswith("video") else 0,
        image_tokens=(side // facts.patch_size) ** 2 + 1,
        score=score,
    )


def _releases(
    size: str, coco: float, textcaps: float, vqa: float, textvqa: float, vatex: float, msrvtt: float, msrvtt_qa: float
) -> tuple[Released, ...]:
    answer, watch, answer_video = "visual question answering", "video captioning", "video question answering"
    return (
        _release(size, None, "captioning (pre-trained)", None),
        _release(size, "COCO", "captioning", Score("CIDEr", coco, "COCO Karpathy test")),
        _release(size, "TEXTCAPS", "captioning", Score("CIDEr", textcaps, "TextCaps val")),
        _release(size, "VQAv2", answer, Score("accuracy", vqa, "VQAv2 test-dev")),
        _release(size, "TEXTVQA", answer, Score("accuracy", textvqa, "TextVQA val")),
        _release(size, "VATEX", watch, Score("CIDEr", vatex, "VATEX")),
        _release(size, "MSRVTT", watch, Score("CIDEr", msrvtt, "MSR-VTT"), on_hub=False),
        _release(size, "MSRVTT_QA", answer_video, Score("accuracy", msrvtt_qa, "MSR-VTT QA")),
    )


RELEASED: tuple[Released, ...] = (
    *_releases("base", 131.4, 64.9, 72.72, 18.81, 60.0, 57.8, 41.0),
    *_releases("large", 138.5, 106.3, 75.51, 37.47, 72.5, 64.1, 42.7),
    _release("large-r", None, "captioning (pre-trained)", None),
    _release("large-r", "COCO", "captioning", Score("CIDEr", 137.6, "COCO Karpathy test")),
    _release("large-r", "TEXTCAPS", "captioning", Score("CIDEr", 105.3, "TextCaps val")),
)


def answers_questions(name: str) -> bool | None:
    """Whether the checkpoint of a name was trained to answer questions; None where nobody knows."""
    released = find_released(name)
    if released is not None:
        return "question answering" in released.task
    return True if name == "nano" else None


def find_released(name: str) -> Released | None:
    """The released checkpoint of a short name, a hub name or an original name; None for any other."""
    return next((one for one in RELEASED if name in (one.name, one.hub_id, one.original_name)), None)
