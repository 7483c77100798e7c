"""From a recipe, one YAML file, to trained weights: `loop` from ImageNet on, `fine_tuning` from any checkpoint on."""

from picscribe.training.fine_tuning import fine_tune
from picscribe.training.fine_tuning_recipe import FineTuningRecipe
from picscribe.training.loop import train
from picscribe.training.recipe import Recipe, load_recipe

__all__ = ["FineTuningRecipe", "Recipe", "fine_tune", "load_recipe", "train"]
