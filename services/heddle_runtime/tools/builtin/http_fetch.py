"""`http_fetch`: reads a public page. Off unless it is wired, because what a page says reaches the model.

A name is resolved once per hop, every address it has is judged, and the connection goes to an address that was judged:
no second look-up, by which a name could move into the private network meanwhile (rebinding).
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

import httpx

from heddle_core.values import value
from heddle_runtime.tools.builtin.addresses import Network, Resolver, problem_of_address
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, refused, said, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolInvocation, ToolSpec

MOST_BODY = 256 << 10
"""Bytes that are read of a page; the rest is not."""
MOST_TIME = timedelta(seconds=20)
"""For all hops together."""
MOST_HOPS = 6
"""The first request and five redirects."""

_HEADERS = {"accept": "text/*, application/json, application/xml;q=0.9", "accept-encoding": "identity"}
_TEXTUAL = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/javascript")
_CHARSETS = [
    "utf-8",
    "utf-16",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "gb18030",
    "gbk",
    "big5",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "koi8-r",
]


class FetchRefused(Exception):
    """What keeps a page from being read, in words for the model."""


@value
class _Page:
    """What a server answered, or where it sends the reader."""

    status: int
    media_type: str
    text: str
    cut: bool
    location: str = ""


class HttpFetch:
    """Gets one page by GET, and follows its redirects."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="http_fetch",
        description="Read a public web page or JSON document by its http or https URL. Only public addresses.",
        parameters_json=schema_of(
            {"url": {"type": "string", "minLength": 8, "maxLength": 2048, "description": "as https://example.com/a"}},
            required=("url",),
        ),
        risk=RiskClass.READ,
        read_only=True,
        deadline=MOST_TIME + timedelta(seconds=5),
        category="web",
    )

    def __init__(
        self,
        *,
        resolver: Resolver,
        allowed: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        most_time: timedelta = MOST_TIME,
    ) -> None:
        """`allowed` are networks to reach although they are not public; `tls` is for servers of a private authority."""
        self._resolver = resolver
        self._allowed = tuple(allowed)
        self._tls = tls or ssl.create_default_context()
        self._most_time = most_time.total_seconds()

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """The page's text, or why it cannot be had."""
        url = arguments["url"]
        try:
            async with asyncio.timeout(self._most_time):
                final, page = await self._followed(url)
        except TimeoutError:
            return refused(f"{url} did not answer within {self._most_time:g} s")
        except FetchRefused as error:
            return refused(str(error))
        note = f"\n[cut after {MOST_BODY} bytes]" if page.cut else ""
        reply = f"{final}\n{page.status} {page.media_type}\n\n{page.text}{note}"
        return said(reply) if page.status < 400 else refused(reply)

    async def _followed(self, url: str) -> tuple[httpx.URL, _Page]:
        target = _parsed(url)
        for _ in range(MOST_HOPS):
            page = await self._get(target)
            if not page.location:
                return target, page
            following = _parsed(page.location, base=target)
            if target.scheme == "https" and following.scheme != "https":
                raise FetchRefused(f"{target} redirects to {following}, which is not encrypted")
            target = following
        raise FetchRefused(f"{url} redirects more than {MOST_HOPS - 1} times")

    async def _get(self, url: httpx.URL) -> _Page:
        last = "no address answered"
        for address in await self._judged(url):
            try:
                return await self._get_from(url, address)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = str(error) or type(error).__name__
            except httpx.HTTPError as error:
                raise FetchRefused(f"{url} cannot be read: {str(error) or type(error).__name__}") from None
        raise FetchRefused(f"{url} cannot be reached: {last}")

    async def _judged(self, url: httpx.URL) -> Sequence[str]:
        """The addresses of the URL's host, all of which may be connected to. Raises FetchRefused."""
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._resolver.resolve(host, port)
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise FetchRefused(f"there is no host {url.host}: check the spelling")
        for address in addresses:
            problem = problem_of_address(address, self._allowed)
            if problem is not None:
                raise FetchRefused(f"{url.host} cannot be read: {problem}, and only public ones may be")
        return list(dict.fromkeys(addresses))[:4]

    async def _get_from(self, url: httpx.URL, address: str) -> _Page:
        """One hop, over a connection to `address`, for the host that the URL names. No cookies, no proxy, no cache."""
        pinned = url.copy_with(host=address)
        headers = {**_HEADERS, "host": url.netloc.decode("ascii")}
        limits = httpx.Timeout(self._most_time, connect=5.0)
        client = httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=limits)
        async with client:
            request = client.build_request(
                "GET", pinned, headers=headers, extensions={"sni_hostname": url.raw_host.decode("ascii")}
            )
            response = await client.send(request, stream=True)
            async with aclosing(response):
                return await _page(url, response)


def _parsed(text: str, *, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = base.join(text) if base is not None else httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise FetchRefused(f"{text[:200]!r} is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchRefused(f"{text[:200]!r} is not an http or https URL")
    if url.userinfo:
        raise FetchRefused("a URL with a user name or password is not followed")
    return url.copy_with(fragment=None)


async def _page(url: httpx.URL, response: httpx.Response) -> _Page:
    media_type = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    location = response.headers.get("location", "")
    if response.is_redirect and location:
        return _Page(response.status_code, media_type, "", False, location)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchRefused(f"{url} is sent compressed although plain text was asked for")
    if not media_type.startswith(_TEXTUAL) and not media_type.endswith(("+json", "+xml")):
        raise FetchRefused(f"{url} is {media_type[:80]}, which is not text")
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BODY:
            break
    text = _decoded(body[:MOST_BODY], response.charset_encoding)
    return _Page(response.status_code, media_type[:80], text, len(body) > MOST_BODY)


def _decoded(body: bytes, charset: str | None) -> str:
    """Python knows encodings whose decoders are quadratic, or are none of text: only the common ones are believed."""
    known = (charset or "utf-8").lower()
    return body.decode(known if known in _CHARSETS else "utf-8", "replace")
