"""`picscribe serve`: captions over HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.options.loading import Device, Dtype, Precision, Quantize
from picscribe.cli.output.terminal import report, write_line
from picscribe.errors import ConfigurationError, MissingPackageError

KEY = "PICSCRIBE_API_KEY"
MEBIBYTE = 2**20


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]MODEL",
            show_default="nano",
            help="A model to serve, under its own name or another. Repeat for several; the first is the default.",
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ALIAS=NAME",
            show_default=False,
            help="Serve a model under another name too, such as gpt-4o-mini=nano.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="How many processes compute, for each model.")] = 1,
    decoders: Annotated[int, typer.Option(min=1, help="How many processes open images.")] = 2,
    threads: Annotated[
        int, typer.Option(min=0, show_default="a share of the cores", help="How many threads each worker uses.")
    ] = 0,
    batch_size: Annotated[
        int, typer.Option(min=0, show_default="what the device holds", help="The most images in a batch.")
    ] = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    precision: Precision = "exact",
    quantize: Quantize = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="A file with hashes of API keys, one per line. PICSCRIBE_API_KEY can hold a key too.",
        ),
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Print a new API key and its line for --key-file, then exit.")
    ] = False,
    open_to_all: Annotated[bool, typer.Option("--open", help="Serve other machines without an API key.")] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="A host name to answer to; may be repeated. [default: loopback names, or all with --host]",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="A site whose pages may call the service from a browser; may be repeated.",
        ),
    ] = None,
    fetch_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            show_default=False,
            help="Fetch images by URL from this host; .example.org allows all hosts below it, * every host. "
            "[default: none]",
        ),
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="How many images may wait; more are refused at once.")] = 256,
    deadline: Annotated[float, typer.Option(min=0.1, help="The most seconds to answer a request.")] = 30.0,
    max_megabytes: Annotated[int, typer.Option(min=1, help="The largest size of a request.")] = 32,
    max_images: Annotated[int, typer.Option(min=1, help="The most images in a request.")] = 32,
    cache_megabytes: Annotated[
        int, typer.Option(min=0, help="Memory to remember images in, for when they are sent again.")
    ] = 256,
) -> None:
    """Serve captions over HTTP, also to clients of OpenAI, Ollama and others; the page is at /, the routes at /docs.

    Ctrl-C or SIGTERM stops the server after it has answered all accepted requests. SIGHUP loads the models again.
    docs/serving.md says more.
    """
    try:
        from picscribe.serving import settings
        from picscribe.serving.safety import keys
        from picscribe.serving.server import serve as run
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"serving needs {error.name}: pip install 'picscribe[serve]'") from error
    if new_key:
        key = keys.new_key()
        write_line(key)
        report(f"for --key-file: {keys.hash_of(key)}")
        return
    hashes = keys.read_hashes(key_file) if key_file is not None else ()
    if key := os.environ.pop(KEY, ""):  # taken out, so that no process that this one starts has it
        hashes += (keys.hash_of(key),)
    loading = {"device": device, "dtype": dtype, "quantize": quantize, "precision": precision}
    limits = settings.ServiceLimits(
        queue_images=queue, deadline=deadline, body_bytes=max_megabytes * MEBIBYTE,
        image_bytes=max_megabytes * MEBIBYTE, images=min(max_images, queue), cache_bytes=cache_megabytes * MEBIBYTE,
    )  # fmt: skip
    service = settings.Settings(
        models=tuple(settings.ModelSpec.parse(one, **loading) for one in model or ["nano"]),
        aliases=tuple(_pair(one) for one in alias or ()),
        host=host, port=port, workers=workers, decoders=decoders, threads=threads, batch_images=batch_size,
        key_hashes=hashes, open=open_to_all, allowed_hosts=tuple(allowed_host or ()), origins=tuple(origin or ()),
        limits=limits, fetching=settings.Fetching(tuple(fetch_from or ()), bytes=max_megabytes * MEBIBYTE),
    )  # fmt: skip
    names = ", ".join(one.name for one in service.models)
    run(service, started=lambda address: report(f"{names} at {address}; Ctrl-C to stop"))


def _pair(text: str) -> tuple[str, str]:
    alias, equals, name = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--alias {text}: write ALIAS=NAME")
    return alias, name
