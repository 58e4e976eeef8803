"""`http_fetch` against real servers on loopback, some of which are allowed and some are not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import trustme

from heddle_runtime.runs.content import plain_text
from heddle_runtime.tools.builtin.addresses import SystemResolver, networks, problem_of_address
from heddle_runtime.tools.builtin.http_fetch import MOST_BODY, HttpFetch
from heddle_runtime.tools.port import ToolReply
from tests.kit.tool_servers import invocation_of

ALLOWED = networks(["127.0.0.1/32"])


@dataclass
class Site:
    """A server that answers every path as it is told, and writes down what it was asked."""

    answers: dict[str, str | bytes | None] = field(default_factory=dict)
    """By path; None to never answer."""
    requests: list[str] = field(default_factory=list)
    port: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client that got no answer has hung up."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        answer = self.answers.get(request.split(" ")[1], "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        if answer is None:
            await reader.read()
            self.left.set()
            writer.close()
            return
        writer.write(answer.encode() if isinstance(answer, str) else answer)
        try:
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def site(*, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    serving = Site()
    server = await asyncio.start_server(serving.serve, host, 0, ssl=tls)
    serving.port = server.sockets[0].getsockname()[1]
    async with server:
        yield serving


def page(body: str | bytes, *, media_type: str = "text/plain", status: str = "200 OK", extra: str = "") -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(raw)}\r\n{extra}\r\n"
    return head.encode() + raw


def redirect(location: str) -> str:
    return f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"


class Names:
    """A resolver whose answers change from one question to the next, as a rebinding one does."""

    def __init__(self, **hosts: Sequence[Sequence[str]]) -> None:
        self._hosts = {host.replace("_", "."): list(answers) for host, answers in hosts.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._hosts.get(host, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


async def fetch(url: str, tool: HttpFetch) -> ToolReply:
    end = await tool.perform({"url": url}, invocation_of(tool.spec))
    assert isinstance(end, ToolReply)
    return end


def words(reply: ToolReply) -> str:
    return plain_text(reply.content)


async def test_a_page_is_read_for_the_host_that_the_url_names() -> None:
    async with site() as here:
        here.answers["/a?b=c"] = page("grüß dich", media_type="text/plain; charset=utf-8")
        names = Names(good_example=[["127.0.0.1"]])
        reply = await fetch(f"http://good.example:{here.port}/a?b=c#d", HttpFetch(resolver=names, allowed=ALLOWED))
    assert reply.ok
    assert words(reply).endswith("grüß dich")
    assert f"\r\nhost: good.example:{here.port}\r\n" in here.requests[0].lower()
    assert "cookie" not in here.requests[0].lower()
    assert names.asked == ["good.example"]


async def test_a_name_that_moves_between_the_check_and_the_connection_changes_nothing() -> None:
    async with site() as here:
        here.answers["/"] = page("public")
        names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])
        reply = await fetch(f"http://rebind.example:{here.port}/", HttpFetch(resolver=names, allowed=ALLOWED))
    assert reply.ok
    assert names.asked == ["rebind.example"]


async def test_a_name_that_moves_before_a_redirect_is_judged_again() -> None:
    async with site() as here:
        here.answers["/"] = redirect("/next")
        names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.2"]])
        reply = await fetch(f"http://rebind.example:{here.port}/", HttpFetch(resolver=names, allowed=ALLOWED))
    assert "127.0.0.2 is not a public address" in words(reply)
    assert len(here.requests) == 1


async def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    names = Names(mixed_example=[["93.184.216.34", "10.0.0.1"]])
    assert "10.0.0.1 is not a public address" in words(await fetch("http://mixed.example/", HttpFetch(resolver=names)))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "2130706434", "0x7f000002", "0x7f.2", "127.2", "[::1]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]",
     "localhost", "0.0.0.0", "[::]", "0", "169.254.169.254", "10.1.2.3", "100.64.0.1"],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_connected_to(host: str) -> None:
    async with site(host="127.0.0.2") as here:
        here.answers["/"] = page("private")
        reply = await fetch(f"http://{host}:{here.port}/", HttpFetch(resolver=SystemResolver()))
    assert not reply.ok
    assert "is not a public address" in words(reply)
    assert here.requests == []


@pytest.mark.parametrize("url", ["ftp://a.example/", "file:///etc/passwd", "http://", "http://u:p@a.example/", "a"])
async def test_only_plain_web_addresses_are_read(url: str) -> None:
    assert not (await fetch(url, HttpFetch(resolver=Names()))).ok


async def test_an_unknown_host_is_said() -> None:
    assert "there is no host absent.example" in words(
        await fetch("http://absent.example/", HttpFetch(resolver=Names()))
    )


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/", "http://2130706434:{port}/", "//127.0.0.2:{port}/"])
async def test_a_redirect_into_the_private_network_is_refused(target: str) -> None:
    async with site() as here, site(host="127.0.0.2") as private:
        here.answers["/"] = redirect(target.format(port=private.port))
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED)
        reply = await fetch(f"http://127.0.0.1:{here.port}/", tool)
    assert "127.0.0.2 is not a public address" in words(reply)
    assert private.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u@127.0.0.1/"])
async def test_a_redirect_to_something_else_is_refused(target: str) -> None:
    async with site() as here:
        here.answers["/"] = redirect(target)
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED)
        assert not (await fetch(f"http://127.0.0.1:{here.port}/", tool)).ok


async def test_redirects_are_followed_but_not_for_ever() -> None:
    async with site() as here:
        here.answers |= {"/": redirect("/b"), "/b": redirect("c"), "/c": page("at last"), "/loop": redirect("/loop")}
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED)
        assert words(await fetch(f"http://127.0.0.1:{here.port}/", tool)).endswith("at last")
        assert "more than 5 times" in words(await fetch(f"http://127.0.0.1:{here.port}/loop", tool))


async def test_a_long_page_is_cut_and_an_endless_one_too() -> None:
    async with site() as here:
        here.answers["/long"] = page("x" * (MOST_BODY + 1))
        here.answers["/endless"] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + b"x" * (4 * MOST_BODY)
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED)
        for path in ("long", "endless"):
            reply = await fetch(f"http://127.0.0.1:{here.port}/{path}", tool)
            assert words(reply).endswith(f"[cut after {MOST_BODY} bytes]")
            assert len(words(reply)) < MOST_BODY + 200


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (page("x", media_type="image/png"), "which is not text"),
        (page("x", extra="content-encoding: gzip\r\n"), "compressed"),
        (page("gone", status="410 Gone"), "410 text/plain"),
        (b"nonsense\r\n\r\n", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
async def test_what_cannot_be_shown_says_why(answer: bytes, why: str) -> None:
    async with site() as here:
        here.answers["/"] = answer
        reply = await fetch(f"http://127.0.0.1:{here.port}/", HttpFetch(resolver=SystemResolver(), allowed=ALLOWED))
    assert not reply.ok
    assert why in words(reply)


async def test_a_server_that_does_not_answer_is_left_in_time() -> None:
    async with site() as here:
        here.answers["/"] = None
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED, most_time=timedelta(milliseconds=100))
        assert "did not answer within 0.1 s" in words(await fetch(f"http://127.0.0.1:{here.port}/", tool))
        await here.left.wait()


@pytest.mark.parametrize("charset", ["punycode", "zlib", "unicode_escape", "no-such", "undefined"])
async def test_a_strange_charset_is_not_believed(charset: str) -> None:
    async with site() as here:
        here.answers["/"] = page("caf\\u00e9", media_type=f"text/plain; charset={charset}")
        tool = HttpFetch(resolver=SystemResolver(), allowed=ALLOWED)
        assert words(await fetch(f"http://127.0.0.1:{here.port}/", tool)).endswith("caf\\u00e9")


async def test_nobody_there_is_said_and_the_next_address_is_tried() -> None:
    async with site() as here:
        here.answers["/"] = page("second")
        names = Names(two_example=[["127.0.0.3", "127.0.0.1"]])
        tool = HttpFetch(resolver=names, allowed=networks(["127.0.0.0/8"]))
        assert words(await fetch(f"http://two.example:{here.port}/", tool)).endswith("second")
        alone = HttpFetch(resolver=Names(one_example=[["127.0.0.3"]]), allowed=networks(["127.0.0.0/8"]))
        assert "cannot be reached" in words(await fetch(f"http://one.example:{here.port}/", alone))


async def test_tls_is_checked_for_the_name_and_not_for_the_address() -> None:
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("good.example").configure_cert(serving)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with site(tls=serving) as here:
        here.answers["/"] = page("over tls")
        names = Names(good_example=[["127.0.0.1"]], bad_example=[["127.0.0.1"]])
        tool = HttpFetch(resolver=names, allowed=ALLOWED, tls=trusting)
        assert words(await fetch(f"https://good.example:{here.port}/", tool)).endswith("over tls")
        assert not (await fetch(f"https://bad.example:{here.port}/", tool)).ok
        here.answers["/down"] = redirect(f"http://good.example:{here.port}/")
        assert "not encrypted" in words(await fetch(f"https://good.example:{here.port}/down", tool))
    assert asked[:2] == ["good.example", "bad.example"]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "192.0.0.8", "::1", "::",
     "fe80::1",
     "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
     "64:ff9b::10.0.0.1", "64:ff9b:1::a00:1", "2002:a00:1::", "2001:db8::1", "fec0::1",
     "2001:0:4136:e378:8000:63bf:f5ff:fffe", "nonsense", ""],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert problem_of_address(address) is not None


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_not(address: str) -> None:
    assert problem_of_address(address) is None


def test_an_allowed_network_is_reached_in_every_spelling() -> None:
    allowed = networks(["10.0.0.0/24"])
    assert problem_of_address("10.0.0.9", allowed) is None
    assert problem_of_address("::ffff:10.0.0.9", allowed) is None
    assert problem_of_address("10.0.1.9", allowed) is not None
