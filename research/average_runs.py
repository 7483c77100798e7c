"""One model of several that were trained from the same start: the mean of their weights.

    python -m research.average_runs runs/cider-1/best runs/cider-2/best runs/cider-3/best --output runs/cider-mean

The errors of runs that differ in seed or settings partly cancel in the mean (Wortsman et al., 2022, arXiv 2203.05482).
The mean is in float32, with the tokenizer and photo size of the first; its training.json holds the first one's recipe
and versions, and the records of all. One that is named twice counts twice. `research.bundle_nano` and `picscribe
evaluate` take the folder.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from picscribe import checkpoints


def mean_of(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight, summed in float64. Raises ValueError for networks that differ."""
    for number, other in enumerate(weights):
        shapes = {name: weight.shape for name, weight in other.items()}
        if shapes != {name: weight.shape for name, weight in weights[0].items()}:
            raise ValueError(f"network {number + 1} is of another shape than the first: only the same can be averaged")
    return {name: _mean(torch.stack([w[name].double() for w in weights])).float() for name in weights[0]}


def _mean(of_all: Tensor) -> Tensor:
    """(networks, …) → (…). What is the same in all stays so to the bit: a sum of -0.0 is 0.0, and what is kept of
    views under frozen weights would be computed again."""
    return torch.where((of_all == of_all[0]).all(0), of_all[0], of_all.mean(0))


def main() -> None:
    """Write the mean of the checkpoints to a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    folders: list[Path] = arguments.checkpoints
    first, *others = [checkpoints.load(str(folder)) for folder in folders]
    first.model.load_state_dict(mean_of([one.model.state_dict() for one in (first, *others)]))
    records = [json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in folders]
    said = {name: records[0][name] for name in ("recipe", "versions")}
    checkpoints.save(first, arguments.output, torch.float32, {**said, "mean_of": records})


if __name__ == "__main__":
    main()
