"""What each part of nano's recipe gave: the recipe's first epochs, and the same with one part left out.

    python -m proofs.nano_steps

Every variant learns for the same few epochs, so that they can be compared; the shipped nano learned for longer. Views
are computed once for all that see the same ones.
"""

from pathlib import Path

from proofs.proving import RUNS, evaluate, train

NAME = "nano-steps"
CAPTIONS, PHOTOS = Path("../shared/data/flickr8k/dataset_flickr8k.json"), Path("../shared/data/flickr8k/images")
SETTINGS = (
    "optimisation.epochs=4",
    "image.views=4",
    "evaluation.every_epochs=4",
    f"image.features={RUNS / NAME}/views",
)
WITHOUT = {
    "nothing": (),
    "augmentation": ("image.augmentation={min_area: 1.0, max_stretch: 1.0, mirror: false}", "image.views=1"),
    "tuning the last five blocks": ("optimisation.encoder_learning_rate=0",),
    "moving average": ("optimisation.ema_decay=0",),
    "label smoothing": ("optimisation.label_smoothing=0",),
}


def main() -> None:
    """Train every variant, and report."""
    scores = {}
    for without, changes in WITHOUT.items():
        name = f"{NAME}/{without.replace(' ', '-')}"
        best = train(name, "recipes/nano-flickr8k.yaml", *SETTINGS, *changes)
        images = ("--images", str(PHOTOS))
        scores[without] = evaluate(name, best, CAPTIONS, "val", *images, split="val")
    for without, score in scores.items():
        print(f"without {without:28} CIDEr {score['CIDEr']:.4f}  BLEU-4 {score['BLEU-4']:.4f}")


if __name__ == "__main__":
    main()
