"""`make bench-push`: a push of rows from a CSV file into a service on loopback, beside others that push the same.

    python tools/bench_push.py --rows 1000000 --latency 0.02 0

Each contender runs in a process of its own. Ours is the whole operator: it reads, checks, encodes, spools, submits,
keeps its record (in a store in memory), and waits for all imports. The vendor's client pushes rows that are in memory
already, batch after batch; httpx sends bodies that are ready, eight at a time. The service answers after the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

from psutil import Process  # type: ignore[import-untyped]  # Airflow brings it

Json = dict[str, Any]
BATCH = 1000
IN_FLIGHT = 8
VENDOR = Path(__file__).parent.parent / ".venv" / "vendor" / "kalbio-0.7.0"
FIELDS = ["name", "smiles", "weight", "batch", "vendor", "purity", "location", "comment"]


# --- the rows


def rows(count: int) -> Iterator[list[str]]:
    """Eight fields each; a tenth of them has one that is quoted in CSV, the others an empty one."""
    for number in range(count):
        comment = "checked, twice" if number % 10 == 0 else ""
        where = f"R{number % 13}-S{number % 17}"
        smiles = "CC(=O)OC1=CC=CC=C1C(=O)O"
        weight, purity = f"{number / 7:.4f}", str(number % 100)
        yield [f"C{number:08}", smiles, weight, f"B{number % 997}", "Acme", purity, where, comment]


def write_csv(path: Path, count: int) -> None:
    """The file that ours reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows(rows(count))


def batches(path: Path) -> list[list[dict[str, str]]]:
    """All rows in memory."""
    with path.open(newline="", encoding="utf-8") as file:
        records = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [records[at : at + BATCH] for at in range(0, len(records), BATCH)]


# --- the service


class Service:
    """Accepts every import after the latency, and says that it is complete. It reads bodies and does not parse them."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.imports: list[str] = []
        self.gets = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *headers = head.split("\r\n")
                method, target, _ = line.split(" ")
                length = next((int(each[15:]) for each in headers if each.lower().startswith("content-length:")), 0)
                while length > 0:
                    part = await reader.read(min(length, 1 << 18))
                    if not part:
                        return
                    length -= len(part)
                content = json.dumps(await self._answer(method, target)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str) -> Any:
        path, _, query = target.partition("?")
        if path.endswith("auth/oauth/token"):
            return {"access_token": "t", "refresh_token": "r", "expires_in": 3600}
        if path.endswith("/counts"):
            return {"imports": len(self.imports), "gets": self.gets}
        await asyncio.sleep(self.latency)
        if method == "POST":
            self.imports.append(str(uuid.uuid4()))
            return {"import_id": self.imports[-1]}
        self.gets += 1
        last = path.rpartition("/")[2]
        if last == "imports":
            options = dict(each.split("=") for each in query.split("&"))
            page, size = int(options["page"]), int(options["page_size"])
            complete = options.get("is_complete") != "0"
            return [
                _complete(each) for each in self.imports[::-1][(page - 1) * size : page * size] if complete and page
            ]
        return _complete(last)


def _complete(import_id: str) -> Json:
    return {
        "id": import_id,
        "is_complete": True,
        "import_status": "complete",
        "import_result": {"records_created": BATCH},
    }


async def serve(port: int, latency: float) -> None:
    """Until it is killed."""
    server = await asyncio.start_server(Service(latency).handle, "127.0.0.1", port, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- the contenders: what is timed is the returned function


def ours(url: str, path: Path) -> Callable[[], object]:
    """The operator."""
    connection = {"conn_type": "kaleidoscope", "host": url, "login": "id", "password": "secret"}
    os.environ["AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT"] = json.dumps(connection)
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    task = KaleidoscopePushOperator(task_id="push", records=str(path), key_field_names=["name"], retries=0)
    return lambda: task.execute(context(Store(path.with_suffix(".store"))))


class Store:
    """A task state store in a folder; values are encoded, as Airflow does it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def set(self, key: str, value: Any) -> None:
        """Write one value."""
        (self._folder / f"{key}.new").write_text(json.dumps(value))
        (self._folder / f"{key}.new").replace(self._folder / key)

    def get(self, key: str, default: Any = None) -> Any:
        """Read one value."""
        path = self._folder / key
        return json.loads(path.read_text()) if path.exists() else default


def context(store: Store) -> Any:
    """What a task gets from Airflow, as far as it is needed."""
    ti = SimpleNamespace(
        dag_id="bench",
        run_id="run",
        task_id="push",
        map_index=-1,
        try_number=1,
        max_tries=0,
        xcom_push=lambda **_: None,
        xcom_pull=lambda **_: None,
    )
    return {"ti": ti, "task_state_store": store, "dag_run": SimpleNamespace(clear_number=0)}


