"""Options that say how to search for words, the same for every command that writes some."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from picscribe.generation.options import GenerationOptions

Beams: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default=False,
        help="How many beams to search with; 1 is greedy. [default: 4, or --num-captions if that is more]",
    ),
]
MaxWords: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1, show_default=False, help="The longest text, in tokens; a rare word takes several. [default: 20]"
    ),
]
MinWords: TypeAlias = Annotated[
    int | None, typer.Option(min=0, show_default=False, help="The shortest text, in tokens. [default: 0]")
]
LengthPenalty: TypeAlias = Annotated[
    float | None, typer.Option(show_default=False, help="Higher values favour longer texts. [default: 0.6]")
]
NumCaptions: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1, show_default=False, help="How many texts to write for each photo; at most --beams. [default: 1]"
    ),
]
Temperature: TypeAlias = Annotated[
    float | None,
    typer.Option(
        show_default=False, help="Draw words by chance instead of searching: 1 as the model says, lower is safer."
    ),
]
TopK: TypeAlias = Annotated[
    int | None, typer.Option(min=0, show_default=False, help="Draw among this many of the likeliest words; 0 for all.")
]
TopP: TypeAlias = Annotated[
    float | None,
    typer.Option(show_default=False, help="Draw among the likeliest words that together have this probability."),
]
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, show_default=False, help="The seed of the draws, the same for every photo. [default: 0]"),
]
BeamGroups: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, show_default=False, help="Divide the beams into this many groups that differ. [default: 1]"),
]
RepetitionPenalty: TypeAlias = Annotated[
    float | None,
    typer.Option(show_default=False, help="Above 1, avoid words that are in the text already. [default: 1]"),
]
Require: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(show_default=False, help="A word or phrase that the text must contain; may be repeated."),
]
Ban: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(show_default=False, help="A word or phrase that the text must not contain; may be repeated."),
]
MinConfidence: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0, max=1, show_default=False, help="Mark texts with a lower confidence as uncertain. [default: 0]"
    ),
]
UNCERTAIN = " (uncertain)"
"""Marks a text of a confidence below --min-confidence."""

_NAMES = {
    "max_words": "max_new_tokens",
    "min_words": "min_new_tokens",
    "require": "required_words",
    "ban": "banned_words",
}
"""What `GenerationOptions` calls them, where that is another name."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search for words, as the command line says it: None for what was not given."""

    beams: Beams = None
    max_words: MaxWords = None
    min_words: MinWords = None
    length_penalty: LengthPenalty = None
    num_captions: NumCaptions = None
    temperature: Temperature = None
    top_k: TopK = None
    top_p: TopP = None
    seed: Seed = None
    beam_groups: BeamGroups = None
    repetition_penalty: RepetitionPenalty = None
    require: Require = None
    ban: Ban = None

    def given(self) -> dict[str, Any]:
        """What was given, by the names of `GenerationOptions`."""
        values = {_NAMES.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if value is not None and value != []
        }

    def options(self) -> "GenerationOptions":
        """The options that they make. Raises ConfigurationError for what cannot be."""
        from picscribe.errors import ConfigurationError
        from picscribe.generation.options import GenerationOptions

        if self.temperature is not None and not self.temperature > 0:
            raise ConfigurationError(f"--temperature must be above 0, not {self.temperature}: leave it out to search")
        given = self.given()
        if self.beams is None and self.num_captions is not None and not self.temperature:
            given["beams"] = max(self.num_captions, GenerationOptions.beams)
        return GenerationOptions.choose(None, given)
