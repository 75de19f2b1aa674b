"""What is simulated: jobs of all four services, each with what must hold in the end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from simulation.simulation import Scenario, Simulation
from sluice_provider.apis.liquid_decisions_jobs import CancelJob, ExportJob, ImportJob
from sluice_provider.calls.body import FilePart
from sluice_provider.jobs.lifecycle import Options

POKE, DEFER, SUBMIT_ONLY = Options(), Options(deferrable=True), Options(wait_for_completion=False)

# --- Liquid Decisions

CONTACTS = b"id,name\n1,Ada\n2,Ben\n3,Cy\n4,Di\n"


def _import_spec(unknown: str) -> Any:
    part = FilePart("file", "a.csv", "plain/text", lambda: io.BytesIO(CONTACTS), len(CONTACTS), "file: a.csv")

    def make(_sim: Simulation) -> ImportJob:
        return ImportJob(
            shown="a.csv",
            file_type="plain/text",
            parts=lambda: (part, None),
            fingerprint=lambda: ["a.csv"],
            merge=False,
            header_row=True,
            item_type="Contact",
            job_name="Contacts",
            content_type="csv",
            notification_email=None,
            on_unknown_outcome=unknown,
        )

    return make


def _imported(sim: Simulation) -> Iterator[str]:
    arrivals = {key: count for (kind, key), count in sim.world.items().items() if kind == "Contact" and key in "1234"}
    most = max(arrivals.values(), default=0)
    if most > sim.asked:
        yield f"rows arrived {most} times, and the user asked {sim.asked} times"
    if sim.succeeded and min((arrivals.get(key, 0) for key in "1234"), default=0) < 1:
        yield f"the task succeeded and not all rows arrived: {arrivals}"


def _export_spec(_sim: Simulation) -> ExportJob:
    return ExportJob(
        sql_query=None,
        filters=None,
        prefer_query=False,
        filters_style="json",
        template=lambda: None,
        row_header=None,
        landing=None,
        item_type="Account",
        job_name="Accounts",
        content_type="json",
        notification_email=None,
        on_unknown_outcome="resubmit",
    )


def _exported(sim: Simulation) -> Iterator[str]:
    jobs = {job.id: job for job in sim.world.jobs() if job.kind == "export"}
    if sim.succeeded and not jobs[sim.result["job_id"]].over:  # type: ignore[index]
        yield "the task succeeded and its export is not over"
    if sim.ti.state == "failed" and not sim.ti.user_ended and "outcome is unknown" in " ".join(sim.story):
        yield "an export whose outcome is unknown failed the task"


def _job_is_seen(sim: Simulation) -> Iterator[str]:
    yield from ()


def _cancel_spec(sim: Simulation) -> CancelJob:
    return CancelJob(next(job.id for job in sim.world.jobs() if job.mark == "somebody's"))


LIQUID_DECISIONS = [
    Scenario(
        f"import, {name}",
        "liquid_decisions",
        _import_spec("fail"),
        _imported,
        {"job_seconds": 30.0},
        options=options,
    )
    for name, options in (("in the worker", POKE), ("deferred", DEFER))
] + [
    Scenario(f"export, {name}", "liquid_decisions", _export_spec, _exported, {"job_seconds": 20.0}, options=options)
    for name, options in (("in the worker", POKE), ("deferred", DEFER))
]

SCENARIOS: dict[str, list[Scenario]] = {"liquid_decisions": LIQUID_DECISIONS}
