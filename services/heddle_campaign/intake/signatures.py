"""Whether a webhook is from whom it says: Standard Webhooks (standardwebhooks.com), by a secret of the tenant.

The signature covers id, time and body. It is good for five minutes; within these, a replayed one carries the same id,
which is the signal's dedupe key, and so starts nothing.
"""

import secrets
from base64 import b64decode
from collections.abc import Mapping, Sequence

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from heddle_core.errors import CannotServe
from heddle_core.ids import is_id

ID_KEY = "webhook-id"
TIMESTAMP_KEY = "webhook-timestamp"
SIGNATURE_KEY = "webhook-signature"

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
"""Bytes of a secret, by the specification."""


class Signatures:
    """The secrets of all tenants."""

    def __init__(self, by_tenant: Mapping[str, Sequence[str]]) -> None:
        """`by_tenant`: secrets as `whsec_...`; several of a tenant are good at the same time, while one is changed.

        Raises:
            CannotServe: a secret or a tenant's name is not what it must be.
        """
        self._by_tenant = {tenant: _webhooks(tenant, given) for tenant, given in by_tenant.items()}
        self._nobody = (Webhook(secrets.token_bytes(_SHORTEST)),)

    def accept(self, tenant: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the body was signed for the tenant, lately. An unknown tenant costs as much time as a known one."""
        signed = {name: headers.get(name, "") for name in (ID_KEY, TIMESTAMP_KEY, SIGNATURE_KEY)}
        return any(_verified(each, signed, body) for each in self._by_tenant.get(tenant, self._nobody))


def _webhooks(tenant: str, given: Sequence[str]) -> tuple[Webhook, ...]:
    what, remedy = (
        f"webhooks of tenant {tenant}",
        f"give {_PREFIX} and {_SHORTEST} to {_LONGEST} random bytes in base64",
    )
    if not is_id(tenant) or not given:
        raise CannotServe(what, "it is no tenant's id, or it has no secret", remedy)
    return tuple(_webhook(each, what, remedy) for each in given)


def _webhook(secret: str, what: str, remedy: str) -> Webhook:
    if not secret.startswith(_PREFIX):
        raise CannotServe(what, f"a secret does not begin with {_PREFIX}", remedy)
    encoded = secret.removeprefix(_PREFIX)
    try:
        size = len(b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except ValueError as error:
        raise CannotServe(what, "a secret is not base64", remedy) from error
    if not _SHORTEST <= size <= _LONGEST:
        raise CannotServe(what, f"a secret has {size} bytes", remedy)
    return Webhook(secret)


def _verified(webhook: Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        # The library lets the errors of a malformed signature or body pass through as they are.
        return False
    return True
