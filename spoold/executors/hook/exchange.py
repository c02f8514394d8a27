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

#: How soon a call notices that the service stops.
_TICK = 0.1


@lru_cache
def trust() -> ssl.SSLContext:
    """Whom we believe to be who they say."""
    # The system's certificates, not a package's: that is where an operator puts a private CA.
    # Loading them takes longer than a local call, hence the cache.
    return ssl.create_default_context()


def _reason(error: BaseException) -> str:
    # The system's own words end the chain; what wraps them says "all attempts failed".
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return str(error) or type(error).__name__


@dataclass(slots=True)
class Exchange:
    """A call, and after `perform` how it went.

    Attributes:
        sent: nothing of the request, a part of it, or all was handed to the kernel.
        status: of the answer, when its head arrived.
        answer: at most the limit of its body, still encoded as it was sent.
        truncated: there was more than that.
        broken: what ended it before the answer was complete, or None.
        detail: the same for a person.
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

        A request that we cut off in the middle ourselves is not among these: the kernel may have
        delivered the rest while the connection was being closed.
        """
        return self.status is None and (
            self.sent == "nothing" or (self.sent == "part" and self.broken == "disconnected")
        )

    def perform(self, timeout: float, max_answer: int, stopping: threading.Event) -> None:
        """Make the call; it ends after `timeout` whatever the far side does."""
        trusted = trust()  # before the clock starts: it is not the far side's time
        started = time.monotonic()
        # Not asyncio.run: that waits for the resolver's thread, and so beyond any deadline.
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
        # One client a call: a kept connection that the far side has closed meanwhile would turn
        # "nothing happened" into "nobody knows". No proxies, .netrc or CA from the environment.
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
            # What breaks because we gave up is not the far side's doing.
            if not self.broken:
                self.broken, self.detail = "disconnected", self._what_broke(error)
        finally:
            # httpcore leaves the socket open when a TLS handshake is cancelled.
            if self._stream:
                await self._stream.aclose()

    def _what_broke(self, error: Exception) -> str:
        # Once the far side can speak, an error may quote it, and so anything that it was sent.
        if self.sent == "nothing":
            return _reason(error)
        broke = "the answer broke off or was no HTTP" if self.sent == "all" else "it broke off"
        return f"{broke} ({type(error).__name__})"

    def opened(self, stream: httpcore.AsyncNetworkStream) -> "_Whole":
        """Called with the connection, and again when TLS is agreed on it."""
        self._stream = _Whole(self, stream)
        return self._stream


class _Network(httpcore.AsyncNetworkBackend):
    """Connections that send a request whole."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return self._exchange.opened(await self._real.connect_tcp(*args, **options))

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)


class _Whole(httpcore.AsyncNetworkStream):
    """Keeps what is written until an answer is asked for, then sends it with one call.

    A process that is killed between two calls would have sent a request without its body, and a
    careless receiver takes that for another one under the same key.
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
