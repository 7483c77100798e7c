"""What goes wrong with a request: each error has its HTTP status and the code that the dialects of clients show."""

from picscribe.errors import ConfigurationError, InputError, PicscribeError


class ServingError(PicscribeError):
    """A request that is refused or cannot be answered; `code` names the reason to programs, `param` the wrong field.

    retry_after: seconds after which the same request may succeed; None where it will not.
    """

    status = 400
    code = "invalid_request"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.retry_after = code or self.code, param, retry_after


class BadRequest(ServingError):
    """A request with a missing, unknown or invalid part."""


class Unauthorised(ServingError):
    """A request without a valid API key."""

    status, code = 401, "invalid_api_key"


class Forbidden(ServingError):
    """A request for a host, or from a site, that is not allowed."""

    status, code = 403, "forbidden"


class NotFound(ServingError):
    """A route or model that does not exist."""

    status, code = 404, "not_found"


class MethodNotAllowed(ServingError):
    """A route that does not support this HTTP method."""

    status, code = 405, "method_not_allowed"


class TooLarge(ServingError):
    """A request over the limit of bytes."""

    status, code = 413, "request_too_large"


class UnsupportedType(ServingError):
    """A body of a type that the service does not read."""

    status, code = 415, "unsupported_media_type"


class TooSlow(ServingError):
    """A request that took too long to arrive."""

    status, code = 408, "request_timeout"


class Busy(ServingError):
    """The queue is full, or too long for the request's deadline."""

    status, code = 429, "queue_full"


class Unavailable(ServingError):
    """The service is stopping, or a model is not loaded."""

    status, code = 503, "unavailable"


class Overdue(ServingError):
    """The deadline passed before the answer was there."""

    status, code = 504, "deadline_exceeded"


class Failed(ServingError):
    """A fault of the service, not of the request."""

    status, code = 500, "internal_error"


class NotSupported(ServingError):
    """A function that this server does not have."""

    status, code = 501, "not_supported"


def as_serving_error(error: BaseException) -> ServingError:
    """Any error in the form that clients are shown; what is not ours shows nothing of its text."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, InputError):
        return BadRequest(str(error), code="invalid_input")
    if isinstance(error, ConfigurationError):
        return BadRequest(str(error), code="invalid_option", param=_named_option(str(error)))
    return Failed("the request failed inside the server: its log has the details under the request's id")


def kind_of(status: int) -> str:
    """The `type` of OpenAI's errors for a status."""
    known = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")


def _named_option(message: str) -> str | None:
    """The option that an error of ours begins with, `beams must be …`."""
    word = message.split(" ", 1)[0]
    return word if word.replace("_", "").isalnum() and word.islower() else None
