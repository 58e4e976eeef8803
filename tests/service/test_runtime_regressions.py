"""The smallest cases of what the property suite and the bad-input suite have found, one test each."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.runtime.v1.agent_runtime_pb2 import CancelRunRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision
from heddle.runtime.v1.turn_pb2 import TurnMode
from heddle_core.clock import SystemClock
from heddle_core.errors import InvalidField, RequestIdReused
from heddle_core.ids import PrincipalId, RequestId, TenantId
from heddle_core.runtime_errors import RequestCancelled, ResolutionTokenInvalid
from heddle_runtime.facade.commands import Caller, RequestKey
from heddle_runtime.facade.page_commands import Page
from heddle_runtime.facade.provider_commands import CreateProvider, DeleteProvider, ProviderRow, UpdateProvider
from heddle_runtime.facade.providers import ToolProviders
from heddle_runtime.runs.content import Actor
from heddle_runtime.tools.schema import Schemas
from tests.kit.running_runtime import House, house, new_id, payloads
from tests.kit.tool_servers import FakeProvider

pytestmark = pytest.mark.timeout(60)

ACME = TenantId("acme")

SCENARIO = """
turns:
  - when: {user: '^ask'}
    steps:
      - calls:
          - tool: ask_user
            arguments: {question: "Which?", options: [{value: red}, {value: blue}]}
      - text: "Answer: {{tool.ask_user}}"
  - when: {user: '^hang'}
    steps:
      - {text: "I begin to say this", fault: {kind: hang, after_deltas: 3}}
  - steps:
      - text: "1. Do it"
"""


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    async with house(tmp_path, SCENARIO) as running:
        yield running


async def test_a_resolution_token_outside_ascii_is_refused_as_any_other_that_is_wrong(here: House) -> None:
    await here.start("ask", "t1")
    asked = (await here.pending("t1"))[0]
    with pytest.raises(ResolutionTokenInvalid):
        await here.resolve(asked.input_id, options=["red"], token="Schlüssel 🔑")


async def test_the_id_of_an_answer_that_repeats_the_winning_one_is_not_free_for_another_answer(here: House) -> None:
    await here.start("ask", "t1")
    asked = (await here.pending("t1"))[0]
    red = InputAnswer(options=["red"])
    await here.resolve(asked.input_id, red, request_id="first")
    await here.resolve(asked.input_id, red, request_id="second")
    with pytest.raises(RequestIdReused):
        await here.resolve(asked.input_id, InputAnswer(options=["blue"]), request_id="second")


async def test_approving_without_a_version_approves_the_latest_plan(here: House) -> None:
    planned = await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
    asked = (await here.pending("t1"))[0]
    await here.resolve(asked.input_id, decision=InputDecision.INPUT_DECISION_APPROVE)
    await here.wait(planned.run.run_id)
    assert [each.version for each in payloads(await here.events("t1"), "plan_approved")] == [1]
    assert (await here.snapshot("t1")).approved_plan_version == 1


async def test_a_version_of_the_plan_that_is_not_up_for_review_cannot_be_approved(here: House) -> None:
    await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
    asked = (await here.pending("t1"))[0]
    with pytest.raises(InvalidField, match="plan_version"):
        await here.resolve(asked.input_id, decision=InputDecision.INPUT_DECISION_APPROVE, plan_version=7)
    assert await here.pending("t1")


async def test_the_repeat_of_a_cancel_by_thread_does_not_reach_the_run_that_came_after(here: House) -> None:
    first = await here.words("hang", "t1", "begin")
    request = CancelRunRequest(request_id=new_id(), thread_id="t1")
    told = await here.stubs.agent_runtime.CancelRun(request)
    await here.wait(first)
    second = await here.words("hang", "t1", "begin")
    again = await here.stubs.agent_runtime.CancelRun(request)
    assert again.cancelled == told.cancelled
    assert (await here.run(second)).cancel_sequence == 0


async def test_a_turn_that_has_not_arrived_can_be_cancelled_twice(here: House) -> None:
    for _ in range(2):
        told = await here.cancel("", turn_request_id="late")
        assert not told.cancelled
    with pytest.raises(RequestCancelled):
        await here.start("hello", "t1", request_id="late")


class SlowSource:
    """Rows of one tenant; a reading that has begun tells the rows of its beginning, when the test lets it end."""

    def __init__(self) -> None:
        self.rows: dict[str, ProviderRow] = {}
        self.reading = asyncio.Event()
        self.may_end = asyncio.Event()
        self.created = asyncio.Event()

    async def providers(self, tenant: TenantId) -> tuple[ProviderRow, ...]:
        rows = tuple(self.rows.values())
        self.reading.set()
        await self.may_end.wait()
        return rows

    async def create_provider(self, command: CreateProvider) -> ProviderRow:
        self.rows[command.provider.provider_id] = command.provider
        self.created.set()
        return command.provider

    async def update_provider(self, command: UpdateProvider) -> ProviderRow:
        raise AssertionError("nothing is changed here")

    async def delete_provider(self, command: DeleteProvider) -> None:
        raise AssertionError("nothing is removed here")


async def test_a_provider_that_is_registered_while_its_tenants_rows_are_read_is_found() -> None:
    source = SlowSource()
    providers = ToolProviders(
        source, (), lambda provider_id, _: _provider(provider_id), SystemClock(), Schemas(SystemClock())
    )
    caller = Caller(ACME, Actor(PrincipalId("ann")))
    command = CreateProvider(
        caller, RequestKey("CreateToolProvider", RequestId("r1"), b""), ProviderRow("garden", "house:1", (), 1)
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        listing = tasks.create_task(providers.list(ACME, Page(10, ())))
        await source.reading.wait()
        creating = tasks.create_task(providers.create(command))
        await source.created.wait()
        source.may_end.set()
        await listing
        assert (await creating).provider_id == "garden"
    await providers.close()


def _provider(provider_id: str) -> Any:
    return FakeProvider(provider_id)
