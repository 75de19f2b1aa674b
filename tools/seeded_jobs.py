"""Remote jobs that nobody ran, in an Airflow database: for tests, benchmarks and pictures of the Remote jobs page.

    with Session(engine) as session: seed(session, 10_000)

They are spread over four DAGs, all states, and seven days; what they say is what tasks write.
"""

from __future__ import annotations

import json
import random
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, text
from uuid6 import uuid7

from sluice_provider.jobs.record import HistoryEvent, JobRecord, PhaseRecord, Submission
from sluice_provider.jobs.state_line import state_line
from sluice_provider.jobs.storage import KEY, RecordStorage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

Json = dict[str, Any]
Key = tuple[str, str, str, int]
"""DAG id, run id, task id, map index."""
PROGRESS_KEY = "sluice_progress"
DAY = 86_400.0
BATCH = 2_000
"""Jobs that are inserted at once."""
TASK = {"try_number": 1, "max_tries": 2, "pool": "default_pool", "pool_slots": 1, "span_status": "not_started"}
RUN = {"run_type": "scheduled", "state": "running", "clear_number": 0, "span_status": "not_started"}

# dag, task, service, noun, state of the job, state of the task, weight
JOB_TYPES = (
    ("nightly_compounds", "push", "kaleidoscope", "import", "succeeded", "success", 30),
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "succeeded", "success", 30),
    ("label_new_files", "sync", "kili", "synchronisation", "succeeded", "success", 20),
    ("daily_partition", "commit", "finspace", "changeset", "succeeded", "success", 25),
    ("nightly_compounds", "push", "kaleidoscope", "import", "running", "deferred", 2),
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "running", "deferred", 2),
    ("label_new_files", "sync", "kili", "synchronisation", "running", "deferred", 1),
    ("daily_partition", "commit", "finspace", "changeset", "failed", "failed", 3),
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "failed", "up_for_retry", 1),
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "cancelled", "failed", 1),
    ("nightly_compounds", "push", "kaleidoscope", "import", "running", "failed", 1),
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "outcome_unknown", "failed", 1),
)
STATUSES = {
    "kaleidoscope": {"running": "PROCESSING", "succeeded": "COMPLETE", "failed": "ERROR"},
    "liquid_decisions": {"running": "Running", "succeeded": "Complete", "failed": "Error", "cancelled": "Cancelled"},
    "kili": {"running": "EXECUTING", "succeeded": "SUCCESS", "failed": "FAILURE"},
    "finspace": {"running": "PROCESSING", "succeeded": "COMPLETED", "failed": "FAILED"},
}
REASONS = {
    "failed": "VALIDATION: s3://landing/2026-11-19/trades.csv: column 'venue' is not in the schema of table trades",
    "cancelled": "cancelled by on-call: the file was delivered twice",
    "outcome_unknown": "no response to the request that submits 'Accounts [3f9c02a1be]': check whether Liquid "
    "Decisions has this job, then mark the task success, or clear it to submit again",
}


