"""Messages between the service and its processes."""

import io
from typing import Any, cast

import numpy as np

from picscribe.serving.child import Child, packed, read_message, write_message


class Pipe:
    """The end of a pipe that counts what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_message_is_read_as_it_was_written() -> None:
    first = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    second = np.full((3, 5, 5), 7, np.uint8)
    stream = io.BytesIO()
    write_message(stream, {"do": "é", "number": 1}, first.data, b"between", second.data)
    write_message(stream, {"done": 2})
    stream.seek(0)
    assert read_message(stream) == ({"do": "é", "number": 1}, first.tobytes() + b"between" + second.tobytes())
    assert read_message(stream) == ({"done": 2}, b"")


def test_a_message_wakes_its_reader_once() -> None:
    pipe, levels = Pipe(), np.ones((3, 8, 8), np.uint8)
    child = Child(cast(Any, None), cast(Any, pipe), cast(Any, None))
    child.send({"batch": 1}, levels.data, levels.data)
    child.send({"gone": 5})
    assert pipe.written == [packed({"batch": 1}, levels.tobytes() * 2), packed({"gone": 5})]
