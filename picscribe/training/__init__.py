"""From a recipe, one YAML file, to trained weights."""

from picscribe.training.loop import train
from picscribe.training.recipe import Recipe
from picscribe.training.recipe_file import load_recipe

__all__ = ["Recipe", "load_recipe", "train"]
