"""For DAG authors: the events that a run was started for, whether by webhook or by polling.

    @task
    def take(**context):
        for event in events(context):
            ...

A run that a webhook started directly has its event in `dag_run.conf`; a run that an asset scheduled has the events of
the webhook, or of a watcher, in its asset events. An event that was delivered more than once is returned once. Two runs
may still get the same event, so check the registration's status in the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from sluice_provider.errors import InvalidInput
from sluice_provider.webhooks.kaleidoscope import RegistrationEvent

__all__ = ["RegistrationEvent", "event", "events"]

REQUIRED_FIELDS = ("service", "conn_id", "event", "operation_id", "id", "received_at")


def events(context: Any = None) -> list[RegistrationEvent]:
    """All events of this run, oldest first, without duplicates. Empty if it was started for another reason.

    :param context: the task's context; default: that of the running task
    """
    if context is None:
        from airflow.sdk import get_current_context

        context = get_current_context()
    found: dict[str, RegistrationEvent] = {}
    for each in _events_of_run(context):
        found.setdefault(each["id"], each)
    return sorted(found.values(), key=lambda each: each["received_at"])


def event(context: Any = None) -> RegistrationEvent:
    """The only event of this run.

    :raises InvalidInput: there is none, or there are several, as a watcher may report several at once
    """
    found = events(context)
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(
            f"this run was started for {len(found)} events; use events(context) and process each of them"
        )
    raise InvalidInput(
        "this run has no event: start it by a webhook or a watcher, or trigger the DAG with an event as its conf"
    )


def _events_of_run(context: Any) -> Iterator[RegistrationEvent]:
    yield from _events_in(getattr(context["dag_run"], "conf", None))
    asset_events: Mapping[Any, Any] = context.get("triggering_asset_events") or {}
    for asset in asset_events:
        for each in asset_events[asset]:
            yield from _events_in(each.extra)


def _events_in(data: Any) -> Iterator[RegistrationEvent]:
    """An event itself, or a watcher's, which are in a list `events` below `payload`."""
    if not isinstance(data, Mapping):
        return
    if isinstance(data.get("payload"), Mapping):
        yield from _events_in(data["payload"])
    if isinstance(data.get("events"), list):
        for each in data["events"]:
            yield from _events_in(each)
    if all(isinstance(data.get(name), str) for name in REQUIRED_FIELDS):
        yield cast("RegistrationEvent", dict(data))
