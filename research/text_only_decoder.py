"""Teaches a new decoder to write before it sees a photo: the network of a recipe, its decoder trained on texts alone.

    python -m research.text_only_decoder recipes/nano-wide.yaml wide/text_only/*.json --output runs/text-only
    picscribe train recipes/nano-wide.yaml start=runs/text-only network={} --output runs/nano-wide

The texts are those of the recipe's training data and of the files: JSON objects of lists of sentences. In the place of
the image there is a pseudo-image: the embeddings of some of the sentence's rarer words, in random order. So the decoder
learns to write a sentence about things that it is shown. What that gave is in research/nano.md.
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from picscribe import checkpoints
from picscribe.model import Git
from picscribe.text.prompts import TrainingExample
from picscribe.text_files import read_json_object
from picscribe.training.data.reading import read_data
from picscribe.training.objectives.objective import smoothed_loss
from picscribe.training.objectives.packing import pack, predict_logits
from picscribe.training.recipe_file import load_recipe
from picscribe.training.setup.start import load_start

MAX_TOKENS = 40
SHOWN = 2 / 3
"""The share of a sentence's rarer tokens that its pseudo-image shows."""
REPORT = 100
"""Steps."""


@dataclass(frozen=True)
class TextOnlySettings:
    """How the decoder is trained.

    words: the most words that a pseudo-image shows.
    common: how many of the most frequent tokens, such as "a", it leaves out.
    """

    steps: int = 1200
    batch: int = 256
    words: int = 8
    common: int = 100
    learning_rate: float = 1e-3
    label_smoothing: float = 0.1
    seed: int = 1


def draw_batches(sentences: Sequence[list[int]], settings: TextOnlySettings) -> Iterator[list[list[int]]]:
    """Batches of sentences, each sentence once an epoch, the last few of an epoch left out."""
    draw, order = random.Random(settings.seed), list[int]()
    for _ in range(settings.steps):
        if len(order) < settings.batch:
            order = draw.sample(range(len(sentences)), len(sentences))
        yield [sentences[order.pop()] for _ in range(min(settings.batch, len(sentences)))]


class PseudoImages:
    """Image embeddings (B, words, D) of the rarer words of sentences, padded."""

    def __init__(self, sentences: Sequence[list[int]], settings: TextOnlySettings) -> None:
        counted = Counter(token for sentence in sentences for token in sentence)
        self.common = {token for token, _ in counted.most_common(settings.common)}
        self.words, self.draw = settings.words, random.Random(settings.seed)

    def __call__(self, model: Git, sentences: Sequence[list[int]]) -> Tensor:
        """Embeddings as `Git.project` makes them of an image, normalised too."""
        decoder, rows = model.text_decoder, []
        for sentence in sentences:
            shown = [token for token in sentence if token not in self.common and self.draw.random() < SHOWN]
            self.draw.shuffle(shown)
            rows.append((shown + [decoder.config.pad_id] * self.words)[: self.words])
        return decoder.embedding_norm(decoder.word_embedding(torch.tensor(rows)))


def learn(model: Git, sentences: Sequence[list[int]], settings: TextOnlySettings, precision: torch.dtype) -> float:
    """Train the decoder on sentences, token ids without [CLS] and [SEP]; the loss of the last step."""
    config, weights = model.config.text_decoder, [*model.text_decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    show, loss = PseudoImages(sentences, settings), torch.zeros(())
    for step, batch in enumerate(draw_batches(sentences, settings), 1):
        examples = [
            TrainingExample((config.cls_id, *one, config.sep_id), (False, *[True] * (len(one) + 1))) for one in batch
        ]
        packed = pack([[example] for example in examples])
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = predict_logits(model, model.text_decoder.encode_image(show(model, batch)), packed)
        loss = smoothed_loss(logits, packed.targets, settings.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % REPORT == 0:
            print(f"step {step}/{settings.steps}  loss {loss.item():.4f}", flush=True)
    return loss.item()


def main() -> None:
    """Train, and save a checkpoint that a run can start from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=TextOnlySettings.steps)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    settings = TextOnlySettings(steps=arguments.steps, seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    data = read_data(recipe.data, recipe.seed)
    start = load_start(recipe, data)
    texts = [pair[-1] for image in data.images() for pair in image.texts]
    texts += [text for file in arguments.texts for own in read_json_object(file).values() for text in own]
    sentences = [sentence[:MAX_TOKENS] for sentence in start.tokenizer.encode_batch(texts) if sentence]
    loss = learn(start.model.train(), sentences, settings, torch.bfloat16)
    record = {**asdict(settings), "sentences": len(sentences), "loss": loss, "texts": [str(x) for x in arguments.texts]}
    checkpoints.save(start, arguments.output, torch.float32, record)
    print(f"{len(sentences):,} sentences; the checkpoint is in {arguments.output}")


if __name__ == "__main__":
    main()
