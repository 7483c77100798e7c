"""From an image prefix and prompts to words: one loop, and small roles around it.

`options` says what is wanted, `decoding` is the loop, a chooser (`beam_search`, `greedy_search`) picks each step's
tokens, `scoring` ranks what has ended, `constraints` forbids tokens.
"""

from picscribe.generation.decoding import generate
from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.options import GenerationOptions

__all__ = ["GenerationOptions", "Hypothesis", "generate"]
