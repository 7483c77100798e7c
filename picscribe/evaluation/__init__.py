"""Evaluations: a model answers a data set, its answers are scored, and reports and comparisons say how well it did.

The metrics live in `picscribe.metrics`. Their names can be imported from here too.
"""

from picscribe.metrics import *  # noqa: F403
from picscribe.metrics import __all__ as __all__
