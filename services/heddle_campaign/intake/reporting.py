"""What every way in does with a signal: bring it into one form, and report it to the campaigns."""

from collections.abc import Sequence
from typing import Protocol

from heddle_campaign.facade.signals import SignalMatch
from heddle_campaign.rules.cycles import Signal
from heddle_core.clock import Micros
from heddle_core.errors import invalid
from heddle_core.ids import TenantId


class Report(Protocol):
    """Has the campaigns of a tenant answer a signal; `facade.signals.Signals.report` fulfils it.

    It returns once that is on record; a repeat starts nothing twice. Raises InvalidField for a signal that is none.
    """

    async def __call__(self, tenant: TenantId, signal: Signal) -> Sequence[SignalMatch]: ...


def received(kind: str, body: bytes, *, dedupe_key: str, at: Micros, source: str) -> Signal:
    """A signal that came as bytes of JSON; none are an empty object. Raises InvalidField."""
    try:
        payload = body.decode()
    except UnicodeDecodeError as error:
        raise invalid("signal.payload_json", "must be UTF-8") from error
    return Signal(kind, payload or "{}", dedupe_key, at, source)
