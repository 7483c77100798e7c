"""Dropping pairs of image and text that teach a model what it should not learn, and telling why each went."""

from picscribe.curation.curating import Result, curate
from picscribe.curation.rules import Rules

__all__ = ["Result", "Rules", "curate"]
