"""The commands of `picscribe` by name: each is imported when it is called, so that `--help` needs this table alone."""

from functools import cached_property
from importlib import import_module
from typing import Any

from typer import Typer
from typer.core import TyperCommand
from typer.main import get_command

from picscribe.cli.output.examples import epilog

COMMANDS = {
    "caption": "Write a caption for each photo, in the order given.",
    "ask": "Answer questions about a photo, or a file of questions about many.",
    "classify": "Classify each photo: print the label that the model finds most likely.",
    "score": "Score how well texts fit a photo: print confidence, log-likelihood and text, separated by tabs.",
    "explain": "Show where the model looked for each word of its caption, as heat maps over the photo.",
    "models": "List the models that can be loaded by name, and where they are.",
    "info": "Show what a model is: sizes, input, tokens, files.",
    "convert": "Convert a model to another file layout.",
    "train": "Train a model from a recipe, or fine-tune one on your own photos.",
    "evaluate": "Caption every photo of a split, or answer its questions, and score the result.",
    "compare": "Compare two runs over the same examples: scores, whether differences are chance, and single examples.",
    "score-captions": "Score captions: CIDEr (1.0 is 100 points), BLEU, ROUGE-L, named things, and figures that reveal"
    " a broken model.",
    "score-answers": "Score answers to questions by VQA accuracy or exact match, class names by equal and in, or words"
    " of scene text.",
    "curate": "Leave out pairs of photo and text that a model should not learn from.",
    "serve": "Serve captions over HTTP, also to clients of OpenAI, Ollama and others; the page is at /, the routes at"
    " /docs.",
    "data": "Look at data sets.",
    "bulk": "Caption folders, lists and archives of photos, each photo exactly once.",
}
"""The first sentence of each command's help. The command itself is the function, or the group, that has its name, in
the file that has its name: `score_captions` in `score_captions.py`."""


class LazyCommand(TyperCommand):
    """A command that is its name and first sentence until it is called."""

    @cached_property
    def built(self) -> Any:
        """The command itself, with its options; a group with its commands."""
        name = str(self.name).replace("-", "_")
        found = getattr(import_module(f"picscribe.cli.{name}"), name)
        if isinstance(found, Typer):
            return get_command(found)
        alone = Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        alone.command(epilog=epilog(str(self.name)))(found)
        return get_command(alone)

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse the arguments with the command itself: the context's `command` is that one."""
        return self.built.make_context(*arguments, **settings)


def add_commands(app: Typer) -> None:
    """Make every command a command of `app`."""
    for name, sentence in COMMANDS.items():
        app.command(name, cls=LazyCommand, help=sentence)(lambda: None)  # the function is in the command's own file
