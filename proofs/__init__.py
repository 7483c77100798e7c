"""Each job of GIT learned from a small data set, to a figure: `python -m proofs.NAME` makes data, trains, evaluates.

Everything is written below runs/proofs/NAME: `data`, the run (`run`, its best checkpoint `run/best`), and an evaluation
a figure. What is there already is not made again. Needs the extras `train` and `proofs`.
"""
