"""Words read out of pictures: several fonts, noise, rotation, perspective, low contrast; other words than were learned.

    python -m proofs.scene_text

The decoder, nano's without its words, spells letter by letter, so that a word it has never seen is no other than one it
has. Half of the pictures to learn from hold letters that make no word.
"""

import random
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import picscribe
from picscribe import checkpoints
from picscribe.model import Git
from picscribe.text.tokenizer import Tokenizer
from proofs.proving import RUNS, evaluate, make_data, train, write_lines

NAME = "scene-text"
FONTS = Path("/usr/share/fonts/truetype/dejavu")
COUNTS = {"train": 48000, "val": 300, "test": 1000}
HEIGHT, WIDTH = 48, 192
SHORTEST, LONGEST = 3, 9


def words_of(split: str) -> list[str]:
    """Words that nano knows: each belongs to one split alone."""
    known = sorted(word for word in picscribe.load("nano").tokenizer.vocabulary if word.isascii() and word.isalpha())
    usable = [word for word in known if SHORTEST <= len(word) <= LONGEST]
    random.Random(5).shuffle(usable)
    test, val = len(usable) // 5, len(usable) // 20
    return {"test": usable[:test], "val": usable[test : test + val], "train": usable[test + val :]}[split]


def draw_word(word: str, fonts: list[Path], draw: random.Random) -> Image.Image:
    """The word as a photo might hold it."""
    ground = np.array([draw.randrange(256) for _ in range(3)])
    contrast = draw.uniform(60, 160)
    ink = np.clip(ground + contrast * (1 if ground.mean() < 128 else -1), 0, 255)
    font = ImageFont.truetype(str(draw.choice(fonts)), draw.randrange(40, 60))
    left, top, right, bottom = font.getbbox(word)
    margin = draw.randrange(8, 20)
    mask = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin))
    ImageDraw.Draw(mask).text((margin - left, margin - top), word, 255, font)
    width, height = mask.size
    # A corner may be as far as an eighth of the height from where it would be.
    moved = [draw.uniform(-0.12, 0.12) * height for _ in range(8)]
    corners = [0, 0, 0, height, width, height, width, 0]
    quad = [place + by for place, by in zip(corners, moved, strict=True)]
    mask = mask.rotate(draw.uniform(-4, 4), Image.Resampling.BILINEAR)
    mask = mask.transform((WIDTH, HEIGHT), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    share = np.asarray(mask, np.float32)[..., None] / 255
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, draw.uniform(0, 14), (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(ground + share * (ink - ground) + noise, 0, 255).astype(np.uint8))


def write(folder: Path) -> None:
    """A PNG and a row for each word."""
    fonts = sorted(FONTS.glob("*.ttf"))
    if not fonts:
        raise SystemExit(f"{FONTS} holds no fonts: apt install fonts-dejavu")
    draw, rows = random.Random(11), []
    for split, count in COUNTS.items():
        words = words_of(split)
        (folder / split).mkdir()
        for number in range(count):
            word = draw.choice(words)
            if split == "train" and number % 2:
                word = "".join(draw.choices(string.ascii_lowercase, k=draw.randint(SHORTEST, LONGEST)))
            draw_word(word, fonts, draw).save(folder / split / f"{number}.png")
            rows.append({"file_name": f"{split}/{number}.png", "label": word, "split": split})
    write_lines(folder / "metadata.jsonl", rows)


def make_start(folder: Path) -> None:
    """nano, of whose vocabulary only the letters are left.

    Captions hardly need to know where a cell is, so nano's cells hardly say; spelling does, from left to right.
    """
    nano = checkpoints.load("nano")
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters])
    decoder = replace(
        nano.model.config.text_decoder, vocabulary_size=tokenizer.vocabulary_size,
        pad_id=tokenizer.pad_id, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id,
    )  # fmt: skip
    model = Git(replace(nano.model.config, text_decoder=decoder))
    weights, rows = nano.model.state_dict(), [nano.tokenizer.vocabulary.index(word) for word in tokenizer.vocabulary]
    for name, weight in model.state_dict().items():
        if len(weight) != len(weights[name]):
            weights[name] = weights[name][rows]
    positions = weights["image_encoder.position_embedding"]
    generator = torch.Generator().manual_seed(1)
    positions.copy_(torch.randn(positions.shape, generator=generator) * 0.1)  # as strong as what tells cells apart
    model.load_state_dict(weights)
    checkpoints.save(checkpoints.Checkpoint(model, tokenizer, nano.preprocessing, "letters", folder), folder)


if __name__ == "__main__":
    data = make_data(NAME, write)
    if not (start := RUNS / NAME / "start").exists():
        make_start(start)
    evaluate(NAME, train(NAME), data, "words", "--beams", "1", "--metric", "scene-text", "--batch-size", "50")
