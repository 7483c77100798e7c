"""What each part of nano's recipe gave: its first epochs as nano once began, and the same with one part left out.

    python -m proofs.nano_steps

Every variant learns for the same few epochs, so that they can be compared; the shipped nano learned for longer. Views
are computed once for all that see the same ones. The moving average changes nothing that is learned: without it are the
same run's last weights.
"""

from dataclasses import replace
from pathlib import Path

import torch

from picscribe import checkpoints
from picscribe.training.recipe import SavingSettings
from picscribe.training.run.states import States
from proofs.proving import AS_NANO_BEGAN, RUNS, evaluate, train

NAME = "nano-steps"
CAPTIONS, PHOTOS = Path("../shared/data/flickr8k/dataset_flickr8k.json"), Path("../shared/data/flickr8k/images")
SETTINGS = (
    *AS_NANO_BEGAN,
    "optimisation.epochs=3",
    "image.views=3",
    "validation.every_steps=564",
    f"image.features={RUNS / NAME}/views",
)
WITHOUT = {
    "nothing": (),
    "augmentation": ("image.augmentation={min_area: 1.0, max_stretch: 1.0, mirror: false}", "image.views=1"),
    "tuning the last five blocks": ("optimisation.encoder_learning_rate=0",),
    "label smoothing": ("optimisation.label_smoothing=0",),
}


def last_weights(run: Path) -> Path:
    """A checkpoint of a run's weights as they were after its last step, not of their average."""
    whole, folder = checkpoints.load(str(run / "best")), run / "last"
    weights = States(run / "states", SavingSettings()).load()["model"]
    whole.model.load_state_dict({name.removeprefix("model."): weight for name, weight in weights.items()})
    checkpoints.save(replace(whole, folder=folder), folder, torch.float16)
    return folder


def main() -> None:
    """Train every variant, and report."""
    best = {}
    for without, changes in WITHOUT.items():
        name = f"{NAME}/{without.replace(' ', '-')}"
        best[without] = train(name, "recipes/nano-flickr8k.yaml", *SETTINGS, *changes)
    best["moving average"] = last_weights(best["nothing"].parent)
    scores = {}
    for without, model in best.items():
        name = f"{NAME}/{without.replace(' ', '-')}"
        scores[without] = evaluate(name, model, CAPTIONS, "val", "--images", str(PHOTOS), split="val")
    for without, score in scores.items():
        print(f"without {without:28} CIDEr {score['CIDEr']:.4f}  BLEU-4 {score['BLEU-4']:.4f}")


if __name__ == "__main__":
    main()
