"""What an event starts, exactly once: a run of a DAG, or an event of an asset.

The default is a run, started here and now. Its id is made from the event's identity, and a DAG has no two runs of one
id: the database sees to that, whichever process asks, and however often. Plain asset events would not do: Airflow keeps
one note for each asset and DAG that something has happened, made by the first event, and takes the events up to that
moment; in a burst, later ones wait until yet another event comes, or are passed over for good (apache/airflow#54659).

An asset event with a partition key is a safe second way, for DAGs whose schedule is a `PartitionedAssetTimetable` of
the asset: each key gets a run. Airflow takes a key twice, so it is looked for first, with the asset's row locked.

Everything is committed when these functions return. They block: the receiver calls them in a thread.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sluice_provider.errors import SluiceError
from sluice_provider.plugin.webhook_config import Door

STARTED, DUPLICATE, IGNORED = "started", "duplicate", "ignored"


class NotReady(SluiceError):
    """Airflow cannot take the event at the moment: the message says what is missing. The sender is to come back."""


class Done(NamedTuple):
    """What became of an event: `outcome`, and what it started, now or before."""

    outcome: str
    what: str = ""


def act(door: Door, event: Any) -> Done:
    """Start what the connection says for this event, unless it was started before.

    :raises NotReady: nothing was started, and later it may be
    """
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from sluice_provider.compat import AirflowException

    dag_id = door.dag_for(event["event"])
    if not dag_id and not door.asset:
        return Done(IGNORED, f"connection {door.conn_id} names no DAG for {event['event']}")
    for last in (False, True):
        try:
            return _tell(door.asset, event) if door.asset else _run(dag_id, event)
        except SQLAlchemyError as error:
            if last or not isinstance(error, IntegrityError):  # else somebody was faster, which a second try sees
                what = type(getattr(error, "orig", None) or error).__name__  # its text has the values
                raise NotReady(f"Airflow's database did not take it: {what}") from error
        except (AirflowException, ValueError) as error:
            raise NotReady(f"{door.asset or dag_id!r} does not take it: {type(error).__name__}: {error}") from error
    raise AssertionError("the second try returns or raises")


def run_id_of(event: Any) -> str:
    return f"{event['system']}__{event['id']}"


def _run(dag_id: str, event: Any) -> Done:
    """A run of a paused DAG is queued, and begins when the DAG is unpaused."""
    from sluice_provider.compat.server import (
        DagModel,
        DagRunAlreadyExists,
        DagRunTriggeredByType,
        create_session,
        trigger_dag,
    )

    run_id = run_id_of(event)
    try:
        # Not the thread's own session: Airflow looks for the run in that one, and closes it.
        with create_session(scoped=False) as session:
            model = session.get(DagModel, dag_id)
            if model is None or model.is_stale:
                raise NotReady(f"there is no DAG {dag_id!r}, or it was not parsed yet")
            trigger_dag(
                dag_id=dag_id,
                run_id=run_id,
                conf=event,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=f"webhook of {event['conn_id']}",
                session=session,
            )
    except DagRunAlreadyExists:
        return Done(DUPLICATE, f"{dag_id} {run_id}")
    return Done(STARTED, f"{dag_id} {run_id}")


def _tell(asset: str, event: Any) -> Done:
    """Airflow stores URIs in a form of its own, which its own class makes."""
    from airflow.sdk import Asset
    from sqlalchemy import or_, select, update

    from sluice_provider.compat.server import AssetEvent, AssetModel, asset_manager, create_session

    key = event["id"]
    with create_session(scoped=False) as session:
        named = or_(AssetModel.name == asset, AssetModel.uri.in_([asset, Asset(uri=asset).uri]))
        found = session.scalar(select(AssetModel).where(named))
        if found is None:
            raise NotReady(f"there is no asset {asset!r}: no DAG that names it was parsed yet")
    with create_session(scoped=False) as session:
        # A change of nothing locks the row; in SQLite, the database.
        session.execute(update(AssetModel).where(AssetModel.id == found.id).values(updated_at=AssetModel.updated_at))
        told = select(AssetEvent.id).where(AssetEvent.asset_id == found.id, AssetEvent.partition_key == key).limit(1)
        if session.scalar(told) is not None:
            return Done(DUPLICATE, f"{asset} {key}")
        new = asset_manager.register_asset_change(
            asset=found,
            extra=event,
            partition_key=key,
            source_is_api=True,
            session=session,
        )
        session.flush()
        if new is None or not _heard(session, new.id):
            session.rollback()
            raise NotReady(
                f"nobody hears asset {asset!r}: a DAG must have schedule=PartitionedAssetTimetable(assets=...) with it "
                "and must not be paused"
            )
    return Done(STARTED, f"{asset} {key}")


def _heard(session: Any, event_id: int) -> bool:
    """Whether a run was noted down for it. Airflow drops an event that no DAG takes at this moment."""
    from sqlalchemy import select

    from sluice_provider.compat.server import PartitionedAssetKeyLog

    noted = select(PartitionedAssetKeyLog.id).where(PartitionedAssetKeyLog.asset_event_id == event_id).limit(1)
    return session.scalar(noted) is not None