class Values(dict[str, Any]):
    """Keys and values as the task state store keeps them."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def summary(service: str, noun: str, state: str, at: float, seconds: float, dice: random.Random) -> Json:
    """What a record says of its job in short."""
    total = dice.randrange(500, 90_000)
    done = total if state == "succeeded" else int(total * dice.random())
    known = state != "outcome_unknown"
    over = state in ("succeeded", "failed", "cancelled")
    counts: dict[str, Json] = {
        "kaleidoscope": {"created": done // 2, "updated": done - done // 2, "rejected": done // 400},
        "liquid_decisions": {"recordsProcessed": done},
        "kili": {"added": done // 9, "removed": done // 80},
        "finspace": {},
    }
    linked = service in ("kaleidoscope", "kili")
    return {
        "service": service,
        "conn_id": "aws_default" if service == "finspace" else f"{service}_default",
        "job_type": noun,
        "noun": noun,
        "ids": [str(uuid7())] if known else [],
        "url": f"https://{service}.example.com/jobs/{dice.randrange(10**6)}" if linked else "",
        "state": state,
        "service_status": STATUSES[service].get(state, ""),
        "message": REASONS.get(state, ""),
        "counts": counts[service] if known else {},
        "done": done if known and service != "finspace" else None,
        "total": total if service == "kaleidoscope" else None,
        "submitted_at": at,
        "ended_at": at + seconds if over else None,
        "updated_at": at + seconds if over else at + 5,
    }


def record(short: Mapping[str, Any], rejected: int = 0) -> JobRecord:
    """A whole record around a summary."""
    at, noun, ids = short["submitted_at"], short["noun"], short["ids"]
    events = [HistoryEvent(at, "submitting", f"{noun}, rows 1 to 500")]
    if ids:
        events.append(HistoryEvent(at + 0.4, "submitted", f"{noun}, rows 1 to 500: {ids[0]}"))
    events.append(HistoryEvent(at + 1, "status", f"{''.join(ids[:1])} {short['service_status']}".strip()))
    events += [HistoryEvent(at + 2 + n, "rejected", f"row {n}: mass=heavy: is not a number") for n in range(rejected)]
    events.append(HistoryEvent(at + 2 + rejected, "deferred"))
    if short["ended_at"]:
        events.append(HistoryEvent(short["ended_at"], "ended", f"{short['service_status']} {short['message']}".strip()))
    submissions = tuple(Submission(job_id, 0, 500) for job_id in ids)
    phase = PhaseRecord(noun, at, submissions=submissions, complete=True)
    return JobRecord("f" * 64, (0, 2), "5" * 32, (phase,), summary=short, history=tuple(events))


def record_values(short: Mapping[str, Any], rejected: int = 0) -> Json:
    """What a task writes of such a record, by its keys."""
    written = Values()
    RecordStorage(written).save(record(short, rejected))
    return written


def seed(
    session: Session, count: int, *, dags: Sequence[str] = (), now: float | None = None, span: float = 7 * DAY
) -> None:
    """Fill the database. The same count gives the same jobs."""
    dice = random.Random(count)
    now = now or time.time()
    kinds = [kind for kind in JOB_TYPES if not dags or kind[0] in dags]
    add_dags(session, sorted({kind[0] for kind in kinds}))
    weights = [kind[-1] for kind in kinds]
    jobs = JobRows(session)
    for n in range(count):
        dag_id, task_id, service, noun, state, task_state, _ = dice.choices(kinds, weights)[0]
        deferred = state == "running" and task_state == "deferred"
        at = now - (dice.random() * 1800 if deferred else 900 + dice.random() * (span - 900))
        short = summary(service, noun, state, at, dice.uniform(20, 840), dice)
        run_id = f"scheduled__{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%S}+00:00_{n}"
        rejected = 200 if n % 20 == 7 else dice.randrange(8)
        progress = _progress(short, now, dice) if deferred else None
        jobs.add((dag_id, run_id, task_id, -1), record_values(short, rejected), task_state, progress=progress)
        if n % BATCH == BATCH - 1:
            jobs.insert()
            if n < 2 * BATCH:  # else PostgreSQL checks foreign keys with the plans that it made for empty tables
                session.execute(text("ANALYZE"))
    jobs.insert()
    session.commit()


def _progress(short: Json, now: float, dice: random.Random) -> Json:
    names = ("state", "service_status", "message", "counts", "done", "total", "ids")
    seen = {name: short[name] for name in names}
    if short["total"]:
        seen["done"] = int(short["total"] * dice.random())
    history = [[now - 20, "status", f"{short['ids'][0]} {short['service_status']}"]]
    return {"updated_at": now - dice.random() * 15, **seen, "history": history}


def add_dags(session: Session, dags: Sequence[str]) -> None:
    """DAGs that a user may be allowed to read."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel

    if session.scalar(select(DagBundleModel.name).where(DagBundleModel.name == "seeded")) is None:
        session.execute(insert(DagBundleModel).values(name="seeded", active=True))
    for dag_id in dags:
        dag = {"dag_id": dag_id, "bundle_name": "seeded", "timetable_type": "", "fileloc": "", "relative_fileloc": ""}
        session.execute(
            insert(DagModel).values(
                **dag,
                is_paused=False,
                is_stale=False,
                max_active_tasks=16,
                max_consecutive_failed_dag_runs=0,
                has_task_concurrency_limits=False,
            )
        )
    session.flush()


