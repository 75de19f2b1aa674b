"""What an upload costs: the documented way with `requests`, bare httpx, and ours, each in a process of its own.

    python tools/bench_uploads.py        all of them, beside each other
    python tools/bench_uploads.py NAME URL FILE        one of them, once; prints seconds and MiB of memory growth

They send the same import of a file to a sink in another process that reads and forgets. The file is sparse, so that no
disk is measured. Memory is the peak of the process's resident set during the upload above what it was before.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 1 << 30
TURNS = 3
JOB = {"jobName": "bench", "itemType": "Contact", "contentType": "plain/text", "merge": "False"}
ANSWER = {"access_token": "bench", "jobId": "1", "status": "Accepted", "reason": "", "recordsProcessed": "0"}


# --- the sink


def sink(listener: socket.socket) -> None:
    """Answer every request on every connection, and keep nothing of it."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_drain, args=(connection,), daemon=True).start()


def _drain(connection: socket.socket) -> None:
    body = json.dumps(ANSWER).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    buffer, head = bytearray(1 << 20), b""
    while piece := connection.recv(1 << 16):
        head += piece
        if b"\r\n\r\n" not in head:
            continue
        lines, _, rest = head.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in lines.lower().split(b"\r\n") if line.startswith(b"content-length")]
        left, head = int(lengths[0]) - len(rest), b""
        while left > 0:
            left -= connection.recv_into(buffer, min(left, len(buffer)))
        connection.sendall(answer)


# --- the ways


def documented(url: str, file: Path) -> Callable[[Path], object]:
    """As the wiki's example has it."""
    import requests

    def send(path: Path) -> None:
        files = {"file": (path.name, path.open("rb"), "plain/text", {"Expires": "0"})}
        headers = {"Authorization": "Bearer bench"}
        requests.post(f"{url}/ls/api/batch/import", headers=headers, files=files, data=JOB).raise_for_status()

    del file
    return send


def bare(url: str, file: Path) -> Callable[[Path], object]:
    """httpx's own multipart form, streamed."""
    import httpx

    client = httpx.Client(base_url=url, headers={"Authorization": "Bearer bench"}, timeout=60)

    def send(path: Path) -> None:
        with path.open("rb") as stream:
            files = {"file": (path.name, stream, "plain/text", {"Expires": "0"})}
            client.post("/ls/api/batch/import", files=files, data=JOB).raise_for_status()

    del file
    return send


def ours(url: str, file: Path, *, awaiting: bool = False) -> Callable[[Path], object]:
    """The hook, fed as the operator feeds it: the file through ObjectStoragePath, the answer understood."""
    secret = {"login": "bench", "password": "bench-password", "extra": {"community": "bench"}}
    connection = {"conn_type": "liquid_decisions", "host": url, **secret}
    os.environ["AIRFLOW_CONN_LIQUID_DECISIONS_DEFAULT"] = json.dumps(connection)
    os.environ["AIRFLOW_HOME"] = str(file.parent)
    from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook
    from sluice_provider.http.bodies import FilePart
    from sluice_provider.sources.input_files import InputFile

    hook = LiquidDecisionsHook()

    def send(path: Path) -> object:
        source = InputFile(str(path), "file")
        part = FilePart("file", source.filename, "plain/text", source.open, source.size, source.name, {"Expires": "0"})
        call = hook.import_file.aio if awaiting else hook.import_file
        return call(part, JOB["itemType"], JOB["jobName"], JOB["contentType"], merge=False)

    return (lambda path: asyncio.run(send(path))) if awaiting else send  # type: ignore[arg-type]


def ours_awaiting(url: str, file: Path) -> Callable[[Path], object]:
    """The same, as the triggerer would."""
    return ours(url, file, awaiting=True)


WAYS = {
    "requests, as documented": documented,
    "httpx, bare": bare,
    "the hook": ours,
    "the hook, awaiting": ours_awaiting,
}


# --- measuring


def one(name: str, url: str, path: Path) -> None:
    """Upload once in this process, after a small upload that warms everything up."""
    send = WAYS[name](url, path)
    small = path.with_suffix(".small")
    small.write_bytes(bytes(1 << 20))
    send(small)
    before = _memory("VmRSS")
    _forget_peak()
    start = time.perf_counter()
    send(path)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "growth": _memory("VmHWM") - before}))


def _memory(name: str) -> float:
    """MiB, as Linux tells it; elsewhere the peak of the whole process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in io.StringIO(status.read_text()) if line.startswith(name))
    return int(line.split()[1]) / 1024


def _forget_peak() -> None:
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def uploading(size: int = SIZE) -> None:
    """All ways, taking turns."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        path = Path(folder) / "items.csv"
        with path.open("wb") as file:
            file.truncate(size)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = os.fork()
        if server == 0:
            sink(listener)
        try:
            turns = [{name: _measured(name, url, path) for name in WAYS} for _ in range(TURNS)]
        finally:
            os.kill(server, 9)
            os.waitpid(server, 0)
    print(f"\nImporting a file of {size >> 20} MiB into a local sink, median of {TURNS} turns")
    for name in WAYS:
        seconds = statistics.median(turn[name]["seconds"] for turn in turns)
        growth = max(turn[name]["growth"] for turn in turns)
        ratio = statistics.median(turn["httpx, bare"]["seconds"] / turn[name]["seconds"] for turn in turns)
        speed = (size >> 20) / seconds
        print(f"  {name:32} {speed:7.0f} MiB/s   x {ratio:.2f} of bare httpx   {growth:8.1f} MiB peak growth")


def _measured(name: str, url: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, name, url, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        uploading()