def kalbio(url: str, path: Path) -> Callable[[], object]:
    """The vendor's client, version 0.7.0."""
    import typing

    import typing_extensions

    sys.path.insert(0, str(VENDOR))
    if sys.version_info < (3, 12):
        typing.TypedDict = typing_extensions.TypedDict
    from kalbio.client import KaleidoscopeClient  # type: ignore[import-not-found]

    client = KaleidoscopeClient(client_id="id", client_secret="secret", url=url)
    every = batches(path)
    return lambda: [client.imports.push_data(key_field_names=["name"], data=batch) for batch in every]


def httpx(url: str, path: Path) -> Callable[[], object]:
    """No client at all."""
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    bodies = [json.dumps({"key_field_names": ["name"], "data": batch}).encode() for batch in batches(path)]
    client = httpx.Client(base_url=url, headers={"Content-Type": "application/json"})
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(lambda _: client.get("imports/warm"), range(IN_FLIGHT)))
    pool = ThreadPoolExecutor(IN_FLIGHT)
    return lambda: [
        response.json() for response in pool.map(lambda body: client.post("push/imports", content=body), bodies)
    ]


CONTENDERS: dict[str, Callable[[str, Path], Callable[[], object]]] = {"ours": ours, "kalbio": kalbio, "httpx": httpx}


def contend(name: str, url: str, path: Path) -> None:
    """Run one contender in this process, and print what it cost."""
    action = CONTENDERS[name](url, path)
    print("BEGINS", time.process_time(), flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("RESULT", json.dumps({"wall": wall, "cpu": cpu, "mib": grown / 1024}))


# --- the runs


@contextmanager
def service_with(latency: float) -> Iterator[str]:
    """The URL of a new service."""
    command = [sys.executable, __file__, "serve", "0", str(latency)]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        yield f"http://127.0.0.1:{int(service.stdout.readline())}"
    finally:
        service.kill()
        service.wait()


@contextmanager
def contender(name: str, url: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A contender in a new process, which begins at once."""
    command = [sys.executable, __file__, "contend", name, url, str(path)]
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "AIRFLOW_HOME": home, "NO_PROXY": "127.0.0.1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def line_of(process: subprocess.Popen[str], word: str) -> str:
    """What a contender prints after this word."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word)
        seen += line
    raise SystemExit(f"A contender has failed:\n{seen[-3000:]}")


def measure(name: str, path: Path, latency: float) -> Json:
    """What one contender costs with a new service."""
    shutil.rmtree(path.with_suffix(".store"), ignore_errors=True)
    with service_with(latency) as url, contender(name, url, path) as process:
        return dict(json.loads(line_of(process, "RESULT")))


def resuming(path: Path, count: int, latency: float) -> None:
    """Ours is killed when nine tenths of its batches were accepted, and started again."""
    shutil.rmtree(path.with_suffix(".store"), ignore_errors=True)
    with service_with(latency) as url:
        with contender("ours", url, path) as process:
            before = float(line_of(process, "BEGINS"))
            while (first := counts(url))["imports"] < 0.9 * count / BATCH:
                time.sleep(0.02)
            cpu = sum(Process(process.pid).cpu_times()[:2]) - before
        first = counts(url)
        with contender("ours", url, path) as process:
            again = json.loads(line_of(process, "RESULT"))
        pushed, gets = (counts(url)[name] - first[name] for name in ("imports", "gets"))
    print(f"  killed after {first['imports']} of {count // BATCH} batches, CPU {cpu:.2f} s; then started again:")
    print(f"    CPU {again['cpu']:.2f} s   x {again['cpu'] / cpu:.2f}   {pushed} batches pushed, {gets} GETs")


def counts(url: str) -> dict[str, int]:
    """How many requests the service has had."""
    with urlopen(f"{url}/counts") as response:
        return dict(json.load(response))


def pushing(count: int, latencies: list[float], names: list[str]) -> None:
    """All contenders, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_csv(path, count)
        print(
            f"Pushing {count} rows of {len(FIELDS)} fields ({path.stat().st_size / 1e6:.0f} MB of CSV), {BATCH} a batch"
        )
        for latency in latencies:
            print(f"  latency {latency * 1000:.0f} ms, load {os.getloadavg()[0]:.1f}")
            found = {name: measure(name, path, latency) for name in names}
            for name, cost in found.items():
                ratio = f"   x {cost['wall'] / found['ours']['wall']:.2f}" if "ours" in found else ""
                costs = f"{cost['wall']:7.2f} s   CPU {cost['cpu']:6.2f} s   memory +{cost['mib']:.0f} MiB"
                print(f"    {name:8} {costs}{ratio}")
        if "ours" in names:
            resuming(path, count, latencies[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), float(sys.argv[3])))
    elif sys.argv[1:2] == ["contend"]:
        contend(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--rows", type=int, default=200_000)
        parser.add_argument("--latency", type=float, nargs="+", default=[0.02, 0.0], help="seconds")
        parser.add_argument("--only", nargs="+", default=list(CONTENDERS))
        options = parser.parse_args()
        pushing(options.rows, options.latency, options.only)
