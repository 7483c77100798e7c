"""From an image prefix and prompts to words: one loop, and small roles around it.

`options` says what is wanted. `decoding` builds the search that it asks for and runs the loop. A search is a `chooser`
(`beam_search`, `greedy_search`, `guided_beam_search`): it picks each step's tokens; `constraints` forbids some.
`likelihood` computes how likely given texts are, labels along their `label_trie`; `explanation` shows where the network
looked.

Names are imported on first use: options can be checked without importing PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picscribe.generation.chooser import Hypothesis
    from picscribe.generation.decoding import LexicalConstraints, generate, stream
    from picscribe.generation.options import GenerationOptions, OptionFields

_HOMES = {
    "GenerationOptions": "options",
    "Hypothesis": "chooser",
    "LexicalConstraints": "decoding",
    "OptionFields": "options",
    "generate": "decoding",
    "stream": "decoding",
}

__all__ = ["GenerationOptions", "Hypothesis", "LexicalConstraints", "OptionFields", "generate", "stream"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
