"""Where photos and videos with captions, questions or labels come from: one reader a format, one registry."""

from picscribe.datasets.dataset import Dataset, missing_files
from picscribe.datasets.examples import Example, FileSlice, Oddity
from picscribe.datasets.formats.registry import FORMATS, load_examples, read_dataset

__all__ = ["FORMATS", "Dataset", "Example", "FileSlice", "Oddity", "load_examples", "missing_files", "read_dataset"]
