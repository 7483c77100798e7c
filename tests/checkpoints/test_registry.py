"""The list of released checkpoints against what the network's own arithmetic says of them."""

from pathlib import Path

import pytest

from picscribe.checkpoints.loading import preprocessing_as_released
from picscribe.checkpoints.registry import RELEASED, Released, find_released
from picscribe.checkpoints.tensor_names import count_parameters
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, GitConfig, TextDecoderConfig


def test_names_are_those_of_the_hub_and_of_the_original() -> None:
    assert [one.hub_id for one in RELEASED if one.hub_id] == [
        f"microsoft/git-{name}"
        for name in (
            *("base", "base-coco", "base-textcaps", "base-vqav2", "base-textvqa", "base-vatex", "base-msrvtt-qa"),
            *(
                "large",
                "large-coco",
                "large-textcaps",
                "large-vqav2",
                "large-textvqa",
                "large-vatex",
                "large-msrvtt-qa",
            ),
            *("large-r", "large-r-coco", "large-r-textcaps"),
        )
    ]
    for name in ("GIT_BASE_VQAv2", "GIT_LARGE_MSRVTT", "GIT_BASE_MSRVTT_QA", "GIT_LARGE_R_TEXTCAPS", "GIT_LARGE_R"):
        assert find_released(name) is not None
    for attribute in ("name", "original_name"):
        assert len({getattr(one, attribute) for one in RELEASED}) == len(RELEASED) == 19


@pytest.mark.parametrize("one", RELEASED, ids=lambda one: one.name)
def test_sizes_are_what_the_network_says(one: Released) -> None:
    image = (
        ClipVitConfig(image_size=one.image_size)
        if one.name.startswith("git-base")
        else ClipVitConfig(1024, 24, 16, 4096, 14, one.image_size)
    )
    config = GitConfig(image, TextDecoderConfig(tie_output=False), one.frames)
    assert one.image_tokens == image.tokens
    counted = count_parameters(config)
    assert abs(counted - one.parameters) < 0.01 * one.parameters


def test_published_scores() -> None:
    scores = {one.original_name: one.score.value if one.score else None for one in RELEASED}
    assert scores["GIT_BASE"] is scores["GIT_LARGE"] is scores["GIT_LARGE_R"] is None
    assert (scores["GIT_BASE_COCO"], scores["GIT_LARGE_COCO"], scores["GIT_LARGE_R_COCO"]) == (131.4, 138.5, 137.6)
    assert (scores["GIT_BASE_MSRVTT"], scores["GIT_LARGE_MSRVTT_QA"], scores["GIT_BASE_TEXTVQA"]) == (57.8, 42.7, 18.81)


def test_released_video_checkpoints_are_normalised_as_they_were_trained(tmp_path: Path) -> None:
    """Their files carry VideoMAE's default; a folder of one's own is taken at its word."""
    stored = Preprocessing(224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    for name in ("git-base-vatex", "microsoft/git-large-msrvtt-qa"):
        assert preprocessing_as_released(name, stored) == Preprocessing(224)
    assert preprocessing_as_released("git-base-coco", stored) == stored
    assert preprocessing_as_released(tmp_path, stored) == stored
    assert preprocessing_as_released("someone/git-base-vatex", stored) == stored
