"""What a service is made of and what it allows: one frozen object that the command line and Python both build."""

import os
import re
import secrets
from dataclasses import dataclass, field, fields
from typing import Any

from picscribe.errors import ConfigurationError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
HOST = re.compile(r"\*|\.?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?|\[[0-9a-f:]+\](:\d{1,5})?")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelSpec:
    """A model to serve: `name` as clients say it, `source` as `picscribe.load` takes it, and how it is loaded."""

    name: str
    source: str
    device: str = "cpu"
    dtype: str = "float32"
    quantize: str | None = None
    precision: str = "exact"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigurationError(f"a model cannot be called {self.name!r}: use letters, digits and ._:/- only")
        if not self.source:
            raise ConfigurationError(f"the model {self.name} has no source: write NAME=CHECKPOINT")
        if self.dtype not in DTYPES:
            raise ConfigurationError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")

    @classmethod
    def parse(cls, text: str, **loading: Any) -> "ModelSpec":
        """From `nano`, `microsoft/git-base-coco`, `captions=folder/of/a/checkpoint`."""
        name, equals, source = text.partition("=")
        if not equals:
            name, source = os.path.basename(text.rstrip("/")) or text, text
        return cls(name, source, **loading)


@dataclass(frozen=True)
class ServiceLimits:
    """What one request, and all of them together, may take.

    Images of a request count one each, those of a video one a frame. `queue_images` counts what was accepted and is not
    yet being computed; `body_bytes` is of one request, `held_bytes` of all that are being received or wait.
    Times are in seconds. `deadline` is from acceptance to the answer, `body_time` for a request to arrive,
    `header_time` for its header, `decode_time` for one image, `decode_memory` is what decoding may take on top.
    """

    queue_images: int = 256
    body_bytes: int = 32 * 2**20
    held_bytes: int = 512 * 2**20
    image_bytes: int = 32 * 2**20
    image_pixels: int = 50_000_000
    images: int = 32
    video_hours: int = 2
    texts: int = 64
    text_characters: int = 4000
    labels: int = 2000
    beams: int = 16
    captions: int = 16
    new_tokens: int = 100
    connections: int = 4096
    cache_bytes: int = 256 * 2**20
    decode_memory: int = 1024 * 2**20
    deadline: float = 30.0
    body_time: float = 30.0
    header_time: float = 10.0
    decode_time: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            whole = each.type in (int, "int")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ConfigurationError(f"{each.name} must be a number, not {value!r}")
            least = 0 if each.name == "cache_bytes" else 1 if whole else 0.01
            if value < least:
                raise ConfigurationError(f"{each.name} must be at least {least}, not {value!r}")
        if self.images > self.queue_images:
            raise ConfigurationError(
                f"images ({self.images}) is more than queue_images ({self.queue_images}): lower it"
            )


@dataclass(frozen=True)
class Fetching:
    """Whether and from where images are fetched by URL. `hosts` is an allow-list: names, `.suffix` for all below one,
    `*` for every public address; empty, nothing is fetched.
    """

    hosts: tuple[str, ...] = ()
    bytes: int = 32 * 2**20
    time: float = 10.0
    redirects: int = 3

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not HOST.fullmatch(host):
                raise ConfigurationError(f"{host!r} is not a host to fetch from: write example.org, .example.org or *")


@dataclass(frozen=True)
class Settings:
    """A whole service.

    models: the first is the one that answers where a request names none. aliases: other names of models.
    workers: processes that compute, of each model. decoders: processes that open images. threads: of each worker, 0 for
    a fair share of the cores. batch_images: computed at a time at most, 0 for what the device holds.
    key_hashes: SHA-256 of each API key in hex; with any, every route but the health checks needs a key.
    allowed_hosts: values of the Host header that are answered; empty, those of loopback where `host` is loopback, and
    all elsewhere. origins: sites whose pages may call the service from a browser.
    session_secret: signs the cookies of those who gave their key in a browser; made at each start.
    open: whether other machines are served without a key. grace: seconds to answer what was accepted when stopping.
    """

    models: tuple[ModelSpec, ...] = (ModelSpec("nano", "nano"),)
    aliases: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    decoders: int = 2
    threads: int = 0
    batch_images: int = 0
    key_hashes: tuple[str, ...] = ()
    session_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False, compare=False)
    open: bool = False
    allowed_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    fetching: Fetching = field(default_factory=Fetching)
    grace: float = 60.0

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigurationError("a service needs a model: name one, such as nano")
        names = [model.name for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"two models are called {twice[0]}: give one another name, NAME=CHECKPOINT")
        for alias, name in self.aliases:
            if not NAME.fullmatch(alias) or name not in names:
                raise ConfigurationError(f"the alias {alias}={name} must name one of {', '.join(names)}")
            if alias in names:
                raise ConfigurationError(f"{alias} is a model, so it cannot be an alias of {name}")
        for name, least in (("workers", 1), ("decoders", 1), ("threads", 0), ("batch_images", 0), ("port", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.port > 65535:
            raise ConfigurationError(f"port must be at most 65535, not {self.port}")
        for digest in self.key_hashes:
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ConfigurationError("a key's hash must be 64 hexadecimal digits: make one with --new-key")
        if not self.is_local and not self.key_hashes and not self.open:
            raise ConfigurationError(
                f"{self.host} can be reached from other machines, but there is no API key: set PICSCRIBE_API_KEY or"
                " --key-file, or serve everyone with --open"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")
