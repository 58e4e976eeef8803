"""Campaigns as the ways in see them: what is reported to them, and what they answer."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from heddle_campaign.facade.signals import SignalMatch
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.triggers import SignalOutcome
from heddle_core.ids import TenantId

SOON = 20.0
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PATH = "/v1/signals/acme/trend_spike"
FIRED = SignalMatch("camp_1", SignalOutcome.FIRED, "spike", "cycle_1", 95.0)
NO_ROOM = SignalMatch("camp_1", SignalOutcome.NO_ROOM, "spike", "", 95.0)


@dataclass
class Campaigns:
    """Stands in for the campaigns: what was reported to them, and what they answer."""

    reported: list[tuple[str, Signal]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    """Raised one after another, before anything is taken."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    match: SignalMatch = FIRED
    """What they answer."""

    async def report(self, tenant: TenantId, signal: Signal) -> Sequence[SignalMatch]:
        if self.faults:
            raise self.faults.pop(0)
        self.reported.append((tenant, signal))
        self.arrived.set()
        return (self.match,)

    async def one(self) -> Signal:
        """The next report."""
        async with asyncio.timeout(SOON):
            while not self.reported:
                self.arrived.clear()
                await self.arrived.wait()
        return self.reported.pop(0)[1]


def signed(body: bytes, id: str = "msg_1", key: bytes = KEY) -> dict[str, str]:
    at = str(int(time.time()))
    digest = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def post(client: httpx.AsyncClient, body: bytes, path: str = PATH, **headers: str) -> httpx.Response:
    return await client.post(path, content=body, headers={**signed(body), **headers})
