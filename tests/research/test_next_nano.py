"""The recipes of the next nano: those of this repository, with labels, and everyday photos at a weight of their own."""

from pathlib import Path

import yaml

from picscribe.training.recipe_file import load_recipe
from research.next_nano import recipe_of


def test_everyday_photos_weigh_less_and_labels_are_learned_in_both_steps(tmp_path: Path) -> None:
    for name, weight in (("nano-wide.yaml", 1.0), ("nano-wide-cider.yaml", 0.125)):
        file = tmp_path / name
        file.write_text(yaml.safe_dump(recipe_of(name, weight)))
        data = load_recipe(file).data.train
        weights = {
            Path(str(one.images)).parent.name: {other.weight for other in data if other.images == one.images}
            for one in data
        }
        assert weights == {"flickr8k": {1.0}, "wide": {weight}}
        assert sum("photo-labels" in str(one.path) for one in data) == 2
