"""Recipes: what is shipped loads, and what is wrong is named."""

from pathlib import Path
from typing import Any

import pytest

from picscribe.errors import ConfigurationError
from picscribe.training.recipe import Recipe, Source
from picscribe.training.recipe_file import dump_recipe, load_recipe, recipe_from

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes_load_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(recipe))
    assert load_recipe(again) == recipe


def test_overrides_win() -> None:
    recipe = load_recipe(
        RECIPES / "nano-flickr8k.yaml", ["optimisation.epochs=3", "optimisation.learning_rate=1e-4", "seed=9"]
    )
    assert (recipe.optimisation.epochs, recipe.optimisation.learning_rate, recipe.seed) == (3, 1e-4, 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimisation: {epoch: 3}", "unknown setting 'optimisation.epoch'; did you mean 'epochs'"),
        ("colour: red", "unknown setting 'colour'"),
        ("optimisation: {epochs: many}", "optimisation.epochs must be of type int"),
        ("optimisation: {epochs: true}", "optimisation.epochs must be of type int"),
        ("optimisation: {epochs: 0}", "optimisation.epochs must be at least 1"),
        ("optimisation: {learning_rate: fast}", "optimisation.learning_rate must be of type float"),
        ("optimisation: {precision: float8}", "optimisation.precision must be one of float32, bfloat16, float16"),
        ("optimisation: {ema_decay: 1}", r"optimisation.ema_decay must be in \[0, 1\)"),
        ("image: {augmentation: {min_area: 0}}", "min_area"),
        ("image: 3", "image must hold settings"),
        ("- a list", "a recipe holds settings"),
        ("a: [unclosed", "not a YAML file"),
        ("validation: {beams: 0}", "beams must be"),
        ("optimisation: {learning_rate: .nan}", "optimisation.learning_rate must be of type float"),
        ("optimisation: {learning_rate: 1" + "0" * 400 + "}", "optimisation.learning_rate must be of type float"),
        ("network: {variants: [2, 1]}", "unknown setting 'network.variants'; did you mean 'variant'"),
        ("optimisation: {clip_norm: 1}", "unknown setting 'optimisation.clip_norm'; known are epochs, steps, "),
        ("saving: {every_minutes: 5}", "unknown setting 'saving.every_minutes'"),
        ("weights: {layer_decay: 0.9}", "unknown setting 'weights.layer_decay'"),
        ("optimisation: {warmup_steps: -1}", "optimisation.warmup_steps must be at least 0"),
        ("network: {variant: 9}", "variant must be 0, 1 or 2"),
        ("weights: {dropout: 2}", "dropout must be in"),
        ("weights: {word_dropout: 1}", r"weights.word_dropout must be in \[0, 1\)"),
        ("weights: {image_dropout: -0.1}", r"weights.image_dropout must be in \[0, 1\)"),
        ("network: {width: 100}", "network.width must be a multiple of 64, not 100"),
        ("seed: 1\nimage: {views: 1}\nseed: 2", "'seed' is there twice in the section from line 1"),
        ("image: {views: 1, views: 2}", "'views' is there twice"),
        ("epochs: 3", "unknown setting 'epochs'; did you mean optimisation.epochs"),
        ("image: {sizes: 224}", r"image.sizes must be a list, such as \[224\]"),
        ("optimisation:", "optimisation must hold settings .key: value., not nothing"),
        ("name: /etc/foo", "name must be a plain name"),
        ("[" * 5000, "not a YAML file"),
        ("!!python/object/apply:os.system ['true']", "not a YAML file"),
    ],
)
def test_wrong_recipes_are_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if text[0] in "-a[!" else f"start: imagenet\n{text}\n")
    with pytest.raises(ConfigurationError, match=words):
        load_recipe(path)