def add_job(session: Session, key: Key, written: Mapping[str, Any], task_state: str | None, **options: Any) -> None:
    """One task instance with its run and what it wrote, as `JobRows.add` takes it."""
    jobs = JobRows(session)
    jobs.add(key, written, task_state, **options)
    jobs.insert()


class JobRows:
    """Collects the database rows of many jobs, and inserts them table by table."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._runs: dict[tuple[str, str], datetime] = {}
        self._tasks: list[Json] = []
        self._states: list[Json] = []
        self._xcoms: list[Json] = []

    def add(
        self,
        key: Key,
        written: Mapping[str, Any],
        task_state: str | None,
        *,
        progress: Any = None,
        in_xcom: bool = False,
        head_text: str | None = None,
    ) -> None:
        """
        :param written: what the task wrote, by its keys
        :param task_state: "gone" for a task that is not there any more
        :param progress: what its trigger wrote, without the line before it
        :param head_text: the head, instead of the one that was written
        """
        task = dict(zip(("dag_id", "run_id", "task_id", "map_index"), key, strict=True))
        head = written.get(KEY)
        short = head["summary"] if isinstance(head, dict) else {}
        at = _time(short.get("updated_at", time.time()))
        submitted = _time(short["submitted_at"]) if short.get("submitted_at") else at
        self._runs.setdefault(key[:2], submitted)
        if task_state != "gone":
            ended = at if task_state in ("success", "failed") else None
            self._tasks.append({**task, **TASK, "state": task_state, "start_date": submitted, "end_date": ended})
        if in_xcom:
            self._xcoms += ({**task, "key": name, "value": value, "timestamp": at} for name, value in written.items())
        else:
            texts = {name: json.dumps(value) for name, value in written.items()}
            texts |= {KEY: head_text} if head_text is not None else {}
            self._states += ({**task, "key": name, "value": each, "updated_at": at} for name, each in texts.items())
        if progress is not None:
            value = [state_line({"service": short.get("service"), **progress}), progress]
            posted = {"key": PROGRESS_KEY, "value": value, "timestamp": _time(progress["updated_at"])}
            self._xcoms.append({**task, **posted})

    def insert(self) -> None:
        """Insert what was added since the last time."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel

        numbers = self._insert_runs()
        tasks = [{**each, "id": uuid7()} for each in self._tasks]
        for model, rows in ((TaskInstance, tasks), (TaskStateStoreModel, self._states), (XComModel, self._xcoms)):
            if model is not TaskInstance:
                rows = [{**each, "dag_run_id": numbers[each["dag_id"], each["run_id"]]} for each in rows]
            if rows:
                self._session.execute(insert(model), rows)
        self._runs.clear()
        for collected in (self._tasks, self._states, self._xcoms):
            collected.clear()

    def _insert_runs(self) -> dict[tuple[str, str], Any]:
        """The numbers of the runs, which are made if they are not there."""
        from airflow.models.dagrun import DagRun

        runs = {run_id for _, run_id in self._runs}
        query = select(DagRun.dag_id, DagRun.run_id, DagRun.id).where(DagRun.run_id.in_(runs))
        found = {(dag_id, run_id) for dag_id, run_id, _ in self._session.execute(query)}
        new = [
            {"dag_id": dag_id, "run_id": run_id, "run_after": at, **RUN}
            for (dag_id, run_id), at in self._runs.items()
            if (dag_id, run_id) not in found
        ]
        if new:
            self._session.execute(insert(DagRun), new)
        return {(dag_id, run_id): number for dag_id, run_id, number in self._session.execute(query)}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
