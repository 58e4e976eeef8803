"""Databases of the services beside the runtime: backed up, restored, and moved from one engine to the other."""

from pathlib import Path

import pytest

from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.store.store import Store
from heddle_cli.composition import ServiceName, holding_of
from heddle_core.changes import Changes
from heddle_core.errors import IllegalTransition
from heddle_database.migrations import migrate
from heddle_runtime.maintenance import copies
from heddle_runtime.maintenance.databases import Place, opened_postgres, opened_sqlite
from tests.kit.campaign_stores import ACME, cycle_of, memory_of, on_sqlite
from tests.kit.postgres import shared_server

CAMPAIGN, SPAWN = holding_of(ServiceName.CAMPAIGN), holding_of(ServiceName.SPAWN)


@pytest.fixture(name="home")
async def folder(tmp_path: Path) -> Place:
    """A folder with a campaign, a cycle and a memory."""
    home = tmp_path / "home"
    home.mkdir()
    async with on_sqlite(home) as campaigns:
        await campaigns.activate()
        await campaigns.add(cycle_of(5))
        await campaigns.memories.learn([memory_of("m1")])
    return Place(home, holding=CAMPAIGN)


async def kept(place: Place) -> tuple[Campaign | None, int]:
    """The campaign that a file holds, and how many cycles."""
    async with opened_sqlite(place.file) as database:
        store = Store(database, Changes())
        return await store.campaign(ACME, "c1"), len(await store.open_cycles(ACME, "c1"))


async def test_a_backup_is_the_same_campaigns_when_it_is_put_back(home: Place, tmp_path: Path) -> None:
    made = await copies.back_up(home, tmp_path / "backup.db")
    assert made.bytes > 0
    new = Place(tmp_path / "new", holding=CAMPAIGN)
    assert (await copies.restore(tmp_path / "backup.db", new)).epoch == 0
    assert await kept(new) == await kept(home)
    assert (await kept(new))[1] == 1


async def test_campaigns_move_to_postgresql_beside_the_children_of_another_service_and_back(
    home: Place, tmp_path: Path
) -> None:
    server = shared_server()
    name = await server.create()
    try:
        moved, back = Place(url=server.url(name), holding=CAMPAIGN), Place(tmp_path / "back", holding=CAMPAIGN)
        async with opened_postgres(moved.url) as database:
            await migrate(database, SPAWN.migrations)
        await copies.dump(home, tmp_path / "1.dump")
        held, _ = await copies.load(tmp_path / "1.dump", moved)
        assert (held.rows["campaigns"], held.rows["cycles"], held.rows["memories"]) == (1, 1, 1)
        await copies.dump(moved, tmp_path / "2.dump")
        await copies.load(tmp_path / "2.dump", back)
        await copies.dump(back, tmp_path / "3.dump")
    finally:
        await server.drop(name)
    first = (tmp_path / "1.dump").read_bytes()
    assert (tmp_path / "2.dump").read_bytes() == first
    assert (tmp_path / "3.dump").read_bytes() == first
    assert await kept(back) == await kept(home)


async def test_a_file_of_one_service_is_not_put_in_the_place_of_anothers(home: Place, tmp_path: Path) -> None:
    await copies.back_up(home, tmp_path / "backup.db")
    await copies.dump(home, tmp_path / "1.dump")
    for place in (Place(tmp_path / "new"), Place(tmp_path / "new", holding=SPAWN)):
        with pytest.raises(IllegalTransition, match="--service"):
            await copies.restore(tmp_path / "backup.db", place)
        with pytest.raises(IllegalTransition, match="--service"):
            await copies.load(tmp_path / "1.dump", place)
        assert not place.file.exists()
