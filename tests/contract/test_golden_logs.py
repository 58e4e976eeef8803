"""This version reads what every earlier one has written, and comes to the same state (GUARANTEES P21).

Each file is a dump of a whole database, beside the folds that its own version came to. A later version may add to a
fold; what was there keeps its value.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_core.ids import TenantId, ThreadId
from heddle_database.dump import dump, examine
from heddle_runtime.maintenance import copies
from heddle_runtime.maintenance.databases import Place, opened_sqlite, own_tables
from heddle_runtime.store.rollout import INTRODUCED
from heddle_runtime.store.store import Store
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.state import FOLD_VERSION
from tests.kit.golden_log import FOLDER

ACME = TenantId("acme")
VERSIONS = sorted(FOLDER.glob("version_*.dump"))


def as_before(now: Any, before: Any, where: str) -> None:
    """Compare a value of JSON with that of an earlier version: objects may have grown."""
    if isinstance(before, dict):
        assert isinstance(now, dict), where
        for name, value in before.items():
            assert name in now, f"{where}.{name} is gone"
            as_before(now[name], value, f"{where}.{name}")
    elif isinstance(before, list):
        assert isinstance(now, list) and len(now) == len(before), f"{where}: {now} was {before}"
        for place, value in enumerate(before):
            as_before(now[place], value, f"{where}[{place}]")
    else:
        assert now == before, f"{where}: {now!r} was {before!r}"


@pytest.mark.parametrize("file", VERSIONS, ids=lambda file: file.stem)
async def test_a_log_of_an_earlier_version_folds_as_it_did_then(file: Path, tmp_path: Path) -> None:
    before = json.loads(await asyncio.to_thread(file.with_suffix(".json").read_text, encoding="utf-8"))
    place = Place(tmp_path)
    _, verified = await copies.load(file, place)
    assert verified.problems == []
    async with opened_sqlite(place.file) as database:
        store = Store(database)
        rows = await store.read(lambda tx: tx.rows("SELECT thread_id FROM threads"))
        assert sorted(row[0] for row in rows) == sorted(before)
        for thread_id, folds in before.items():
            for sequence, fold in folds.items():
                now = json.loads(encode(await store.load_fold(ACME, ThreadId(thread_id), int(sequence))))
                as_before(now, fold, f"{thread_id}@{sequence}")


@pytest.mark.parametrize("file", VERSIONS, ids=lambda file: file.stem)
async def test_a_log_of_an_earlier_version_keeps_its_bytes(file: Path, tmp_path: Path) -> None:
    await copies.load(file, Place(tmp_path))
    async with opened_sqlite(Place(tmp_path).file) as database:
        held = await dump(database, tmp_path / "again.dump", await own_tables())
    then = examine(file)
    assert {name: held.rows[name] for name in then.rows} == then.rows
    if held.revisions == then.revisions:
        assert held.sha256 == then.sha256


async def test_the_present_version_has_its_golden_log_with_every_kind_of_event(tmp_path: Path) -> None:
    assert [file.stem for file in VERSIONS] == [f"version_{number}" for number in range(1, FOLD_VERSION + 1)]
    kinds: dict[int, int] = {}
    for number, file in enumerate(VERSIONS, 1):
        place = Place(tmp_path / file.stem)
        await copies.load(file, place)
        async with opened_sqlite(place.file) as database:
            for (kind,) in await database.read(lambda tx: tx.rows("SELECT DISTINCT kind FROM events")):
                kinds.setdefault(kind, number)
    oneof = ThreadEvent.DESCRIPTOR.oneofs_by_name["payload"]
    assert {field.number for field in oneof.fields} == set(kinds), "each kind is in the log of some version"
    assert {kind: version for kind, version in kinds.items() if version > 1} == dict(INTRODUCED)
