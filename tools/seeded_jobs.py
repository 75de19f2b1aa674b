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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

Json = dict[str, Any]
DAY = 86_400.0

# dag, task, system, noun, state of the job, state of the task, weight
KINDS = (
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
    ("liquid_roundtrip", "import_accounts", "liquid_decisions", "import", "in_doubt", "failed", 1),
)
WORDS = {
    "kaleidoscope": {"running": "PROCESSING", "succeeded": "COMPLETE", "failed": "ERROR"},
    "liquid_decisions": {"running": "Running", "succeeded": "Complete", "failed": "Error", "cancelled": "Cancelled"},
    "kili": {"running": "EXECUTING", "succeeded": "SUCCESS", "failed": "FAILURE"},
    "finspace": {"running": "PROCESSING", "succeeded": "COMPLETED", "failed": "FAILED"},
}
REASONS = {
    "failed": "VALIDATION: s3://landing/2026-11-19/trades.csv: column 'venue' is not in the schema of table trades",
    "cancelled": "cancelled by on-call: the file was delivered twice",
    "in_doubt": "no answer to the request that was to begin 'Accounts [3f9c02a1be]': look for it, then clear the task",
}


def card(system: str, noun: str, state: str, at: float, seconds: float, dice: random.Random) -> Json:
    """What a journal says of its job in short."""
    total = dice.randrange(500, 90_000)
    done = total if state == "succeeded" else int(total * dice.random())
    over = state in ("succeeded", "failed", "cancelled")
    counts: dict[str, Json] = {
        "kaleidoscope": {"created": done // 2, "updated": done - done // 2, "rejected": done // 400},
        "liquid_decisions": {"recordsProcessed": done},
        "kili": {"added": done // 9, "removed": done // 80},
        "finspace": {},
    }
    return {
        "system": system,
        "conn_id": "aws_default" if system == "finspace" else f"{system}_default",
        "kind": noun,
        "noun": noun,
        "ids": [] if state == "in_doubt" else [str(uuid7())],
        "url": f"https://{system}.example.com/jobs/{dice.randrange(10**6)}"
        if system in ("kaleidoscope", "kili")
        else "",
        "state": state,
        "word": WORDS[system].get(state, ""),
        "message": REASONS.get(state, ""),
        "counts": counts[system],
        "done": done if system != "finspace" else None,
        "total": total if system == "kaleidoscope" else None,
        "asked_at": at,
        "ended_at": at + seconds if over else None,
        "rounds": 0,
        "at": at + seconds if over else at + 5,
    }


def journal(short: Mapping[str, Any], lines: int = 0) -> Json:
    """A whole journal around a card."""
    at = short["asked_at"]
    history = [[at, "intent", f"about to ask for the {short['noun']}"]]
    if short["ids"]:
        history.append([at + 0.4, "asked", f"accepted as {short['ids'][0]}"])
    history.append([at + 1, "state", short["word"]])
    history += [[at + 2 + n, "rejected", f"row {n}: mass=heavy: is not a number"] for n in range(lines)]
    history.append([at + 2 + lines, "deferred", "watched by the triggerer"])
    if short["ended_at"]:
        history.append([short["ended_at"], "ended", f"{short['word']} {short['message']}".strip()])
    entry = {"phase": "import", "asked_at": at, "round": 0, "parts": [[*short["ids"][:1], 0, 500]], "intent": None}
    entry |= {"whole": True, "ended": None, "mended": 0, "note": {}, "again": False}
    story = {"version": 1, "fingerprint": "f" * 64, "clearing": [0, 2], "seed": "5" * 64, "entries": [entry]}
    return {"card": dict(short), **story, "history": history}


def seed(
    session: Session, count: int, *, dags: Sequence[str] = (), now: float | None = None, span: float = 7 * DAY
) -> None:
    """Fill the database. The same count gives the same jobs."""
    dice = random.Random(count)
    now = now or time.time()
    kinds = [kind for kind in KINDS if not dags or kind[0] in dags]
    add_dags(session, sorted({kind[0] for kind in kinds}))
    weights = [kind[-1] for kind in kinds]
    for n in range(count):
        dag_id, task_id, system, noun, state, task_state, _ = dice.choices(kinds, weights)[0]
        going_on = state == "running" and task_state == "deferred"
        at = now - (dice.random() * 1800 if going_on else 900 + dice.random() * (span - 900))
        short = card(system, noun, state, at, dice.uniform(20, 840), dice)
        run_id = f"scheduled__{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%dT%H:%M:%S}+00:00_{n}"
        lines = 200 if n % 20 == 7 else dice.randrange(8)
        add_job(
            session,
            (dag_id, run_id, task_id, -1),
            journal(short, lines),
            task_state,
            progress=_progress(short, now, dice) if going_on else None,
        )
        if n % 500 == 499:
            session.flush()
    session.commit()


def _progress(short: Json, now: float, dice: random.Random) -> Json:
    told = {name: short[name] for name in ("state", "word", "message", "counts", "done", "total", "ids")}
    if short["total"]:
        told["done"] = int(short["total"] * dice.random())
    return {"at": now - dice.random() * 15, **told, "history": [[now - 20, "state", short["word"]]]}


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
    story: Any,
    task_state: str | None,
    *,
    progress: Any = None,
    in_xcom: bool = False,
    text: str | None = None,
) -> None:
    """One task instance with its run and journal, as the given text if there is one."""
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    dag_id, run_id, task_id, map_index = key
    short = story["card"] if isinstance(story, dict) and "card" in story else {}
    asked, at = short.get("asked_at", time.time()), short.get("at", time.time())
    run = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    run_number = session.scalar(run)
    if run_number is None:
        values = {"dag_id": dag_id, "run_id": run_id, "run_type": "scheduled", "run_after": _time(asked)}
        session.execute(insert(DagRun).values(**values, state="running", clear_number=0, span_status="not_started"))
        run_number = session.scalar(run)
    mine = {"task_id": task_id, "map_index": map_index}
    if task_state != "gone":
        values = {
            "id": uuid7(),
            "dag_id": dag_id,
            "run_id": run_id,
            **mine,
            "state": task_state,
            "start_date": _time(asked),
        }
        values |= {
            "end_date": _time(at) if task_state in ("success", "failed") else None,
            "try_number": 1,
            "max_tries": 2,
        }
        session.execute(
            insert(TaskInstance).values(**values, pool="default_pool", pool_slots=1, span_status="not_started")
        )
    where = {"dag_run_id": run_number, "dag_id": dag_id, "run_id": run_id, **mine}
    if in_xcom:
        xcom = {"key": "sluice_journal", "value": story, "timestamp": _time(at)}
        session.execute(insert(XComModel).values(**where, **xcom))
    else:
        value = text if text is not None else json.dumps(story)
        store = {"key": "sluice_journal", "value": value, "updated_at": _time(at)}
        session.execute(insert(TaskStateStoreModel).values(**where, **store))
    if progress is not None:
        values = {"key": "sluice_progress", "value": progress, "timestamp": _time(progress["at"])}
        session.execute(insert(XComModel).values(**where, **values))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
