"""Sorts what providers and their libraries raise into the three kinds of faults that the loop can act on."""

from datetime import timedelta

from heddle_runtime.models.port import FaultKind, ModelFault
from heddle_runtime.models.redaction import scrub

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_MISCONFIGURED_STATUS = frozenset({401, 402, 403, 404})


def fault_of(error: Exception, model: str, secrets: tuple[str, ...]) -> ModelFault:
    """The fault for an error that a call of `model` raised."""
    if isinstance(error, ImportError):
        return ModelFault(
            FaultKind.MISCONFIGURED, f"the provider's library is missing ({error}): pip install 'heddle[llm]'"
        )
    kind, remedy = _sorted(error)
    after = getattr(error, "retry_after", None)
    return ModelFault(
        kind,
        f"{model}: {scrub(_words(error), secrets)}; {remedy}",
        retry_after=timedelta(seconds=after) if isinstance(after, int | float) and after >= 0 else None,
    )


def _sorted(error: Exception) -> tuple[FaultKind, str]:
    # Imported here: this module is also loaded where the library is not installed.
    from pydantic_ai import exceptions as theirs

    match error:
        case theirs.ModelQuotaExceededError():
            return (
                FaultKind.MISCONFIGURED,
                "the account's quota is used up: raise it, or choose another model",
            )
        case theirs.ModelHTTPError(status_code=status):
            return _by_status(status)
        case theirs.ModelRequestRejectedError() | theirs.ContentFilterError():
            return FaultKind.REFUSED, "change the request"
        case theirs.ModelAPIError():
            return FaultKind.RETRYABLE, "the connection failed: try again"
        case theirs.UnexpectedModelBehavior() | OSError() | ValueError():
            # ValueError is what a cut or mangled JSON line in a stream comes to.
            return FaultKind.RETRYABLE, "the answer could not be read: try again"
        case theirs.UserError():
            return (
                FaultKind.REFUSED,
                "this model does not take such a request: change it, or choose another model",
            )
        case _ if _is_transport(error):
            return FaultKind.RETRYABLE, "the connection failed: try again"
        case _:
            return FaultKind.REFUSED, "this is unexpected: please report it"


def _by_status(status: int) -> tuple[FaultKind, str]:
    if status in _RETRYABLE_STATUS or status >= 500:
        return FaultKind.RETRYABLE, "try again later"
    if status in _MISCONFIGURED_STATUS:
        return FaultKind.MISCONFIGURED, "check the key, its rights, the model's name and the address"
    return FaultKind.REFUSED, "the provider refuses this request: change it"


def _is_transport(error: Exception) -> bool:
    """Errors of HTTP clients that pydantic-ai let through."""
    return type(error).__module__.split(".")[0] in (
        "httpx",
        "httpx2",
        "httpcore",
        "httpcore2",
        "openai",
        "anthropic",
    )


def _words(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    if status is not None:
        return f"status {status}: {_told(body)}"
    return f"{type(error).__name__}: {error}"


def _told(body: object) -> str:
    """The provider's own sentence, wherever its error body keeps it."""
    match body:
        case {"error": {"message": str(message)}} | {"message": str(message)}:
            return message
        case _:
            return str(body)
