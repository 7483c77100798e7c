"""Errors in OpenAI's form, which all routes under /v1 have."""

from typing import Any

from picscribe.serving.errors import ServingError, kind_of
from picscribe.serving.safety import keys

RETRIED = (429, 503, 504)


def error_body(error: ServingError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`."""
    fields = {"message": str(error), "type": kind_of(error.status), "param": error.param, "code": error.code}
    return {"error": fields}


def error_headers(error: ServingError) -> dict[str, str]:
    """Whether and when to try again, as the official clients obey it."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, min(60, error.retry_after)))
    if error.status >= 400:
        headers["x-should-retry"] = "true" if error.status in RETRIED and error.retry_after is not None else "false"
    if error.status == 401:
        headers["www-authenticate"] = keys.CHALLENGE
    return headers
