"""A page in headless Chromium, driven over its DevTools protocol: for tests of what people see in a browser."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import require_program

__all__ = ["Page", "chromium_path", "open_page"]

_ANSWER_S = 20.0
_START_S = 60.0  # the first start of a browser on a busy machine
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--mute-audio"),
    *("--remote-debugging-port=0", "--window-size=1200,1600"),
)


def chromium_path() -> str:
    """Return where Chromium is; skip the test where there is none, fail it in CI."""
    return require_program("chromium", "chromium")


class Page:
    """One page of a browser.

    Attributes:
        problems: What it threw, and what it wrote on the console as a warning or an error.
        requests: Every address it asked for.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read(), name="browser reader")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_ANSWER_S):
            return await answer

    async def open(self, url: str, *, offline: bool = False) -> None:
        """Go to a page and wait until it has loaded, without a network if that is asked for."""
        if offline:
            conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            await self.call("Network.emulateNetworkConditions", **conditions)
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, a promise's when it is one."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']['exception'].get('description')}")
        return found["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 20.0) -> None:
        """Return once a JavaScript expression is true."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.evaluate(f"!!({expression})"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError as exc:
            raise AssertionError(f"after {timeout_s:g} s still not: {expression}; problems: {self.problems}") from exc

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                answer = self._answers.pop(event["id"])
                if "error" in event:
                    answer.set_exception(AssertionError(str(event["error"])))
                else:
                    answer.set_result(event["result"])
            else:
                self._take(event["method"], event["params"])

    def _take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(str([arg.get("value") for arg in params["args"]]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(params["entry"]["text"])


@asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """Start a browser with a profile in `folder` and yield its one page."""
    profile = folder / "chromium"
    process = await asyncio.create_subprocess_exec(
        *(chromium_path(), *_FLAGS, f"--user-data-dir={profile}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            address = await _address(profile / "DevToolsActivePort", process)
            async with session.get(f"http://{address}/json/list") as reply:
                targets = await reply.json(content_type=None)
            url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
            async with session.ws_connect(url, max_msg_size=0) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await page.call(f"{domain}.enable")
                yield page
                await page.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _address(port_file: Path, process: asyncio.subprocess.Process) -> str:
    """Return where the browser listens for us; it writes that down once it does."""
    async with asyncio.timeout(_START_S):
        while True:
            assert process.returncode is None, f"the browser has ended with {process.returncode}"
            lines = port_file.read_text().splitlines() if port_file.exists() else []
            if lines:
                return f"127.0.0.1:{lines[0]}"
            await asyncio.sleep(0.02)
