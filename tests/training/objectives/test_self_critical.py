"""CIDEr optimisation: what samples are worth, how they are learned, and questions beside them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.text.tokenizer import Tokenizer
from picscribe.training import Recipe
from picscribe.training.data.annotated_images import AnnotatedImage
from picscribe.training.data.reading import read_data
from picscribe.training.loop import Trainer
from picscribe.training.objectives.objective import smoothed_loss
from picscribe.training.objectives.packing import pack, predict_logits
from picscribe.training.objectives.self_critical import END, Rewards
from picscribe.training.recipe import (
    DataSettings,
    SelfCriticalSettings,
    Source,
)
from tests.training.tiny_runs import (
    COLOURS,
    SPECIAL,
    WORDS,
    change,
    silent,
)

pytest.importorskip("accelerate")


def asking_beside(recipe: Recipe, folder: Path, asked: Path) -> Recipe:
    """The recipe with a question about each photo beside its captions, and CIDEr as what captions are learned for."""
    colours = [list(COLOURS)[number % 4] for number in range(16)]
    rows = [
        {"file_name": f"{n:02}.png", "question": "what colour is it", "answer": colour}
        for n, colour in enumerate(colours)
    ]
    (asked / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = (*recipe.data.train, Source(str(asked), images=str(folder / "photos")))
    data = DataSettings(train, validation=recipe.data.train)
    return change(recipe, objective="cider", self_critical__samples=4, data=data, weights__dropout=0.0)


def test_sampled_captions_get_better(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    """CIDEr optimisation raises the mean reward of what is drawn."""
    scst = change(
        recipe, start=str(whole_run / "best"), objective="cider", self_critical__samples=6, weights__dropout=0.0,
        optimisation__steps=40, optimisation__learning_rate=3e-3, optimisation__warmup_steps=2,
    )  # fmt: skip
    trainer = Trainer(scst, tmp_path / "run", silent)
    learner = trainer.learner
    assert learner.rewards is not None
    rewards = learner.rewards

    def mean_reward() -> float:
        part = trainer.reader.read_batch(0).micro_batches[0]
        features = learner.model.visual_features(part.pixels).detach()
        drawn = [rewards.draw(learner.model, features, part.images, seed=seed) for seed in range(8)]
        return sum(one.reward for one in drawn) / len(drawn)

    before = mean_reward()
    for step in range(40):
        trainer.train_step(trainer.reader.read_batch(step))
        trainer.step += 1
    assert mean_reward() > 1.2 * before


def test_samples_are_learned_as_they_were_drawn(recipe: Recipe, tmp_path: Path) -> None:
    """What a sample is worth weighs its probability among what could be drawn."""
    scst = change(recipe, objective="cider", self_critical__samples=4, weights__dropout=0.0)
    trainer = Trainer(scst, tmp_path, silent)
    part = trainer.reader.read_batch(0).micro_batches[0]
    inputs = trainer.learner._make_inputs(part, trainer.step)
    assert inputs.advantage is not None
    logits = predict_logits(
        trainer.learner.model,
        trainer.learner.model.prefix_of(trainer.learner.model.visual_features(part.pixels)),
        inputs.texts,
    )
    logits[:, list(trainer.start.tokenizer.never_written)] = -math.inf
    chosen = logits.log_softmax(-1)[torch.arange(len(logits)), inputs.texts.targets]
    loss = trainer.learner.objective(inputs.pixels, inputs.texts, inputs.advantage, inputs.features)
    assert loss.item() == pytest.approx(-(inputs.advantage * chosen).sum().item(), abs=1e-4)
    loss.backward()
    output = trainer.learner.model.text_decoder.output
    assert output.bias.grad is not None
    never = torch.tensor(trainer.start.tokenizer.never_written)
    assert len(never) >= 3
    assert not output.bias.grad[never].any(), "what is never drawn is not made likelier by bad samples"
    assert output.bias.grad.any()


def test_questions_are_learned_beside_sampled_captions(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    """Captions by what samples are worth, for which answers are no reference; answers as people gave them."""
    trainer = Trainer(asking_beside(recipe, folder, tmp_path), tmp_path / "run", silent)
    assert trainer.learner.rewards is not None
    part = trainer.reader.read_batch(0).micro_batches[0]
    inputs = trainer.learner._make_inputs(part, trainer.step)
    assert inputs.advantage is not None
    asked = inputs.advantage.isnan()
    answers = [
        trainer.start.tokenizer.encode(text)[0] for item in part.images for question, text in item.texts if question
    ]
    sep = trainer.start.tokenizer.sep_id
    assert inputs.texts.targets[asked].tolist() == [token for answer in answers for token in (answer, sep)]
    logits = predict_logits(
        trainer.learner.model,
        trainer.learner.model.prefix_of(trainer.learner.model.visual_features(part.pixels)),
        inputs.texts,
    )
    drawable = logits.index_fill(-1, torch.tensor(trainer.start.tokenizer.never_written), -math.inf)
    chosen = drawable.log_softmax(-1)[torch.arange(len(logits)), inputs.texts.targets]
    of_samples = -(inputs.advantage * chosen)[~asked].sum()
    of_answers = smoothed_loss(logits[asked], inputs.texts.targets[asked], 0.1) * asked.sum()
    loss = trainer.learner.objective(inputs.pixels, inputs.texts, inputs.advantage, inputs.features)
    assert loss.item() == pytest.approx((of_samples + of_answers).item(), abs=1e-4)
    caption, _, answer = (text + END for _, text in part.images[0].texts)
    scores = trainer.learner.rewards.scorer.score_captions(str(part.images[0].example.source), [caption, answer])
    assert scores[1] < scores[0] / 3, "an answer is no reference"


def test_captions_take_no_places_of_questions_beside_them(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    asking = asking_beside(recipe, folder, tmp_path)
    trainer = Trainer(change(asking, data__texts_an_image=1), tmp_path / "run", silent)
    for step in range(8):
        for texts in trainer.reader.read_batch(step).micro_batches[0].texts:
            assert [text.answers for text in texts] == [False, True]


def test_answers_get_better_beside_sampled_captions(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(asking_beside(recipe, folder, tmp_path), tmp_path / "run", silent)
    first = trainer.reader.read_batch(0).micro_batches[0]
    answers = pack([[text for text in texts if text.answers] for texts in first.texts])

    def loss() -> float:
        with torch.no_grad():
            logits = predict_logits(trainer.learner.model, trainer.learner.model.encode(first.pixels), answers)
        return smoothed_loss(logits, answers.targets, 0.1).item()

    before = loss()
    for step in range(60):
        trainer.train_step(trainer.reader.read_batch(step))
    assert loss() < before / 2


@pytest.mark.parametrize("part", ["all", "decoder"])
def test_sampling_and_learning_look_once(
    part: Any, recipe: Recipe, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are encoded once a step, and the weights after it are those of encoding them again for the gradient."""
    found = []
    for accumulate in (1, 2):  # in parts, what learns is encoded again
        scst = change(
            recipe, start=str(whole_run / "best"), objective="cider", self_critical__samples=3, weights__train=part,
            weights__dropout=0.0, optimisation__warmup_steps=0, optimisation__accumulate=accumulate,
        )  # fmt: skip
        trainer = Trainer(scst, tmp_path / str(accumulate), silent)
        calls, encode = [], trainer.learner.model.visual_features

        def counted(pixels: torch.Tensor, calls: list[int] = calls, encode: Any = encode) -> torch.Tensor:
            calls.append(len(pixels))
            return encode(pixels)  # type: ignore[no-any-return]

        monkeypatch.setattr(trainer.learner.model, "visual_features", counted)
        prepared = trainer.reader.read_batch(0)
        if accumulate == 2:  # the same images, as one part
            one, other = prepared.micro_batches
            pixels = torch.stack([one.pixels, other.pixels], 1).flatten(0, 1)
            images = tuple(image for pair in zip(one.images, other.images, strict=True) for image in pair)
            texts = [text for pair in zip(one.texts, other.texts, strict=True) for text in pair]
            whole = replace(one, pixels=pixels, images=images, texts=texts)
            prepared = replace(prepared, micro_batches=(whole,))
        trainer.train_step(prepared)
        found.append((calls, trainer.learner.model.state_dict()))
    assert found[0][0] == [4]
    assert found[1][0] == ([4, 4] if part == "all" else [4])
    for name, value in found[0][1].items():
        assert torch.allclose(value, found[1][1][name], atol=1e-6), name


