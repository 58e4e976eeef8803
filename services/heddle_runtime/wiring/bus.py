"""The bus of a runtime, if it has one, and the relay that publishes to it.

The bus connects by itself, for ever: a runtime starts, serves and takes turns whether NATS is there or not.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from heddle_bus.endpoint import FindEndpoint, endpoint_finder
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.observed import Observed
from heddle_bus.port import Bus
from heddle_bus.stream import StreamSettings
from heddle_core.clock import Clock
from heddle_core.ids import WorkerId
from heddle_runtime.codec.facts import event_fact, tombstone_fact
from heddle_runtime.relay.brokers import Brokers
from heddle_runtime.relay.relay import Relay, RelaySettings
from heddle_runtime.settings import BusSettings, RuntimeSettings
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.store.store import Store


@asynccontextmanager
async def open_bus(settings: RuntimeSettings, bundled: FindEndpoint | None) -> AsyncGenerator[Bus | None]:
    """The bus by the settings, else on the `bundled` server, else none. Connects while others work.

    Raises CannotServe as `finder_of`.
    """
    find = finder_of(settings) or bundled
    if find is None:
        yield None
        return
    async with JetStreamBus(find, name="heddle-runtime", stream=_stream(settings.bus)) as bus:
        yield bus


@asynccontextmanager
async def relaying(
    settings: RuntimeSettings, store: Store, bus: Bus | None, worker_id: WorkerId, clock: Clock, *, sole_process: bool
) -> AsyncGenerator[Observed[Brokers]]:
    """Publish what is committed until the block is left; nothing without a bus.

    Gives whether the other relays on the database are on the same bus.
    """
    if bus is None:
        yield Observed(Brokers())
        return
    relay_settings = RelaySettings(stream_age=settings.bus.age_limit, sole_process=sole_process)
    relay = Relay(worker_id, DatabaseRelayStore(store), bus, clock, event_fact, tombstone_fact, relay_settings)
    store.log.add_witness(lambda committed: relay.committed(committed, None))  # what others commit, they have published
    async with relay.serving():
        yield relay.brokers


def finder_of(settings: RuntimeSettings) -> FindEndpoint | None:
    """Where NATS is by the settings; None: they name none. Raises CannotServe for a `ca_file` that cannot be used."""
    given = settings.bus
    return endpoint_finder(
        settings.nats,
        given.token.get_secret_value() if given.token else "",
        None,
        user=given.user,
        password=given.password.get_secret_value() if given.password else "",
        credentials=given.credentials,
        ca_file=given.ca_file,
        ca_setting="HEDDLE_BUS__CA_FILE",
    )


def _stream(given: BusSettings) -> StreamSettings:
    return StreamSettings(given.replicas, given.age_limit, given.bytes_limit, given.duplicate_window)
