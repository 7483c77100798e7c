"""From an image prefix and prompts to words: one loop, and small roles around it.

`options` says what is wanted, `searching` builds it, `decoding` is the loop around `steps`, a chooser (`beam_search`,
`greedy_search`, `sampling`, `diverse_beams`, `required_words`) picks each step's tokens, `scoring` ranks what has
ended, `constraints` forbids tokens.
"""

from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.options import GenerationOptions, OptionFields
from picscribe.generation.searching import Wording, generate, stream

__all__ = ["GenerationOptions", "Hypothesis", "OptionFields", "Wording", "generate", "stream"]
