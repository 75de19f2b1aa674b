"""What an event starts, exactly once: a DAG run, or an asset event.

The default is a DAG run. Its run id is derived from the event's id, and the database allows no two runs of a DAG with
the same id, whichever process creates them, and however often. Plain asset events would not be safe: Airflow keeps one
queue entry for each asset and DAG, made by the first event, and takes the events up to that moment; in a burst, later
ones wait until yet another event comes, or are skipped for good (apache/airflow#54659).

An asset event with a partition key is a safe alternative, for DAGs with a `PartitionedAssetTimetable` of the asset:
each key gets a run. Airflow accepts a key twice, so existing events are checked first, with the asset's row locked.

Everything is committed when these functions return. They block; the receiver calls them in a thread.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from sluice_provider.errors import SluiceError
from sluice_provider.plugin.webhook_config import WebhookConfig
from sluice_provider.webhooks.kaleidoscope import RegistrationEvent

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Outcome(str, Enum):
    """What became of an event."""

    STARTED = "started"
    DUPLICATE = "duplicate"
    """It had been started before."""
    IGNORED = "ignored"
    """The connection names no DAG for such events."""
    FINISHED = "finished"
    """The registration has its results already, so nothing is left to do."""


class DispatchResult(NamedTuple):
    """
    :param detail: which run or asset event, or why there is none
    """

    outcome: Outcome
    detail: str = ""


class AirflowNotReady(SluiceError):
    """Airflow cannot take the event now, for the reason given. Nothing was started; a later delivery may succeed."""


def dispatch(config: WebhookConfig, event: RegistrationEvent) -> DispatchResult:
    """Start what the connection configures for this event, unless it was started before.

    :raises AirflowNotReady: nothing was started, and a later delivery may succeed
    """
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from sluice_provider.compat import AirflowException

    dag_id = config.dag_for(event["event"])
    if not dag_id and not config.asset:
        return DispatchResult(Outcome.IGNORED, f"connection {config.conn_id!r} has no DAG for {event['event']}")
    for last in (False, True):
        try:
            return _create_asset_event(config.asset, event) if config.asset else _create_run(dag_id, event)
        except SQLAlchemyError as error:
            if last or not isinstance(
                error, IntegrityError
            ):  # else another process was faster; the second pass sees it
                cause = type(getattr(error, "orig", None) or error).__name__  # its text has the values
                raise AirflowNotReady(f"Airflow's database failed: {cause}") from error
        except (AirflowException, ValueError) as error:
            target = f"asset {config.asset!r}" if config.asset else f"DAG {dag_id!r}"
            raise AirflowNotReady(
                f"Airflow rejected the event for {target}: {type(error).__name__}: {error}"
            ) from error
    raise AssertionError("the second pass returns or raises")


def _create_run(dag_id: str, event: RegistrationEvent) -> DispatchResult:
    """A run of a paused DAG is queued, and begins when the DAG is unpaused."""
    from sluice_provider.compat.server import (
        DagModel,
        DagRunAlreadyExists,
        DagRunTriggeredByType,
        create_session,
        trigger_dag,
    )

    run_id = f"{event['service']}__{event['id']}"
    detail = f"run {run_id} of DAG {dag_id}"
    try:
        # Not the thread's own session: Airflow looks for the run in that one, and closes it.
        with create_session(scoped=False) as session:
            model = session.get(DagModel, dag_id)
            if model is None or model.is_stale:
                raise AirflowNotReady(f"DAG {dag_id!r} does not exist or is not parsed yet")
            trigger_dag(
                dag_id=dag_id,
                run_id=run_id,
                conf=dict(event),
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=f"webhook, connection {event['conn_id']}",
                session=session,
            )
    except DagRunAlreadyExists:
        return DispatchResult(Outcome.DUPLICATE, detail)
    return DispatchResult(Outcome.STARTED, detail)


def _create_asset_event(asset: str, event: RegistrationEvent) -> DispatchResult:
    """Airflow stores URIs in a normalized form, which its own class makes."""
    from airflow.sdk import Asset
    from sqlalchemy import or_, select, update

    from sluice_provider.compat.server import AssetEvent, AssetModel, asset_manager, create_session

    key = event["id"]
    detail = f"event of asset {asset} with partition key {key}"
    with create_session(scoped=False) as session:
        named = or_(AssetModel.name == asset, AssetModel.uri.in_([asset, Asset(uri=asset).uri]))
        found = session.scalar(select(AssetModel).where(named))
        if found is None:
            raise AirflowNotReady(f"asset {asset!r} does not exist: no parsed DAG uses it")
    with create_session(scoped=False) as session:
        # An update that changes nothing locks the row; in SQLite, the database.
        session.execute(update(AssetModel).where(AssetModel.id == found.id).values(updated_at=AssetModel.updated_at))
        earlier = select(AssetEvent.id).where(AssetEvent.asset_id == found.id, AssetEvent.partition_key == key).limit(1)
        if session.scalar(earlier) is not None:
            return DispatchResult(Outcome.DUPLICATE, detail)
        new = asset_manager.register_asset_change(
            asset=found,
            extra=dict(event),
            partition_key=key,
            source_is_api=True,
            session=session,
        )
        session.flush()
        if new is None or not _has_consumer(session, new.id):
            session.rollback()
            raise AirflowNotReady(
                f"no DAG is scheduled by partitions of asset {asset!r}: a DAG needs "
                "schedule=PartitionedAssetTimetable(assets=...) with this asset, and must not be paused"
            )
    return DispatchResult(Outcome.STARTED, detail)


def _has_consumer(session: Session, event_id: int) -> bool:
    """Whether a run was queued for the asset event. Airflow drops an event that no DAG consumes at this moment."""
    from sqlalchemy import select

    from sluice_provider.compat.server import PartitionedAssetKeyLog

    queued = select(PartitionedAssetKeyLog.id).where(PartitionedAssetKeyLog.asset_event_id == event_id).limit(1)
    return session.scalar(queued) is not None
