"""From an image prefix and prompts to words: one loop, and small roles around it.

`options` says what is wanted. `decoding` builds the search that it asks for and runs the loop. A search is a `chooser`
(`beam_search`, `greedy_search`, `guided_beam_search`): it picks each step's tokens; `constraints` forbids some.
`likelihood` computes how likely given texts are, labels along their `label_trie`; `explanation` shows where the network
looked.
"""

from picscribe.generation.chooser import Hypothesis
from picscribe.generation.decoding import LexicalConstraints, generate, stream
from picscribe.generation.options import GenerationOptions, OptionFields

__all__ = ["GenerationOptions", "Hypothesis", "LexicalConstraints", "OptionFields", "generate", "stream"]
