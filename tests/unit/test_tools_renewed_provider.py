"""A provider that is opened with files: when it is opened anew, and when what it was is closed."""

import asyncio
from dataclasses import dataclass, field

import pytest

from heddle_runtime.tools.port import ToolFault, ToolFaultKind, ToolProgress, ToolReply
from heddle_runtime.tools.renewed_provider import RenewedProvider
from tests.kit.tool_servers import FakeProvider, invocation_of, spec_of

GONE = ToolFault(ToolFaultKind.NOT_SENT, "the file is gone")
EVENTS = (ToolProgress(0.5, "half"), ToolReply(True))


@dataclass
class Files:
    """What stands in them, and what was opened with it."""

    content: str | ToolFault = "one"
    opened: list[tuple[str, FakeProvider]] = field(default_factory=list[tuple[str, FakeProvider]])

    def read(self) -> str:
        if isinstance(self.content, ToolFault):
            raise self.content
        return self.content

    def connect(self, content: str) -> FakeProvider:
        made = FakeProvider(specs=(spec_of(),), events=EVENTS)
        self.opened.append((content, made))
        return made

    @property
    def closed(self) -> list[str]:
        return [content for content, provider in self.opened if provider.closed]


async def test_it_is_opened_once_for_what_stands_in_the_files() -> None:
    files = Files()
    renewed = RenewedProvider("kit", files.read, files.connect)
    async with asyncio.TaskGroup() as together:
        for _ in range(5):
            together.create_task(renewed.list_tools())
    assert [content for content, _ in files.opened] == ["one"]
    assert not files.closed
    await renewed.close()
    assert files.closed == ["one"]


async def test_what_it_was_is_closed_when_its_last_call_has_ended() -> None:
    files = Files()
    renewed = RenewedProvider("kit", files.read, files.connect)
    first, second = renewed.call(invocation_of(spec_of())), renewed.call(invocation_of(spec_of()))
    assert [await anext(first), await anext(second)] == [EVENTS[0]] * 2
    files.content = "two"
    assert [event async for event in renewed.call(invocation_of(spec_of()))] == list(EVENTS)
    assert not files.closed
    assert [event async for event in first] == [EVENTS[1]]
    assert not files.closed
    await second.aclose()
    assert files.closed == ["one"]
    await renewed.close()
    assert files.closed == ["one", "two"]


async def test_what_it_was_is_closed_at_once_where_no_call_is_under_way() -> None:
    files = Files()
    renewed = RenewedProvider("kit", files.read, files.connect)
    await renewed.list_tools()
    files.content = "two"
    await renewed.list_tools()
    assert files.closed == ["one"]


async def test_what_is_about_to_be_used_is_not_closed_by_the_next_change() -> None:
    files = Files()
    renewed = RenewedProvider("kit", files.read, files.connect)
    await renewed.list_tools()
    files.content = "two"
    first = renewed.call(invocation_of(spec_of()))
    assert await anext(first) == EVENTS[0]
    files.content = "three"
    await renewed.list_tools()
    assert not files.closed, "the call of the first one is under way, and with it what that one replaced"
    assert [event async for event in first] == [EVENTS[1]]
    assert files.closed == ["one", "two"]
    await renewed.close()
    assert files.closed == ["one", "two", "three"]


async def test_a_file_that_is_gone_is_a_fault_and_shows_nothing_old() -> None:
    files = Files()
    renewed = RenewedProvider("kit", files.read, files.connect)
    await renewed.list_tools()
    files.content = GONE
    with pytest.raises(ToolFault, match="the file is gone"):
        await renewed.list_tools()
    with pytest.raises(ToolFault, match="the file is gone"):
        await anext(renewed.call(invocation_of(spec_of())))
    assert files.opened[0][1].listings == 1
    assert not files.opened[0][1].calls
    files.content = "one"
    await renewed.list_tools()
    assert len(files.opened) == 1
