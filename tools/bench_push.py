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
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
                    length -= len(await reader.read(min(length, 1 << 18)))
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
            return [_complete(each) for each in self.imports[(page - 1) * size : page * size] if complete and page]
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
    return lambda: task.execute(context(Store()))


class Store(dict[str, Any]):
    """A task state store in memory; values are encoded, as Airflow does it."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.dumps(value)

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("RESULT", json.dumps({"wall": wall, "cpu": cpu, "mib": grown / 1024}))


# --- the runs


def measure(name: str, path: Path, latency: float) -> Json:
    """One contender with a service of its own."""
    service = subprocess.Popen(
        [sys.executable, __file__, "serve", "0", str(latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{int(service.stdout.readline())}"
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [sys.executable, __file__, "contend", name, url, str(path)],
                capture_output=True,
                text=True,
                env={**os.environ, "AIRFLOW_HOME": home, "NO_PROXY": "127.0.0.1"},
                check=False,
            )
    finally:
        service.kill()
        service.wait()
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not found:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return dict(json.loads(found[-1].removeprefix("RESULT")))


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
