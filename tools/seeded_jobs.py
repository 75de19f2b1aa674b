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

from sqlalchemy import insert, select
from uuid6 import uuid7

from sluice_provider.jobs.record import HistoryEvent, JobRecord, PhaseRecord, Submission
from sluice_provider.jobs.storage import KEY, RecordStorage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

Json = dict[str, Any]
PROGRESS_KEY = "sluice_progress"
DAY = 86_400.0

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
    events = [HistoryEvent(at, "submitting", f"{noun}, 1 to 500")]
    if ids:
        events.append(HistoryEvent(at + 0.4, "submitted", f"{noun}, 1 to 500: {ids[0]}"))
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
    for n in range(count):
        dag_id, task_id, service, noun, state, task_state, _ = dice.choices(kinds, weights)[0]
        deferred = state == "running" and task_state == "deferred"
        at = now - (dice.random() * 1800 if deferred else 900 + dice.random() * (span - 900))
        short = summary(service, noun, state, at, dice.uniform(20, 840), dice)
        run_id = f"scheduled__{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%S}+00:00_{n}"
        rejected = 200 if n % 20 == 7 else dice.randrange(8)
        add_job(
            session,
            (dag_id, run_id, task_id, -1),
            record_values(short, rejected),
            task_state,
            progress=_progress(short, now, dice) if deferred else None,
        )
        if n % 500 == 499:
            session.flush()
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


def add_job(
    session: Session,
    key: tuple[str, str, str, int],
    written: Mapping[str, Any],
    task_state: str | None,
    *,
    progress: Any = None,
    in_xcom: bool = False,
    text: str | None = None,
) -> None:
    """One task instance with its run and what it wrote, by its keys.

    :param task_state: "gone" for a task that is not there any more
    :param text: the head, instead of the one that was written
    """
    dag_id, run_id, task_id, map_index = key
    head = written.get(KEY)
    short = head["summary"] if isinstance(head, dict) else {}
    submitted, at = _time(short.get("submitted_at", time.time())), _time(short.get("updated_at", time.time()))
    run_number = _run_number(session, dag_id, run_id, submitted)
    where = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    if task_state != "gone":
        _add_task(session, {**where, "state": task_state, "start_date": submitted}, at)
    where["dag_run_id"] = run_number
    if in_xcom:
        _add_xcoms(session, where, written, at)
    else:
        texts = {name: json.dumps(value) for name, value in written.items()}
        _add_states(session, where, texts if text is None else {**texts, KEY: text}, at)
    if progress is not None:
        _add_xcoms(session, where, {PROGRESS_KEY: progress}, _time(progress["updated_at"]))


def _run_number(session: Session, dag_id: str, run_id: str, at: datetime) -> Any:
    """The number of this DAG run, which is made if it is not there."""
    from airflow.models.dagrun import DagRun

    found = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    if (number := session.scalar(found)) is not None:
        return number
    run = {"dag_id": dag_id, "run_id": run_id, "run_type": "scheduled", "run_after": at, "state": "running"}
    session.execute(insert(DagRun).values(**run, clear_number=0, span_status="not_started"))
    return session.scalar(found)


def _add_task(session: Session, task: Json, at: datetime) -> None:
    from airflow.models.taskinstance import TaskInstance

    ended = at if task["state"] in ("success", "failed") else None
    tries = {"try_number": 1, "max_tries": 2, "pool": "default_pool", "pool_slots": 1, "span_status": "not_started"}
    session.execute(insert(TaskInstance).values(**task, **tries, id=uuid7(), end_date=ended))


def _add_xcoms(session: Session, where: Json, written: Mapping[str, Any], at: datetime) -> None:
    from airflow.models.xcom import XComModel

    rows = [{**where, "key": name, "value": value, "timestamp": at} for name, value in written.items()]
    session.execute(insert(XComModel), rows)


def _add_states(session: Session, where: Json, texts: Mapping[str, str], at: datetime) -> None:
    from airflow.models.task_state_store import TaskStateStoreModel

    rows = [{**where, "key": name, "value": text, "updated_at": at} for name, text in texts.items()]
    if rows:
        session.execute(insert(TaskStateStoreModel), rows)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
