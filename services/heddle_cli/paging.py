"""Lists that come in pages, as one answer."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

MOST_PAGE = 1_000
"""The largest page that the contract allows."""


class _Page(Protocol):
    next_page_token: str

    def MergeFrom(self, other: Any, /) -> None: ...


PageT = TypeVar("PageT", bound=_Page)


async def collect(fetch: Callable[[int, str], Awaitable[PageT]], field: str, *, most: int) -> PageT:
    """Up to `most` items of the repeated field `field`, over as many pages as it takes.

    `fetch` is given a page size and a page token. `next_page_token` of the answer is set when there are more.
    """
    whole = await fetch(min(most, MOST_PAGE), "")
    while whole.next_page_token and len(getattr(whole, field)) < most:
        left = most - len(getattr(whole, field))
        page = await fetch(min(left, MOST_PAGE), whole.next_page_token)
        whole.next_page_token = ""
        whole.MergeFrom(page)
    return whole