def test_epochs_on_the_command_line_count_though_the_recipe_has_steps(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("start: nano\noptimisation: {steps: 300, batch_images: 8}")
    optimisation = load_recipe(path, ["optimisation.epochs=2"]).optimisation
    assert (optimisation.epochs, optimisation.steps, optimisation.batch_images) == (2, 0, 8)
    assert load_recipe(path).optimisation.steps == 300
    assert load_recipe(path, ["optimisation.epochs=2", "optimisation.steps=0"]).optimisation == optimisation
    with pytest.raises(ConfigurationError, match="both set the length of a run: keep one"):
        load_recipe(path, ["optimisation.epochs=2", "optimisation.steps=9"])


@pytest.mark.parametrize("override", ["epochs", "=3", "seed.deep=3", "name=[1,"])
def test_wrong_overrides_are_named(override: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("start: imagenet\nseed: 1")
    with pytest.raises(ConfigurationError, match=r"override|is a value|not a YAML file"):
        load_recipe(path, [override])


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: cannot read the recipe"):
        load_recipe(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": {"train": []}}, "data.train is empty"),
        ({"data": {"train": [{"path": ""}]}}, "has no path: add path=FOLDER"),
        ({"data": {"train": [{"pth": "x"}]}}, "unknown setting 'data.train\\[0\\].pth'; did you mean 'path'"),
        ({"data": {"train": "photos"}}, "data.train must be a list"),
        ({"data": {"train": [{"path": "x", "weight": 0}]}}, "weight must be above 0"),
        ({"data": {"train": [{"path": "x", "weight": "nan"}]}}, "weight must be of type float"),
        ({"data": {"train": [{"path": "x"}], "held_out": 1}}, "held_out must be between 0 and 1"),
        ({"data": {"train": [{"path": "x"}], "texts_an_image": 0}}, "texts_an_image must be at least 1"),
        ({"image": {"sizes": [8]}}, "sizes must be from 16"),
        ({"image": {"sizes": ["big"]}}, "image.sizes\\[0\\] must be of type int"),
        ({"image": {"augmentation": {"min_area": 0}}}, "min_area"),
        ({"weights": {"train": "none"}}, "weights.train must be one of"),
        ({"weights": {"lora_rank": 0}}, "lora_rank must be at least 1"),
        ({"weights": {"dropout": 1}}, "dropout must be in"),
        ({"optimisation": {"learning_rate": "nan"}}, "learning_rate must be of type float"),
        ({"optimisation": {"learning_rate": -1}}, "learning_rate must be at least 0"),
        ({"optimisation": {"batch_images": 5, "accumulate": 2}}, "must be a multiple of accumulate"),
        ({"name": ".."}, "plain name"),
        ({"name": ""}, "plain name"),
        ({"seed": 10**29}, "seed must be"),
        ({"optimisation": {"label_smoothing": 1}}, "label_smoothing must be in"),
        ({"optimisation": {"precision": "int8"}}, "precision must be one of"),
        ({"optimisation": {"ema_decay": 0.9}, "weights": {"train": "lora"}}, "do not go together"),
        ({"image": {"views": -1}, "weights": {"train": "decoder"}}, "image.views must be at least 0"),
        ({"image": {"views": 2}}, "none are frozen"),
        ({"image": {"views": 2, "frames": 6}, "weights": {"train": "decoder"}}, "photos of one size"),
        ({"image": {"views": 2, "sizes": [64, 96]}, "weights": {"train": "decoder"}}, "photos of one size"),
        ({"image": {"views": 2}, "weights": {"train": "lora", "lora_in": "all"}}, "LoRA in the decoder only"),
        ({"image": {"features": "kept"}}, "names the folder for the features of image.views"),
        ({"self_critical": {"samples": 1}}, "samples must be at least 2"),
        ({"validation": {"beams": 0}}, "beams must be"),
        ({"trackers": ["excel"]}, "choose among tensorboard"),
        ({"objective": "beauty"}, "objective must be one of"),
        ({"name": "a/b"}, "plain name"),
        ({"sed": 1}, "did you mean 'seed'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        recipe_from({"start": "nano", **settings})


def test_scst_is_another_word_for_cider() -> None:
    assert Recipe(objective="scst") == Recipe(objective="cider")


def test_a_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Source("~/photos").path == "/home/somebody/photos"
