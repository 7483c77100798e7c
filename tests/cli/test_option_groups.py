"""Options that a command takes as one dataclass: Typer sees each of them, in its place and with its default."""

import re
from dataclasses import dataclass, fields
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from picscribe.cli.options.groups import Only, grouped
from picscribe.cli.options.loading import LoadingOptions
from picscribe.cli.options.search import SearchOptions
from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions


@dataclass(frozen=True)
class Pot:
    size: Annotated[int, typer.Option(min=1, help="In litres.")]
    lid: Annotated[bool, typer.Option("--lid", help="Whether it has a lid.")] = False
    colours: Annotated[list[str] | None, typer.Option(help="Of the outside.")] = None


def invoke(command: Any, *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(command)
    return CliRunner().invoke(app, arguments)


def test_each_field_is_an_option_in_the_place_of_the_parameter() -> None:
    taken: list[Any] = []

    @grouped
    def cook(*, dish: str, heat: int = 3, pot: Pot, minutes: int = 10) -> None:
        """Cook it."""
        taken.append((dish, heat, pot, minutes))

    assert invoke(cook, "soup", "--size", "2", "--lid", "--colours", "red", "--colours", "blue").exit_code == 0
    assert invoke(cook, "stew", "--size", "5", "--minutes", "90").exit_code == 0
    assert taken == [("soup", 3, Pot(2, True, ["red", "blue"]), 10), ("stew", 3, Pot(5), 90)]
    said = invoke(cook, "--help").output
    assert "Cook it." in said
    assert re.findall(r"^  (?:\* )?--(\w+)", said, re.M) == ["heat", "size", "lid", "colours", "minutes", "help"]


def test_a_field_is_checked_as_an_option_is() -> None:
    @grouped
    def cook(*, pot: Pot) -> None: ...

    assert invoke(cook, "--size", "0").exit_code == 2
    assert invoke(cook).exit_code == 2  # it has no default


def test_only_some_options_of_a_group() -> None:
    taken: list[Pot] = []

    @grouped
    def cook(*, pot: Annotated[Pot, Only("size")]) -> None:
        taken.append(pot)

    assert invoke(cook, "--size", "2", "--lid").exit_code == 2
    assert invoke(cook, "--size", "2").exit_code == 0
    assert taken == [Pot(2)]


def test_only_names_options_that_the_group_has() -> None:
    with pytest.raises(ValueError, match="Pot has no option handle"):

        @grouped
        def cook(*, pot: Annotated[Pot, Only("size", "handle")]) -> None: ...


def test_loading_options_are_those_of_load() -> None:
    import inspect

    from picscribe.scribe import load

    of_load = inspect.signature(load).parameters
    arguments = LoadingOptions(device="cuda", quantize="int8").arguments("main")
    assert arguments.keys() == of_load.keys() - {"name_or_folder"}
    assert LoadingOptions().arguments(None) == {name: of_load[name].default for name in arguments}
    assert LoadingOptions(batch_size=3).given(None) == []
    assert set(LoadingOptions(device="cuda", compile=True, batch_size=3).given("main")) == {
        "--device", "--compile", "--revision",
    }  # fmt: skip


def test_search_options_become_generation_options() -> None:
    assert SearchOptions().options() == GenerationOptions()
    search = SearchOptions(
        beams=2, max_words=7, min_words=1, require=["a dog"], ban=[], top_k=None, repetition_penalty=1.5
    )
    assert search.options() == GenerationOptions(
        beams=2, max_new_tokens=7, min_new_tokens=1, required_words=("a dog",), repetition_penalty=1.5
    )
    assert SearchOptions(num_captions=6).options().beams == 6
    assert SearchOptions(num_captions=2).options().beams == GenerationOptions.beams
    with pytest.raises(ConfigurationError, match="--temperature must be above 0"):
        SearchOptions(temperature=0).options()


def test_every_search_option_is_one_of_generation_options() -> None:
    known = {field.name for field in fields(GenerationOptions)}
    assert {*SearchOptions(**{field.name: 1 for field in fields(SearchOptions)}).given()} <= known