def test_a_caption_that_breaks_off_is_worth_less(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(replace(recipe, objective="cider"), tmp_path, silent)
    assert trainer.learner.rewards is not None
    item = trainer.data.parts[0].images[0]
    identity, whole = str(item.example.source), item.texts[0][1]
    score = trainer.learner.rewards.scorer.score_captions
    ended, broken, cut = score(identity, [whole + END, whole + " a" + END, whole])
    assert ended > broken
    assert ended > cut


def test_document_frequencies_of_a_file_are_given_ends(recipe: Recipe, tmp_path: Path) -> None:
    """A file of the training captions' own frequencies rewards as none does; so does one of tenfold images."""
    own = Trainer(replace(recipe, objective="cider"), tmp_path, silent)
    items = own.data.parts[0].images
    counted = DocumentFrequencies.of_references({item.id: [text for _, text in item.texts] for item in items})
    counted.save(tmp_path / "own.json")
    tenfold = {text: 10 * count for text, count in counted.by_ngram().items()}
    DocumentFrequencies.of_counts(10 * counted.documents, tenfold).save(tmp_path / "tenfold.json")
    others = [
        Rewards(SelfCriticalSettings(document_frequencies=str(tmp_path / name)), items, own.start.tokenizer)
        for name in ("own.json", "tenfold.json")
    ]
    for item in items:
        texts = [item.texts[0][1] + END, "a red square" + END, "a red square on" + END, "it is" + END]
        one, same, tenfold_scores = (
            rewards.scorer.score_batch([str(item.example.source)] * len(texts), texts)
            for rewards in (own.learner.rewards, *others)  # type: ignore[union-attr]
        )
        assert one == pytest.approx(same, abs=1e-12)
        assert one[:2] == pytest.approx(tenfold_scores[:2], abs=1e-9)  # the others hold what no caption does


def test_advantages_are_what_the_papers_say(recipe: Recipe, whole_run: Path, tmp_path: Path) -> None:
    """CIDEr above the mean of the image's other samples."""
    scst = change(recipe, start=str(whole_run / "best"), objective="cider", self_critical__samples=4)
    trainer = Trainer(scst, tmp_path, silent)
    part = trainer.reader.read_batch(0).micro_batches[0]
    rewards, model = trainer.learner.rewards, trainer.learner.model
    assert rewards is not None
    drawn = rewards.draw(model, model.visual_features(part.pixels).detach(), part.images, seed=5)
    for image, texts, advantages in zip(part.images, drawn.texts, drawn.advantages, strict=True):
        # A caption's end counts as a word of it, where it was not cut at the limit.
        ends = [END if len(text.tokens) < 8 + 2 else "" for text in texts]
        said = [trainer.start.tokenizer.decode(text.tokens) + end for text, end in zip(texts, ends, strict=True)]
        scores = rewards.scorer.score_captions(image.place, said)
        for place, advantage in enumerate(advantages):
            others = [score for other, score in enumerate(scores) if other != place]
            assert advantage == pytest.approx(scores[place] - sum(others) / 3, abs=1e-6)


def test_captions_of_every_weight_are_held_against_samples(folder: Path) -> None:
    """The same photo in two data sets of other weights: what either says of it counts."""
    example = read_data(DataSettings((Source(str(folder / "photos")),)), 1).parts[0].images[0].example
    items = [AnnotatedImage(example, (("", "a red square"),)), AnnotatedImage(example, (("", "a blue ground"),))]
    other = AnnotatedImage(replace(example, source=folder / "other.png"), (("", "a white one"),))
    rewards = Rewards(SelfCriticalSettings(), [*items, other], Tokenizer([*SPECIAL, *WORDS]))
    scores = rewards.scorer.score_batch([str(example.source)] * 2, [f"a red square{END}", f"a blue ground{END}"])
    assert (scores > 1).all()
