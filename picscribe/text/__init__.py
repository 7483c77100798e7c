"""Text in and out of a checkpoint: BERT's WordPiece tokenizer, learning a vocabulary, and the prompt rules of GIT."""

from picscribe.text.prompts import TrainingExample, prompt_ids, training_example
from picscribe.text.tokenizer import Tokenizer

__all__ = ["Tokenizer", "TrainingExample", "prompt_ids", "training_example"]
