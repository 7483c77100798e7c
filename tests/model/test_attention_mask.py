"""Who sees whom: the mask written out as truth tables."""

import torch

from picscribe.model.attention import PADDING_POSITION, sees_image, visible_text


def mask_of(text: list[int], position: list[int], image_tokens: int) -> list[str]:
    """Rows of "1" (seen) and "." for the text tokens over [image | text]."""
    texts, positions = torch.tensor([text]), torch.tensor([position])
    mask = sees_image(visible_text(texts, positions, texts, positions), image_tokens)[0, 0]
    return ["".join("1" if seen else "." for seen in row) for row in mask.tolist()]


def test_three_image_and_two_text_tokens() -> None:
    assert mask_of([0, 0], [0, 1], 3) == [
        "1111.",
        "11111",
    ]


def test_two_texts_packed_over_one_image() -> None:
    assert mask_of([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], 3) == [
        "1111....",
        "11111...",
        "111..1..",
        "111..11.",
        "111..111",
    ]


def test_two_beams_side_by_side_within_a_step() -> None:
    assert mask_of([0, 1, 0, 1], [0, 0, 1, 1], 1) == [
        "11...",
        "1.1..",
        "11.1.",
        "1.1.1",
    ]


def test_nothing_real_sees_padding() -> None:
    rows = mask_of([0, 0, 0], [0, 1, PADDING_POSITION], 2)
    assert rows[:2] == ["111..", "1111."]
