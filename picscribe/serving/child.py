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
READ_AHEAD = 4 * 2**20
# A process group of its own: Ctrl-C is for the service, which then ends its processes. Not a session of its own: on a
# busy machine Linux shares processor time out by session, and gives one with a single process little.
APART: Mapping[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
FIRST = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"


class Gone(Exception):
    """The process at the other end has ended."""


def packed(header: Mapping[str, Any], *parts: bytes | memoryview) -> bytes:
    """A message; its content is `parts` in a row."""
    text = json.dumps(header).encode()
    frame = FRAME.pack(len(text), sum(memoryview(part).nbytes for part in parts))
    return b"".join([frame, text, *parts])


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The next message, for the process that works. Raises Gone at the end."""
    head = _exactly(stream, FRAME.size)
    header, content = FRAME.unpack(head)
    return json.loads(_exactly(stream, header)), _exactly(stream, content)


def write_message(stream: BinaryIO, header: Mapping[str, Any], *parts: bytes | memoryview) -> None:
    """Send a message; the stream is flushed."""
    stream.write(packed(header, *parts))
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

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        to: asyncio.WriteTransport | asyncio.StreamWriter,
        answers: asyncio.StreamReader,
    ) -> None:
        self.process, self._to, self._answers = process, to, answers

    @classmethod
    async def start(cls, module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] = {}) -> "Child":
        """Start one. It sees `environment` and nothing else of this process's."""
        command = [sys.executable, "-I", "-B", "-c", FIRST.format(module=module), json.dumps(sys.path), *arguments]
        how: dict[str, Any] = {"env": dict(environment), "close_fds": True, **APART}
        if sys.platform == "win32":
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=READ_AHEAD, **how)
            assert process.stdin is not None and process.stdout is not None
            return cls(process, process.stdin, process.stdout)
        (coming, to), (answers, going) = _wide_pipe(), _wide_pipe()
        with coming, going:  # the process has them then
            try:
                process = await asyncio.create_subprocess_exec(*command, stdin=coming, stdout=going, **how)
            except BaseException:
                to.close()
                answers.close()
                raise
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(READ_AHEAD)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), answers)
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, to)
        return cls(process, transport, reader)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def send(self, header: Mapping[str, Any], *parts: bytes | memoryview) -> None:
        """Send a message, now as far as the pipe takes it; the rest follows. Raises Gone where the process has ended.

        It is written in one piece, so that the process wakes up once. Nothing holds back who sends: a process is given
        one thing to do at a time.
        """
        if self._to.is_closing():
            raise Gone
        self._to.write(packed(header, *parts))

    async def receive(self, most: int) -> tuple[dict[str, Any], bytes]:
        """The next message, of at most `most` bytes. Raises Gone at the end, and for what is no message."""
        stream = self._answers
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
        self._to.close()
        try:
            await asyncio.wait_for(self.process.wait(), patience)
        except asyncio.TimeoutError:
            self.kill()
            await self.process.wait()


def _wide_pipe() -> tuple[BinaryIO, BinaryIO]:
    """Both ends of a pipe that takes a photo at once: on a busy machine, each time that it is full costs a turn."""
    out, into = os.pipe()
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # of Linux, up to what the system allows
    return os.fdopen(out, "rb", buffering=0), os.fdopen(into, "wb", buffering=0)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise Gone
    return data
