"""How fast the world is: microseconds for a request and for a new World, by service.

python -m tests.simulation.measure [--profile SERVICE]
"""

from __future__ import annotations

import argparse
import cProfile
import io
import logging
import pstats
import sys
import time
from typing import TYPE_CHECKING, Any

from sluice_provider.apis.finspace import change_requests
from sluice_provider.apis.finspace import endpoints as finspace
from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
from sluice_provider.apis.kili import endpoints as kili
from sluice_provider.apis.liquid_decisions import endpoints as liquid_decisions
from sluice_provider.http.bodies import FilePart
from sluice_sandbox.finspace.store import ENVIRONMENT
from sluice_sandbox.kili.store import CONNECTION
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [{"id": str(number), "city": "Ghent"} for number in range(5)]
ITEMS = b'[{"id": "1", "city": "Ghent"}, {"id": "2", "city": "Oslo"}]'
CHANGES = [change_requests.put("s3://sluice-market-data/hdb/", "/")]


def push(world: World) -> None:
    """Two batches, and their imports until they are over."""
    rows = [{"symbol": each["id"], "name": each["city"]} for each in ROWS]
    ids = [world.run(kaleidoscope.push_by_field_name(["symbol"], rows)) for _ in range(2)]
    for _ in range(4):
        world.advance(1.0)
        for each in ids:
            world.run(kaleidoscope.get_import(each))


def synchronise(world: World) -> None:
    """Compute, poll, apply, poll."""
    for change in (kili.compute_differences(CONNECTION), kili.validate_differences(CONNECTION, "ADD")):
        world.run(change)
        for _ in range(4):
            world.advance(1.0)
            world.run(kili.get_connection_status(CONNECTION))


def load(world: World) -> None:
    """Import a file, poll, cancel."""
    file = FilePart("file", "a.json", "application/json", lambda: io.BytesIO(ITEMS), len(ITEMS), "a.json")
    job_id = world.run(liquid_decisions.import_file(file, "Account", "one", "application/json"))
    for _ in range(8):
        world.advance(0.5)
        world.run(liquid_decisions.get_job(job_id))
    world.run(liquid_decisions.cancel_job(job_id))


def change(world: World) -> None:
    """A changeset, polls, and a search for it."""
    made = world.run(finspace.create_changeset(ENVIRONMENT, "markets", CHANGES, client_token="token"))
    for _ in range(7):
        world.advance(0.5)
        world.run(finspace.get_changeset(ENVIRONMENT, "markets", made["changesetId"]))
    world.run(finspace.find_changeset(ENVIRONMENT, "markets", CHANGES, world.now - 60))


SCHEDULES: dict[str, Callable[[World], None]] = {
    "kaleidoscope": push,
    "kili": synchronise,
    "liquid_decisions": load,
    "finspace": change,
}


def schedule(service: str, seed: int) -> World:
    """One of about ten requests, with a read of the ledger."""
    world = World(service, seed)
    SCHEDULES[service](world)
    world.jobs()
    return world


def measure(service: str, runs: int) -> str:
    """Processor time."""
    requests = len(schedule(service, 0).log)
    begun = time.process_time()
    for seed in range(runs):
        World(service, seed)
    fresh = (time.process_time() - begun) / runs
    begun = time.process_time()
    for seed in range(runs):
        schedule(service, seed)
    whole = (time.process_time() - begun) / runs
    each = (whole - fresh) / requests
    return (
        f"{service:18} World {fresh * 1e6:5.0f} us, request {each * 1e6:4.0f} us ({requests} of them, with a token), "
        f"schedule {whole * 1e3:5.2f} ms, {60 / whole:6.0f} a minute"
    )


def main() -> None:
    """All services, or the profile of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=SCHEDULES)
    parser.add_argument("--runs", type=int, default=500)
    options: Any = parser.parse_args()
    logging.disable(logging.INFO)
    with World.clock_in_force():
        if not options.profile:
            for service in SCHEDULES:
                sys.stdout.write(measure(service, options.runs) + "\n")
            return
        schedule(options.profile, 0)
        with cProfile.Profile() as profile:
            for seed in range(options.runs):
                schedule(options.profile, seed)
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
