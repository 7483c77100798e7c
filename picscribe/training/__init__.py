"""From a recipe, one YAML file, to trained weights."""

from picscribe.training.fine_tuning import fine_tune
from picscribe.training.fine_tuning_recipe import FineTuningRecipe
from picscribe.training.recipe import load_recipe

__all__ = ["FineTuningRecipe", "fine_tune", "load_recipe"]
