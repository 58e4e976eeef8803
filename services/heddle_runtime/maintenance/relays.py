"""Which NATS the runtimes on one database publish to, for whoever asks from outside and serves nothing."""

from heddle_database.port import StatementFailed
from heddle_database.tables import Readable
from heddle_runtime.store.relay_rows import relays_by_stream


async def relays_by_broker(database: Readable) -> tuple[tuple[str, ...], ...]:
    """The addresses of the runtimes that live and have a NATS, together where they have the same.

    Those come first on whose NATS all events are published. There are none in a database without the tables of this
    version, either.

    Raises:
        StoreUnavailable: the database is in trouble, or does not let this user read.
    """
    try:
        streams = await database.read(relays_by_stream)
    except StatementFailed:
        return ()
    return tuple(tuple(each) for each in streams.values())
