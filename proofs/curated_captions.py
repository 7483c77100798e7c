"""Does curation matter? A small model learns captions of which a fifth was spoilt, as they are and curated.

    python -m proofs.curated_captions

Spoilt are captions of Flickr8k's training photos, in the ways of web data: special tags, sellers' phrases and
addresses, too short or long, offensive words, another language, one text under many photos. The photos are as they
were. Both runs are four epochs of recipes/nano-flickr8k.yaml with gentler views and nothing hidden. The scores are on
the validation photos, whose captions are as they were.
"""

import random
from pathlib import Path

from benchmarks.curation import FOREIGN, RUDE, SELLERS, TAGS
from picscribe.datasets import load_examples
from proofs.proving import RUNS, evaluate, make_data, picscribe, train, write_lines

NAME = "curated-captions"
CAPTIONS, PHOTOS = Path("flickr8k/dataset_flickr8k.json"), Path("flickr8k/images")
SHARE = 0.2
SETTINGS = (
    "image.augmentation.min_area=0.5",
    "image.augmentation.max_stretch=1.25",
    "weights.image_dropout=0",
    "weights.word_dropout=0",
    "optimisation.epochs=4",
    "image.views=2",
    "validation.every_steps=752",
)


def spoil(text: str, draw: random.Random) -> str:
    """A caption with one fault."""
    words = text.split()
    with_rude = list(words)
    with_rude.insert(draw.randrange(len(words) + 1), draw.choice(RUDE))
    return draw.choice(
        [
            draw.choice(TAGS).format(text),
            draw.choice(SELLERS).format(text),
            draw.choice([words[-1], " ".join([text] * 12)]),
            " ".join(with_rude),
            draw.choice(draw.choice(list(FOREIGN.values()))),
            "a photo that was taken on a sunny day",
        ]
    )


def write(folder: Path) -> None:
    """pairs/: the training photos' captions, a fifth of them spoilt."""
    draw, rows = random.Random(11), []
    for example in load_examples(CAPTIONS, PHOTOS, "train")[1]:
        assert isinstance(example.source, Path)
        texts = [spoil(text, draw) if draw.random() < SHARE else text for text in example.texts]
        rows.append({"file_name": example.source.name, "captions": texts})
    write_lines(folder / "pairs" / "metadata.jsonl", rows)


def main() -> None:
    """Spoil, curate, learn from both, and report."""
    data = make_data(NAME, write)
    curated = RUNS / NAME / "curated"
    images = ("--images", str(PHOTOS))
    picscribe("curate", str(data / "pairs"), str(curated), *images, "--num-processes", "2")
    scores = {}
    for name, source in (("spoilt", data / "pairs"), ("curated", curated)):
        learned = f"data.train=[{{path: {source}, images: {PHOTOS}}}]"
        best = train(f"{NAME}/{name}", "recipes/nano-flickr8k.yaml", learned, *SETTINGS)
        scores[name] = evaluate(NAME, best, CAPTIONS, name, *images, split="val")["CIDEr"]
    print("  ".join(f"{name} CIDEr {score:.4f}" for name, score in scores.items()))


if __name__ == "__main__":
    main()
