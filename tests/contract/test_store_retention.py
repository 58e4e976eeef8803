"""What every store keeps when old events go, and while two versions run side by side (SEMANTICS 35, 36)."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_core.errors import IllegalTransition
from heddle_core.ids import RequestId, RunId, ThreadId
from heddle_core.runtime_errors import ChainBroken, CursorTooOld, ThreadNotFound
from heddle_runtime.codec.codec import event_message
from heddle_runtime.facade.commands import ForkThread, RequestKey
from heddle_runtime.facade.retention import Place, RetentionPolicy, Upkeep
from heddle_runtime.facade.thread_commands import DeleteThread
from heddle_runtime.store import retention
from heddle_runtime.store.marks import RUN_COMPLETED, TURN_REQUESTED, Mark
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.store.retention import LogRetention, last_boundary
from heddle_runtime.store.rollout import live_fold_version, may_write, require_readable
from heddle_runtime.store.run_store import RunStore
from heddle_runtime.store.store import Store
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.state import FOLD_VERSION
from tests.kit.log_life import KEEP_TEN, T1, bounds, everything, redact, talk, trim, words
from tests.kit.stores import ACME, ADA, LEASE, OTHER, SHOPS, WORKER, Shop


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


# --- retention ---


async def test_a_trimmed_log_begins_behind_a_run_and_verifies_from_its_base_on(shop: Shop) -> None:
    await talk(shop, 5)
    before = await shop.fold()
    whole = encode(before)
    ends = [event.sequence for event in await shop.events() if isinstance(event.payload, e.RunCompleted)]
    assert await trim(shop) > 0
    first, last = await bounds(shop)
    assert first - 1 in ends and last - first + 1 >= 10
    assert max(end for end in ends if end <= last - 10) == first - 1
    kept = await shop.store.read_events(ACME, T1, first - 1, 1000)
    assert [event.sequence for event in kept] == list(range(first, last + 1))
    assert kept[0].previous_hash == (await shop.row("SELECT hash FROM snapshots WHERE sequence = :at", at=first - 1))[0]
    verified = await ThreadStore(shop.store).verify_thread(ACME, T1)
    assert (verified.events, verified.last_sequence, verified.last_hash) == (len(kept), last, before.head_hash)
    shop.store.log.forget(ACME, T1)
    assert encode(await shop.fold()) == whole


@pytest.mark.parametrize("behind", [0, 1], ids=["below the trim", "at the trim"])
async def test_the_first_event_that_is_published_behind_a_trim_names_the_hash_of_what_went(
    shop: Shop, behind: int
) -> None:
    await talk(shop, 5)
    await trim(shop)
    first, _ = await bounds(shop)
    (kept,) = await shop.store.read_events(ACME, T1, first - 1, 1)
    wanted = {(ACME, T1): (first - 1) * behind}
    (facts,) = await DatabaseRelayStore(shop.store).read_facts(wanted, most_each=1, most_bytes=1 << 20)
    assert [ThreadEvent.FromString(fact.payload) for fact in facts.facts] == [event_message(T1, kept)]


async def test_a_reader_below_the_first_event_is_told_so_however_it_reads(shop: Shop) -> None:
    await talk(shop, 5)
    run_id = (await shop.row("SELECT run_id FROM runs ORDER BY request_sequence LIMIT 1"))[0]
    await trim(shop)
    first, _ = await bounds(shop)
    with pytest.raises(CursorTooOld) as told:
        await shop.store.read_events(ACME, T1, 0, 100)
    assert told.value.first == first
    with pytest.raises(CursorTooOld):
        await shop.store.read_events(ACME, T1, first - 2, 100, RunId(run_id))
    with pytest.raises(CursorTooOld):
        await shop.store.load_fold(ACME, T1, first - 2)
    with pytest.raises(CursorTooOld):
        await words(shop, at_sequence=first - 2)
    assert (await shop.store.load_fold(ACME, T1, first - 1)).last_sequence == first - 1
    assert len(await shop.store.read_events(ACME, T1, first - 1, 1)) == 1
    assert not await RunStore(shop.store).read_events(ACME, T1, 0, 1, RunId(run_id))


async def test_a_replica_whose_fold_was_passed_by_loads_it_from_the_base(shop: Shop) -> None:
    await talk(shop, 1)
    other = Store(shop.database, shared=True)
    assert (await other.log.fold(ACME, T1)).last_sequence == 7
    await talk(shop, 5)
    await trim(shop)
    assert (await bounds(shop))[0] > 8
    assert encode(await other.log.fold(ACME, T1)) == encode(await shop.fold())
    await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, RequestKey("D", RequestId("d"), b""), T1))
    with pytest.raises(ThreadNotFound):
        await other.log.fold(ACME, T1)


async def test_what_another_replica_redacted_leaves_this_one_when_it_looks(shop: Shop) -> None:
    owner = await shop.owner(text="secret 4711", title="secret 4711")
    await owner.complete()
    other = Store(shop.database, shared=True)
    assert b"4711" in encode(await other.log.fold(ACME, T1))
    await redact(shop, "said_1")
    other.log.look_again(ACME, T1)
    kept = await other.log.fold(ACME, T1)
    assert b"4711" not in encode(kept)
    assert encode(kept) == encode(await shop.store.load_fold(ACME, T1))


async def test_messages_of_before_the_base_are_listed_from_it_once(shop: Shop) -> None:
    await talk(shop, 5)
    said = await words(shop)
    assert len(said) == 10
    await trim(shop)
    assert await words(shop) == said
    await talk(shop, 1)
    await trim(shop)
    assert len(await words(shop)) == 12


async def test_a_fork_can_begin_at_the_base_and_the_runs_behind_it(shop: Shop) -> None:
    await talk(shop, 5)
    await trim(shop)
    first, _ = await bounds(shop)
    key = RequestKey("ForkThread", RequestId("f"), b"")
    forked = await ThreadStore(shop.store).fork_thread(ForkThread(ADA, key, T1, first - 1, ThreadId("t2"), ""))
    assert forked.forked_from_thread_id == T1
    listed = await words(shop, ThreadId("t2"))
    assert listed == (await words(shop, at_sequence=first - 1)) and listed
    await ThreadStore(shop.store).verify_thread(ACME, ThreadId("t2"))


async def test_events_of_a_run_that_has_not_ended_stay_even_if_it_only_waits_its_turn(shop: Shop) -> None:
    owner = await shop.owner()
    waiting = await shop.turn()
    await owner.complete()
    assert await trim(shop, replace(KEEP_TEN, keep_events=1)) == 1, "what stands before its turn"
    second = await shop.work()
    await second.complete()
    await talk(shop, 1)
    assert waiting.run.request_sequence < (await bounds(shop))[1]
    await trim(shop, replace(KEEP_TEN, keep_events=1))
    first, _ = await bounds(shop)
    assert [type(event.payload) for event in await shop.store.read_events(ACME, T1, first - 1, 1)] == [e.TurnRequested]
    await shop.owner()
    queued = (await shop.row("SELECT MAX(request_sequence) FROM runs"))[0]
    await talk_elsewhere(shop)
    await trim(shop, replace(KEEP_TEN, keep_events=1))
    assert (await bounds(shop))[0] <= queued


async def talk_elsewhere(shop: Shop) -> None:
    await talk(shop, 1, "t9")


async def test_an_event_goes_only_when_every_rule_that_is_set_lets_it(shop: Shop) -> None:
    await talk(shop, 2)
    shop.clock.advance(7_200)
    await talk(shop, 2)
    hour = RetentionPolicy(keep_for=timedelta(hours=1), least=1)
    assert await trim(shop, replace(hour, keep_for=timedelta(hours=3))) == 0
    assert await trim(shop, replace(hour, keep_events=100)) == 0
    assert await trim(shop, replace(hour, published_only=True)) == 0
    await shop.store.write(lambda writer: writer.tx.run("UPDATE threads SET published_sequence = 8"))
    assert await trim(shop, replace(hour, published_only=True)) == 7
    assert await trim(shop, hour) == 6
    assert (await bounds(shop))[0] == 14


async def test_a_round_finds_what_may_go_and_what_a_crash_has_left(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    for number in range(5):
        await talk(shop, 3, f"t{number}")
    crashed = await shop.store.read(lambda tx: retention.read_base_to_be(tx, KEEP_TEN, ACME, T1))
    assert crashed is not None
    assert await shop.store.write(lambda writer: retention.raise_first(writer, crashed))
    assert not await shop.store.write(lambda writer: retention.raise_first(writer, crashed)), "only once"
    held = await LogRetention(shop.store).candidates(replace(KEEP_TEN, least=100), Place(), 3)
    assert held.threads == ((ACME, T1),) and held.next == Place(ACME, ThreadId("t2"))
    assert not (await LogRetention(shop.store).candidates(replace(KEEP_TEN, least=100), held.next, 3)).threads
    assert len(await words(shop)) == 6, "what nobody may read any more is not told"
    await ThreadStore(shop.store).verify_thread(ACME, T1)
    assert await Upkeep(LogRetention(shop.store), OTHER, KEEP_TEN, Random(1)).round() == 0
    assert await Upkeep(LogRetention(shop.store), WORKER, KEEP_TEN, Random(1)).round() == 5 * 7
    assert (await shop.row("SELECT COUNT(*) FROM events WHERE sequence < 8"))[0] == 0
    assert await Upkeep(LogRetention(shop.store), WORKER, KEEP_TEN, Random(1)).round() == 0


async def test_the_worker_that_has_lived_longest_looks_after_the_log(shop: Shop) -> None:
    kept = LogRetention(shop.store)
    await shop.store.renew_lease(OTHER, "there", 2 * LEASE)
    shop.clock.advance(1)
    await shop.store.renew_lease(WORKER, "here", 10 * LEASE)
    assert (await kept.is_eldest(OTHER), await kept.is_eldest(WORKER)) == (True, False)
    shop.clock.advance(30)
    assert (await kept.is_eldest(OTHER), await kept.is_eldest(WORKER)) == (False, True)


async def test_nothing_is_trimmed_while_a_worker_of_an_older_version_lives(shop: Shop) -> None:
    await talk(shop, 5)
    await shop.store.renew_lease(OTHER, "there", LEASE)
    await shop.store.write(lambda writer: writer.tx.run(f"UPDATE workers SET fold_version = {FOLD_VERSION - 1}"))
    assert await trim(shop) == 0
    shop.clock.advance(20)
    assert await trim(shop) > 0


async def test_a_base_of_another_version_is_read_as_it_is(shop: Shop) -> None:
    await talk(shop, 5)
    whole = encode(await shop.fold())
    await trim(shop)
    await shop.store.write(lambda writer: writer.tx.run("UPDATE snapshots SET fold_version = 0"))
    assert encode(await shop.store.load_fold(ACME, T1)) == whole
    await ThreadStore(shop.store).verify_thread(ACME, T1)


async def test_a_base_that_words_were_redacted_from_meanwhile_is_not_stored(shop: Shop) -> None:
    await talk(shop, 5)
    late = await shop.store.read(lambda tx: retention.read_base_to_be(tx, KEEP_TEN, ACME, T1))
    assert late is not None
    await redact(shop, "said_1")
    assert not await shop.store.write(lambda writer: retention.raise_first(writer, late))
    assert (await bounds(shop))[0] == 1
    await trim(shop)
    assert "question 0" not in await everything(shop)


async def test_a_log_without_its_base_does_not_verify(shop: Shop) -> None:
    await talk(shop, 5)
    await trim(shop)
    await shop.store.write(lambda writer: writer.tx.run("DELETE FROM snapshots"))
    with pytest.raises(ChainBroken, match="base"):
        await ThreadStore(shop.store).verify_thread(ACME, T1)


def test_a_boundary_is_where_no_run_is_open() -> None:
    def marks(*told: tuple[int, str]) -> list[Mark]:
        return [
            Mark(place, TURN_REQUESTED if name.isupper() else RUN_COMPLETED, RunId(name.lower()))
            for place, name in told
        ]

    assert last_boundary([], 1, 9) == 9
    assert last_boundary(marks((1, "A"), (4, "a")), 1, 9) == 9
    assert last_boundary(marks((1, "A"), (4, "a"), (8, "B")), 1, 9) == 7
    assert last_boundary(marks((1, "A"), (3, "B"), (4, "a"), (6, "C"), (8, "b")), 1, 9) == 0
    assert last_boundary(marks((5, "A")), 5, 9) == 4
    assert last_boundary(marks((6, "A")), 5, 9) == 5


# --- two versions side by side ---


async def test_a_new_kind_of_event_is_written_only_when_every_worker_that_lives_reads_it(shop: Shop) -> None:
    newer = {99: FOLD_VERSION + 1}

    async def asked(kind: int) -> bool:
        return await shop.store.read(lambda tx: may_write(tx, kind, newer))

    assert await asked(10)
    assert not await asked(99), "this very version cannot"
    await shop.store.renew_lease(WORKER, "here", 10 * LEASE)
    await shop.store.renew_lease(OTHER, "there", LEASE)
    upgrade = f"UPDATE workers SET fold_version = {FOLD_VERSION + 1} WHERE worker_id = :worker"
    await shop.store.write(lambda writer: writer.tx.run(upgrade, worker=WORKER))
    assert await shop.store.read(live_fold_version) == FOLD_VERSION
    assert not await asked(99)
    with pytest.raises(IllegalTransition, match="fold version"):
        await shop.store.read(lambda tx: require_readable(tx, [10, 99], newer))
    shop.clock.advance(20)
    assert await asked(99), "the older worker is gone"
    await shop.store.read(lambda tx: require_readable(tx, [10, 99], newer))


async def test_each_worker_says_which_fold_it_has_and_snapshots_carry_it(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    assert await shop.row("SELECT worker_id, fold_version FROM workers") == (WORKER, FOLD_VERSION)
    await talk(shop, 1)
    state = await shop.store.load_fold(ACME, T1)
    await shop.store.store_snapshot(ACME, state, encode(state))
    assert await shop.row("SELECT fold_version FROM snapshots") == (FOLD_VERSION,)
