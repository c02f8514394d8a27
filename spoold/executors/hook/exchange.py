"""One HTTP request → what came back, how far it got, and how it broke off; never an exception."""

import asyncio
import ssl
import threading
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import httpcore
import httpx

#: Seconds between two looks at `stopping`.
_TICK = 0.1


@lru_cache
def trust() -> ssl.SSLContext:
    """The certificate authorities that are trusted."""
    # Those of the system, where an operator puts a private CA, and not those of a package.
    # Loading them takes longer than a local call, hence the cache.
    return ssl.create_default_context()


def _reason(error: BaseException) -> str:
    # The innermost error has the system's own words; those around it say "all attempts failed".
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return str(error) or type(error).__name__


@dataclass(slots=True)
class Exchange:
    """A call, and after `perform` how it went.

    Attributes:
        sent: how much of the request was handed to the kernel.
        status: of the answer, if its head arrived.
        answer: its body up to the limit, still encoded as it was sent.
        truncated: the body is longer than the limit.
        broken: what ended the call before the answer was complete, or None.
        detail: the same in words.
        seconds: how long the call took.
    """

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes | None
    sent: Literal["nothing", "part", "all"] = "nothing"
    status: int | None = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer: bytes = b""
    truncated: bool = False
    broken: Literal["timeout", "interrupted", "disconnected"] | None = None
    detail: str = ""
    seconds: float = 0.0
    _stream: "_Whole | None" = None

    @property
    def certainly_not_sent(self) -> bool:
        """Whether the far side cannot have seen the whole request.

        A request that we cut off in the middle ourselves may have been seen: the kernel may
        deliver the rest while the connection is being closed.
        """
        return self.status is None and (
            self.sent == "nothing" or (self.sent == "part" and self.broken == "disconnected")
        )

    def perform(self, timeout: float, max_answer: int, stopping: threading.Event) -> None:
        """Make the call; it ends after `timeout` seconds, whatever the far side does."""
        trusted = trust()  # before the clock starts: loading them is not part of the call
        started = time.monotonic()
        # Not asyncio.run: it would wait for the resolver's thread beyond the deadline.
        loop = asyncio.new_event_loop()
        try:
            call = self._call(max_answer, trusted)
            loop.run_until_complete(self._supervise(call, started + timeout, stopping))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            self.seconds = time.monotonic() - started

    async def _supervise(
        self, work: Coroutine[Any, Any, None], deadline: float, stopping: threading.Event
    ) -> None:
        call = asyncio.ensure_future(work)
        while not call.done():
            left = deadline - time.monotonic()
            if left <= 0:
                self.broken, self.detail = "timeout", "no complete answer came in time"
            elif stopping.is_set():
                self.broken, self.detail = "interrupted", "it was told to stop meanwhile"
            if self.broken:
                call.cancel()
                await asyncio.wait({call}, timeout=1)
                return
            await asyncio.wait({call}, timeout=min(left, _TICK))
        await call

    async def _call(self, max_answer: int, trusted: ssl.SSLContext) -> None:
        # One client a call: when the far side closes a kept connection, it cannot be known whether
        # it saw the request. No proxies, .netrc or CA from the environment.
        transport = httpx.AsyncHTTPTransport(verify=trusted, trust_env=False)
        # httpx has no argument for this, httpcore has.
        transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
            ssl_context=trusted, network_backend=_Network(self)
        )
        client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None),
        )
        try:
            async with (
                client,
                client.stream(
                    self.method, self.url, headers=self.headers, content=self.body
                ) as response,
            ):
                self.status = response.status_code
                self.answer_headers = dict(response.headers)
                # Raw: an answer that unpacks to gigabytes is no larger than what was sent.
                async for chunk in response.aiter_raw():
                    self.truncated = len(self.answer) + len(chunk) > max_answer
                    self.answer = (self.answer + chunk)[:max_answer]
                    if self.truncated:
                        break
        except Exception as error:  # noqa: BLE001 (whatever it is, `sent` says what it can have done)
            # An error after we gave up is our own doing, and `broken` says so already.
            if not self.broken:
                self.broken, self.detail = "disconnected", self._what_broke(error)
        finally:
            # httpcore leaves the socket open when a TLS handshake is cancelled.
            if self._stream:
                await self._stream.aclose()

    def _what_broke(self, error: Exception) -> str:
        # After something was sent, an error may quote the far side, and so our secrets.
        if self.sent == "nothing":
            return _reason(error)
        broke = "the answer broke off or was no HTTP" if self.sent == "all" else "it broke off"
        return f"{broke} ({type(error).__name__})"

    def opened(self, stream: httpcore.AsyncNetworkStream) -> "_Whole":
        """Note a new connection, and the encrypted one in its place when TLS is agreed."""
        self._stream = _Whole(self, stream)
        return self._stream


class _Network(httpcore.AsyncNetworkBackend):
    """Makes connections that send a request with one call."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return self._exchange.opened(await self._real.connect_tcp(*args, **options))

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)


class _Whole(httpcore.AsyncNetworkStream):
    """A connection that keeps what is written until an answer is read, then sends it at once.

    With two calls, a process that is killed in between has sent a request without its body, and a
    careless receiver takes that for another request under the same key.
    """

    def __init__(self, exchange: Exchange, stream: httpcore.AsyncNetworkStream) -> None:
        self._exchange = exchange
        self._stream = stream
        self._kept = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        del timeout
        self._kept += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the same
        kept, self._kept = self._kept, b""
        if kept:
            self._exchange.sent = "part"
            # A receiver may answer and close before it has read everything.
            with suppress(httpcore.WriteError):
                await self._stream.write(kept)
                self._exchange.sent = "all"
        return await self._stream.read(max_bytes, timeout)

    async def start_tls(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return self._exchange.opened(await self._stream.start_tls(*args, **options))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
