"""Pieces of answers that several dialects share."""

import json
from typing import Any

from starlette.requests import Request


def request_id(request: Request) -> str:
    """The request's id, as the log has it."""
    return str(request.state.exchange.id)


def sse(fields: dict[str, Any] | str) -> bytes:
    """A server-sent event that holds an object, or a word."""
    return f"data: {fields if isinstance(fields, str) else json.dumps(fields)}\n\n".encode()


def named_sse(name: str, fields: dict[str, Any]) -> bytes:
    """A server-sent event of a kind."""
    return f"event: {name}\n".encode() + sse(fields)
