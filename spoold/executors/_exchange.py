"""One HTTP request → what came back, how far it got, and how it broke off; never an exception."""

import asyncio
import ssl
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import httpx

#: How soon a call notices that the service stops.
_TICK = 0.1


@lru_cache
def _trust() -> ssl.SSLContext:
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
    _stream: Any = None

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
        trust = _trust()  # before the clock starts: it is not the far side's time
        started = time.monotonic()
        # Not asyncio.run: that waits for the resolver's thread, and so beyond any deadline.
        loop = asyncio.new_event_loop()
        try:
            call = self._call(max_answer, trust)
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
                self.broken, self.detail = "interrupted", "the service was stopped meanwhile"
            if self.broken:
                call.cancel()
                await asyncio.wait({call}, timeout=1)
                return
            await asyncio.wait({call}, timeout=min(left, _TICK))
        await call

    async def _call(self, max_answer: int, trust: ssl.SSLContext) -> None:
        # One client a call: a kept connection that the far side has closed meanwhile would turn
        # "nothing happened" into "nobody knows". No proxies, .netrc or CA from the environment.
        client = httpx.AsyncClient(
            verify=trust, trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None)
        )
        try:
            async with (
                client,
                client.stream(
                    self.method,
                    self.url,
                    headers=self.headers,
                    content=self.body,
                    extensions={"trace": self._trace},
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

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "http11.send_request_headers.started":
            self.sent = "part"
        elif event == "http11.send_request_body.complete":
            self.sent = "all"
