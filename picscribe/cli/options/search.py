"""Options that say how to search for words, the same for every command that writes some."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

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


def options_of(
    *,
    beams: int | None = None,
    num_captions: int | None = None,
    temperature: float | None = None,
    max_words: int | None = None,
    min_words: int | None = None,
    require: list[str] | None = None,
    ban: list[str] | None = None,
    **others: float | None,
) -> "GenerationOptions":
    """The options of a command line, None for what was not given. Raises ConfigurationError for what cannot be."""
    from picscribe.errors import ConfigurationError
    from picscribe.generation.options import GenerationOptions

    if temperature is not None and not temperature > 0:
        raise ConfigurationError(f"--temperature must be above 0, not {temperature}: leave it out to search")
    if beams is None and num_captions is not None and not temperature:
        beams = max(num_captions, GenerationOptions.beams)
    given = {
        "beams": beams,
        "num_captions": num_captions,
        "temperature": temperature,
        "max_new_tokens": max_words,
        "min_new_tokens": min_words,
        "required_words": tuple(require) if require else None,
        "banned_words": tuple(ban) if ban else None,
        **others,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return GenerationOptions.choose(None, chosen)
