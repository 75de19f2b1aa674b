"""A service whose imports never end, for benchmarks: Kaleidoscope's token endpoint and imports, and nothing else.

    python tools/job_sink.py --jobs 5000 --list

It is as cheap as a server in Python can be, so that a benchmark measures the client. It counts what it receives.
Control is on a port of its own: GET `/counts`; POST `/refuse?60` closes the service's port for so many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Sink:
    """What the service knows and counts.

    :param jobs: the ids are `job-0`, `job-1`, ...
    :param lists: it also has a listing, pages are numbered from 1
    """

    def __init__(self, jobs: int, *, lists: bool) -> None:
        self.ids = [f"job-{number}" for number in range(jobs)]
        self.lists = lists
        self.open: set[Connection] = set()
        self.most_open = self.opened = self.single = self.pages = 0
        self.seen: dict[str, float] = {}
        self.per_second: dict[int, int] = {}

    def counts(self) -> dict[str, Any]:
        """All counters since the start."""
        return {
            "single": self.single,
            "pages": self.pages,
            "polled": len(self.seen),
            "polled_last_at": max(self.seen.values(), default=0.0),
            "opened": self.opened,
            "most_open": self.most_open,
            "now": time.time(),
            "most_per_second": max(self.per_second.values(), default=0),
        }

    def answer(self, target: str) -> tuple[int, Any]:
        """Status and body for a request."""
        second = int(time.time())
        self.per_second[second] = self.per_second.get(second, 0) + 1
        path = urlsplit(target).path.rstrip("/")
        if path.endswith("/token"):
            return 200, {"access_token": "token", "token_type": "Bearer", "expires_in": 86400}
        if path.endswith("/imports"):
            self.pages += 1
            return self._page(parse_qs(urlsplit(target).query)) if self.lists else (404, {"message": "no listing"})
        self.single += 1
        return 200, self._job(path.rpartition("/")[2])

    def _page(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        number, size = int(query["page"][0]), min(100, int(query.get("page_size", ["100"])[0]))
        if number < 1:
            return 400, {"message": "page must be >= 1"}
        wanted = query.get("is_complete", ["0"])[0] == "0"
        return 200, [self._job(each) for each in self.ids[(number - 1) * size : number * size]] if wanted else []

    def _job(self, job_id: str) -> dict[str, Any]:
        self.seen.setdefault(job_id, time.time())
        return {"id": job_id, "is_complete": False, "import_status": "processing"}


class Connection(asyncio.Protocol):
    """One connection of a client, which is kept open."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.transport: Any = None
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        """Count it."""
        self.transport = transport
        self.sink.open.add(self)
        self.sink.opened += 1
        self.sink.most_open = max(self.sink.most_open, len(self.sink.open))

    def connection_lost(self, _error: Exception | None) -> None:
        """It is not open any more."""
        self.sink.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if len(rest) < length:
                return
            self._received = rest[length:]
            status, body = self.sink.answer(head.split(b" ", 2)[1].decode())
            content = json.dumps(body).encode()
            self.transport.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(content), content)
            )


async def serve(sink: Sink, port: int, control_port: int) -> None:
    """Until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", port)

    async def refuse(seconds: float) -> None:
        nonlocal server
        server.close()
        for each in list(sink.open):
            each.transport.abort()
        await asyncio.sleep(seconds)
        sink.per_second.clear()
        server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", port)

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        if target.startswith("/refuse?"):
            tasks.add(loop.create_task(refuse(float(target.partition("?")[2]))))
        content = json.dumps(sink.counts()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await writer.drain()
        writer.close()

    tasks: set[asyncio.Task[None]] = set()
    await asyncio.start_server(control, "127.0.0.1", control_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(Sink(arguments.jobs, lists=arguments.list), arguments.port, arguments.control_port))
