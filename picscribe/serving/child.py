"""Processes of the service that work for it, and the messages between them: a length, a JSON header, bytes."""

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

FRAME = struct.Struct("<IQ")
LARGEST_HEADER = 16 * 2**20
PIPE_BYTES = 2**20
FIRST = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"


class Gone(Exception):
    """The process at the other end has ended."""


def packed(header: Mapping[str, Any], content: bytes | memoryview = b"") -> bytes:
    """A message's first bytes; `content` follows."""
    text = json.dumps(header).encode()
    return FRAME.pack(len(text), len(content)) + text


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The next message, for the process that works. Raises Gone at the end."""
    head = _exactly(stream, FRAME.size)
    header, content = FRAME.unpack(head)
    return json.loads(_exactly(stream, header)), _exactly(stream, content)


def write_message(stream: BinaryIO, header: Mapping[str, Any], content: bytes | memoryview = b"") -> None:
    """Send a message; the stream is flushed."""
    stream.write(packed(header, content))
    stream.write(content)
    stream.flush()


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The streams that messages come and go by; whatever else is printed goes to standard error from now on."""
    coming = os.fdopen(os.dup(0), "rb", buffering=PIPE_BYTES)
    going = os.fdopen(os.dup(1), "wb", buffering=PIPE_BYTES)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return coming, going


class Child:
    """A process that runs `main` of one of our modules, and takes and gives messages over its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._sending = asyncio.Lock()

    @classmethod
    async def start(cls, module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] = {}) -> "Child":
        """Start one. It sees `environment` and nothing else of this process's."""
        code = FIRST.format(module=module)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-B", "-c", code, json.dumps(sys.path), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=4 * 2**20,
            env=dict(environment), start_new_session=True, close_fds=True,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    async def send(self, header: Mapping[str, Any], content: bytes | memoryview = b"") -> None:
        """Send a message. Raises Gone where the process has ended."""
        assert self.process.stdin is not None
        async with self._sending:
            try:
                self.process.stdin.write(packed(header, content))
                if content:
                    self.process.stdin.write(content)
                await self.process.stdin.drain()
            except (ConnectionError, RuntimeError, OSError) as error:
                raise Gone from error

    async def receive(self, most: int) -> tuple[dict[str, Any], bytes]:
        """The next message, of at most `most` bytes. Raises Gone at the end, and for what is no message."""
        stream = self.process.stdout
        assert stream is not None
        try:
            header, content = FRAME.unpack(await stream.readexactly(FRAME.size))
            if header > LARGEST_HEADER or content > most:
                raise Gone("a message longer than can be")
            said = json.loads(await stream.readexactly(header))
            if not isinstance(said, dict):
                raise Gone("a message without a header")
            return said, await stream.readexactly(content)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, RecursionError) as error:
            raise Gone from error

    def kill(self) -> None:
        """End the process now."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def stop(self, patience: float = 5.0) -> None:
        """Let the process end by itself, which it does when nothing comes any more; kill it where it does not."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), patience)
        except asyncio.TimeoutError:
            self.kill()
            await self.process.wait()


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise Gone
    return data
