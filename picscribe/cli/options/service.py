"""The service that PICSCRIBE_SERVER names, in place of a model that is loaded here: the same results, at once.

What a service cannot do, or is not asked to, is computed here, and standard error says so.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from picscribe.cli.output.terminal import report
from picscribe.errors import ConfigurationError, InputError, PicscribeError

if TYPE_CHECKING:
    from picscribe.client import Answer, Client, Upload
    from picscribe.generation.options import GenerationOptions
    from picscribe.results import Caption, Classification, TextScore

SERVER, KEY = "PICSCRIBE_SERVER", "PICSCRIBE_API_KEY"
AT_ONCE = 32
"""Photos that a service is asked about at the same time, so that it has full batches to compute."""
Found = TypeVar("Found")


def find_served(name: str, here: Sequence[str]) -> "RemoteScribe | None":
    """The model `name` at the service, where one is named and can do it; else None, and standard error says why.

    here: options that were given and that no service takes.
    Raises ServiceError for a service that does not answer.
    """
    address = server_address()
    if not address:
        return None
    if here:
        report(f"{SERVER} is not used: {', '.join(here)} needs a model that is loaded here")
        return None
    from picscribe.client import Client

    client = Client(address, os.environ.get(KEY) or None, called=f"{SERVER}={address}")
    served = client.models()
    if name in served:
        return RemoteScribe(client, name)
    report(f"{SERVER}={address} does not serve {name}, only {', '.join(served)}: {name} is loaded here")
    return None


class RemoteScribe:
    """A served model with the methods of `Scribe` that commands call; results come in order, errors in their places.

    Raises ServiceError where the service fails, ConfigurationError for options that it does not take.
    """

    def __init__(self, client: "Client", name: str) -> None:
        self.client, self.name = client, name

    def captions(
        self, sources: Iterable[Any], *, prompt: str | None, options: "GenerationOptions", **_: object
    ) -> "Iterator[Caption | PicscribeError]":
        """A caption of each source."""
        how: dict[str, Any] = {"model": self.name, "prompt": prompt, "options": _given(options)}
        return self._each(_alone(sources), lambda upload, _: self.client.caption(upload, **how))

    def answers(
        self, asked: Iterable[tuple[Any, Sequence[str]]], *, options: "GenerationOptions", **_: object
    ) -> "Iterator[list[Caption | PicscribeError] | PicscribeError]":
        """The answers to the questions of each image."""
        how: dict[str, Any] = {"model": self.name, "options": _given(options)}
        return self._each(asked, lambda upload, texts: self.client.ask(upload, texts, **how))

    def classifications(
        self,
        sources: Iterable[Any],
        labels: Sequence[str],
        *,
        top_k: int,
        prompt: str | None,
        noted: Callable[[Sequence[str]], None],
    ) -> "Iterator[Classification | PicscribeError]":
        """The likeliest labels of each source; `noted` gets what is odd about labels."""
        how: dict[str, Any] = {"model": self.name, "prompt": prompt, "top_k": top_k}
        return self._each(_alone(sources), lambda upload, _: self.client.classify(upload, labels, **how), noted)

    def scores(
        self, pairs: Iterable[tuple[Any, Sequence[str]]], *, prompt: str | None, **_: object
    ) -> "Iterator[list[TextScore | PicscribeError] | PicscribeError]":
        """The scores of the texts of each image."""
        how: dict[str, Any] = {"model": self.name, "prompt": prompt}
        return self._each(pairs, lambda upload, texts: self.client.score(upload, texts, **how))

    def stream(self, source: Any, *, prompt: str | None, options: "GenerationOptions") -> Iterator[str]:
        """The caption of one source, piece by piece."""
        from picscribe.client import Limited

        given = _given(options) | ({} if options.temperature else {"beams": options.beams})
        try:
            yield from self.client.stream(_upload(source), model=self.name, prompt=prompt, options=given)
        except Limited as error:
            raise _with_remedy(error) from error

    def _each(
        self,
        pairs: Iterable[tuple[Any, Sequence[str]]],
        ask: "Callable[[Upload, Sequence[str]], Answer[Found]]",
        noted: "Callable[[Sequence[str]], None] | None" = None,
    ) -> "Iterator[Found | PicscribeError]":
        """What the service says to each source with its texts, asked many at a time."""
        from picscribe.client import Limited

        told = set[str]()
        with closing(self.client), closing(_at_once(pairs, ask)) as answers:
            for answer in answers:
                if isinstance(answer, Limited):
                    raise _with_remedy(answer) from answer
                if isinstance(answer, InputError):
                    yield answer
                elif isinstance(answer, PicscribeError):
                    raise answer
                else:
                    new = [note for note in answer.notes if note not in told]
                    told.update(new)
                    (noted or warn)(new)
                    yield answer.found


def _at_once(
    pairs: Iterable[tuple[Any, Sequence[str]]], ask: "Callable[[Upload, Sequence[str]], Answer[Found]]"
) -> "Generator[Answer[Found] | PicscribeError, None, None]":
    """What the service says to each, in order, AT_ONCE asked at a time; streams are read by the caller's thread."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from picscribe.media.sources import hold

    def attempt(source: Any, texts: Sequence[str]) -> "Answer[Found] | PicscribeError":
        try:
            return ask(_upload(source), texts)
        except PicscribeError as error:
            return error

    asked: deque[Future[Answer[Found] | PicscribeError]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="picscribe-service")
    try:
        for source, texts in pairs:
            try:
                held = hold(source)
            except InputError as error:
                held = error
            asked.append(pool.submit(attempt, held, texts))
            if len(asked) == 2 * AT_ONCE:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def server_address() -> str:
    """What PICSCRIBE_SERVER says; empty where it is not set."""
    return os.environ.get(SERVER, "").strip()


def _alone(sources: Iterable[Any]) -> Iterator[tuple[Any, Sequence[str]]]:
    return ((source, ()) for source in sources)


def _given(options: "GenerationOptions") -> dict[str, Any]:
    """The options that are not the usual ones."""
    found = {each.name: getattr(options, each.name) for each in fields(options)}
    return {name: value for name, value in found.items() if value != getattr(type(options), name)}


def _upload(source: Any) -> "Upload":
    """What is sent of a file, of standard input's content, or of a part of a video. Raises InputError."""
    from picscribe.client import Upload
    from picscribe.media.sources import MAX_IMAGE_BYTES, describe, read_whole

    if isinstance(source, PicscribeError):
        raise source
    part: dict[str, Any] = {}
    if hasattr(source, "frames"):  # a `Video`
        part = {name: getattr(source, name) for name in ("frames", "start", "end")}
        source = source.source
    return Upload(read_whole(source, MAX_IMAGE_BYTES), describe(source), **part)


def warn(notes: Sequence[str]) -> None:
    """Say on standard error what of a text a model does not get to read, as the library does."""
    for note in notes:
        warnings.warn(note, stacklevel=2)


def _with_remedy(error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(f"{error}: leave {SERVER} out to do it here")
