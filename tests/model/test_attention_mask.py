"""Who sees whom: the mask written out as truth tables."""

import torch

from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
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


@torch.no_grad()
def test_what_the_network_depends_on_for_three_image_and_two_text_tokens() -> None:
    """The whole table, measured: row depends on column when changing the column's input changes the row's output."""
    torch.manual_seed(0)
    sizes = TextDecoderConfig(20, width=16, layers=3, heads=2, mlp_width=16, max_positions=8, cls_id=1, sep_id=2)
    model = Git(GitConfig(ClipVitConfig(16, 1, 2, 16, 8, 16), sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)

    def outputs(features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What stands for each of the 5 tokens at the top: the image's last keys, the text's hidden states."""
        prefix = model.prefix_of(features)
        hidden = model.decode(tokens[None, None], prefix)[0, 0]
        return torch.cat([prefix.keys[-1][0].transpose(0, 1).flatten(1), hidden])

    features, tokens = torch.randn(1, 3, 16), torch.tensor([1, 5])
    before = outputs(features, tokens)
    columns = []
    for column in range(5):
        other_features, other_tokens = features.clone(), tokens.clone()
        if column < 3:
            other_features[0, column] += 1
        else:
            other_tokens[column - 3] = 9
        columns.append((outputs(other_features, other_tokens) - before).abs().amax(-1) > 1e-6)
    table = torch.stack(columns, dim=1)
    assert ["".join("1" if depends else "." for depends in row) for row in table.tolist()] == [
        "111..",
        "111..",
        "111..",
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
