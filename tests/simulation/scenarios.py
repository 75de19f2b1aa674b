"""What is simulated: jobs of all four services, each with what must hold in the end."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sluice_provider.apis.checked_rows import CheckedRows
from sluice_provider.apis.finspace.change_requests import delete, put
from sluice_provider.apis.finspace.changeset_job import ChangesetJob
from sluice_provider.apis.kaleidoscope import drafts as kaleidoscope_drafts
from sluice_provider.apis.kaleidoscope.drafts_job import StageDraftsJob
from sluice_provider.apis.kaleidoscope.push_job import PushJob, Target
from sluice_provider.apis.kaleidoscope.registration_jobs import RegisterFileJob, SubmitDraftsJob
from sluice_provider.apis.kaleidoscope.rows import FieldCheck
from sluice_provider.apis.kili import endpoints as kili
from sluice_provider.apis.kili.add_connection_job import AddConnectionJob
from sluice_provider.apis.kili.model import ConnectionSettings
from sluice_provider.apis.kili.sync_job import SyncJob
from sluice_provider.apis.liquid_decisions.batch_jobs import BatchOptions, ExportJob, ImportContent, ImportJob
from sluice_provider.http.bodies import FilePart
from sluice_provider.jobs.lifecycle import Options
from sluice_provider.sources.records import ListSource
from sluice_sandbox.finspace.store import ENVIRONMENT
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.kaleidoscope.workspace import FIRST_FILE
from sluice_sandbox.kili.store import CONNECTION, INTEGRATION, PROJECT
from tests.simulation.schedule import Scenario, Simulation
from tests.simulation.world import World

POKE, DEFER, SUBMIT_ONLY = Options(), Options(deferrable=True), Options(wait_for_completion=False)

WAITS = (("in the worker", POKE, 1.0), ("deferred", DEFER, 4.0), ("over before it defers", DEFER, 1.0))
"""How a task waits, and how many times as long its jobs take: a job that ends within seconds is not deferred."""

# --- Liquid Decisions

CONTACTS = b"id,name\n1,Ada\n2,Ben\n3,Cy\n4,Di\n"


def _import_spec(unknown: str) -> Any:
    part = FilePart("file", "a.csv", "plain/text", lambda: io.BytesIO(CONTACTS), len(CONTACTS), "file: a.csv")

    def make(_sim: Simulation) -> ImportJob:
        return ImportJob(
            options=BatchOptions("Contact", "Contacts", "csv", None, unknown),
            content=ImportContent("a.csv", "plain/text", True, lambda: (part, None), lambda: ["a.csv"]),
            merge=False,
        )

    return make


def _imported(sim: Simulation) -> Iterator[str]:
    arrivals = {key: count for (kind, key), count in sim.world.items().items() if kind == "Contact" and key in "1234"}
    most = max(arrivals.values(), default=0)
    if most > sim.requested:
        yield f"rows arrived {most} times, and the user requested {sim.requested} times"
    if sim.succeeded and min((arrivals.get(key, 0) for key in "1234"), default=0) < 1:
        yield f"the task succeeded and not all rows arrived: {arrivals}"


def _export_spec(_sim: Simulation) -> ExportJob:
    return ExportJob(
        options=BatchOptions("Account", "Accounts", "json", None, "resubmit"),
        sql_query=None,
        filters=None,
        prefer_query=False,
        filters_style="json",
        template=lambda: None,
        row_header=None,
        result_file=None,
    )


def _exported(sim: Simulation) -> Iterator[str]:
    jobs = {job.id: job for job in sim.world.jobs() if job.kind == "export"}
    if sim.succeeded and not jobs[sim.result["job_id"]].over:  # type: ignore[index]
        yield "the task succeeded and its export is not over"


LIQUID_DECISIONS = (
    [
        Scenario(
            f"import, {name}",
            "liquid_decisions",
            _import_spec("fail"),
            _imported,
            {"job_seconds": 15.0},
            options=options,
            outcome_can_be_found=False,
        )
        for name, options in (("in the worker", POKE), ("deferred", DEFER))
    ]
    + [
        Scenario(
            f"import, a person answers, {name}",
            "liquid_decisions",
            _import_spec("ask"),
            _imported,
            {"job_seconds": 15.0},
            options=options._replace(request_input=True),
        )
        for name, options in (("in the worker", POKE), ("deferred", DEFER))
    ]
    + [
        Scenario(f"export, {name}", "liquid_decisions", _export_spec, _exported, {"job_seconds": 8.0}, options=options)
        for name, options in (("in the worker", POKE), ("deferred", DEFER))
    ]
)

# --- Kili

ADDED = ("cats/one.png", "cats/two.png")
SETTINGS = ConnectionSettings(prefix="cats/")


def _add_spec(_sim: Simulation) -> AddConnectionJob:
    return AddConnectionJob(
        project_id=PROJECT,
        integration_id=INTEGRATION,
        settings=SETTINGS,
        if_exists="reuse",
        compute_differences=True,
        mask_secret=lambda _secret: None,
    )


def _one_connection(sim: Simulation) -> Iterator[str]:
    ours = [each for each in sim.world.connections() if each.id != CONNECTION]
    if len(ours) > 1:
        yield f"there are {len(ours)} connections of the same kind"
    if sim.succeeded and [each.id for each in ours] != [sim.result["connection_id"]]:  # type: ignore[index]
        yield "the task succeeded and its connection is not there"
    if sim.succeeded and ours and ours[0].last_check is None:
        yield "the task succeeded and the differences were not computed"


def _sync_spec(sim: Simulation) -> SyncJob:
    return SyncJob(
        connection_id=sim.world.connections()[-1].id,
        project_id=None,
        integration_id=None,
        remove=False,
        dry_run=False,
        max_removed=None,
        verify=False,
        mask_secret=lambda _secret: None,
    )


def _synchronised(sim: Simulation) -> Iterator[str]:
    connection = sim.world.connections()[-1]
    if len(set(connection.assets)) < len(connection.assets):
        yield f"assets were added twice: {connection.assets}"
    if sim.succeeded and set(connection.assets) != set(ADDED):
        yield f"the task succeeded and the assets are {connection.assets}"


def _with_connection(world: World) -> None:
    world.run(kili.add_connection(PROJECT, INTEGRATION, prefix="cats/"))


KILI = [
    Scenario(f"{name}, {how}", "kili", spec, check, {"job_seconds": 2.0 * slower}, prepare, options=options)
    for name, spec, check, prepare in (
        ("add", _add_spec, _one_connection, lambda _world: None),
        ("synchronise", _sync_spec, _synchronised, _with_connection),
    )
    for how, options, slower in WAITS
]

# --- FinSpace

CHANGES = [
    put("s3://sluice-market-data/hdb/2026.03.01/", "/2026.03.01/"),
    put("s3://sluice-market-data/hdb/sym", "/"),
    delete("/2026.03.01/"),
]


def _changes_spec(_sim: Simulation) -> ChangesetJob:
    return ChangesetJob(
        environment_id=ENVIRONMENT,
        database_name="markets",
        change_requests=CHANGES,
        client_token=None,
        max_requests=2,
        ensure_database=False,
        region_name=None,
    )


def _changed(sim: Simulation) -> Iterator[str]:
    made = [job for job in sim.world.jobs() if job.state != "FAILED"]
    for content, count in Counter(job.content for job in made).items():
        if count > sim.requested:
            yield f"{count} changesets of {content}, and the user requested {sim.requested} times"
    if sim.succeeded:
        if [job.content[0][0] for job in made][-2:] != ["PUT", "DELETE"]:
            yield f"the task succeeded and its changesets are {[job.content for job in made]}"
        if {path for _, path in sim.world.files()} != {"/sym"}:
            yield f"the task succeeded and the files are {sorted(sim.world.files())}"
    starts = [(job.started_at, job.content) for job in made]
    if starts != sorted(starts, key=lambda each: each[0]):
        yield "changesets overtook each other"


FINSPACE = [
    Scenario(f"changesets, {how}", "finspace", _changes_spec, _changed, {"job_seconds": 3.0 * slower}, options=options)
    for how, options, slower in WAITS
]

# --- Kaleidoscope

ROWS = [{"symbol": symbol, "name": f"Element {symbol}"} for symbol in ("H", "He", "Li", "Be", "B", "C")]
COMPOUNDS = [{"name": name} for name in ("Aspirin", "Ibuprofen", "Paracetamol")]


def _push_spec(_sim: Simulation) -> PushJob:
    target = Target(["symbol"], None, None, None, None, None, None, None, None)
    return PushJob(ROWS, target, on_rejected_rows="fail", batch_size=2, max_bytes=900_000)


class RowsOfAFile(CheckedRows):
    """A retry can tell that the file has not changed, and leaves out what was submitted before."""

    def _source(self) -> ListSource:
        source = ListSource(self._records)
        source.sha256, source.recognisable = "of the content", True
        return source


def _push_file_spec(sim: Simulation) -> PushJob:
    job = _push_spec(sim)
    job.rows = RowsOfAFile(ROWS, FieldCheck(["symbol"]), job.max_bytes)
    return job


class ChangingRows(list[dict[str, str]]):
    """A source that has other rows as soon as it was read once. A new process starts from the beginning."""

    def __iter__(self) -> Iterator[dict[str, str]]:
        rows = [self[number] for number in range(len(self))]
        self[:] = [{"symbol": f"{row['symbol']}*", "name": row["name"]} for row in rows]
        return iter(rows)


def _changing_push_spec(_sim: Simulation) -> PushJob:
    target = Target(["symbol"], None, None, None, None, None, None, None, None)
    return PushJob(ChangingRows(ROWS), target, on_rejected_rows="fail", batch_size=2, max_bytes=900_000)


def _pushed(sim: Simulation) -> Iterator[str]:
    there = {key[0] for key in sim.world.pushes()}
    if not there <= {row["symbol"] for row in ROWS}:
        yield f"rows arrived that were not checked: {sorted(there)}"
    if sim.succeeded and not {row["symbol"] for row in ROWS} <= there:
        yield f"the task succeeded and only {sorted(there)} arrived"
    if sim.succeeded and sum((sim.result or {})[name] for name in ("created", "updated", "skipped")) != len(ROWS):
        yield f"the result does not count each row once: {sim.result}"


def _stage_spec(_sim: Simulation) -> StageDraftsJob:
    return StageDraftsJob(
        COMPOUNDS,
        operation_id=OPERATION,
        key_field_names=["name"],
        replace_existing=False,
        on_rejected_rows="fail",
        batch_size=2,
        max_bytes=900_000,
    )


def _staged(sim: Simulation) -> Iterator[str]:
    for key, count in Counter(draft.key for draft in sim.world.drafts()).items():
        if count > sim.requested:
            yield f"{count} drafts of {key}, and the user requested {sim.requested} times"
    if sim.succeeded and len({draft.key for draft in sim.world.drafts()}) < len(COMPOUNDS):
        yield f"the task succeeded and the drafts are {sim.world.drafts()}"


def _submit_spec(_sim: Simulation) -> SubmitDraftsJob:
    return SubmitDraftsJob(operation_id=OPERATION, record_ids=None, validate_only=True, on_rejected_rows="warn")


def _with_drafts(world: World) -> None:
    import_id = world.run(kaleidoscope_drafts.create_draft_import(OPERATION, COMPOUNDS))
    staging = world.run(kaleidoscope_drafts.get_staging(OPERATION))
    world.run(kaleidoscope_drafts.run_draft_import(import_id, ["name"], ["name"], staging))
    world.advance(60.0)


def _submitted(sim: Simulation) -> Iterator[str]:
    if len(sim.world.registrations()) > sim.requested:
        yield f"{len(sim.world.registrations())} submissions, and the user requested {sim.requested} times"
    if sim.succeeded and sim.world.registrations()[-1].id != sim.result["submission_id"]:  # type: ignore[index]
        yield f"the task succeeded and the submissions are {sim.world.registrations()}"


def _register_spec(_sim: Simulation) -> RegisterFileJob:
    return RegisterFileJob(operation_id=OPERATION, file_id=FIRST_FILE, if_registered="reuse")


def _registered(sim: Simulation) -> Iterator[str]:
    if len(sim.world.registrations()) > 1:
        yield f"the file was registered {len(sim.world.registrations())} times"
    if sim.succeeded and not sim.world.registrations():
        yield "the task succeeded and the file is not registered"


PUSHES = {
    "push": (_push_spec, {}),
    "push, an import fails": (_push_spec, {"fail_imports": 1}),
    "push, the source changes": (_changing_push_spec, {}),
    "push, from a file": (_push_file_spec, {}),
    "push, from a file, an import fails": (_push_file_spec, {"fail_imports": 1}),
}

KALEIDOSCOPE = [
    Scenario(
        f"{name}, {how}",
        "kaleidoscope",
        spec,
        _pushed,
        {"job_seconds": 4.0 * slower, **settings},
        options=options,
        idempotent=True,
    )
    for name, (spec, settings) in PUSHES.items()
    for how, options, slower in WAITS
] + [
    Scenario(
        f"{name}, {how}",
        "kaleidoscope",
        spec,
        check,
        {"job_seconds": 4.0 * slower, "registrar": "completes"},
        prepare,
        options=options,
    )
    for name, spec, check, prepare in (
        ("stage drafts", _stage_spec, _staged, lambda _world: None),
        ("submit drafts", _submit_spec, _submitted, _with_drafts),
        ("register a file", _register_spec, _registered, lambda _world: None),
    )
    for how, options, slower in WAITS
]

SCENARIOS: dict[str, list[Scenario]] = {
    "kaleidoscope": KALEIDOSCOPE,
    "kili": KILI,
    "liquid_decisions": LIQUID_DECISIONS,
    "finspace": FINSPACE,
}
