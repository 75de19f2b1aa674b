"""For DAG authors: the events that a run was started for, from wherever they came.

    @task
    def take(**context):
        for event in events(context):
            ...

A run that a webhook started directly has its event in `dag_run.conf`; one that an asset scheduled has those of the
webhook, or of a watcher, in its asset events. An event that was delivered more than once is there once. Two runs may
still get the same event: what counts is the registration's status in the service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from sluice_provider.errors import InvalidInput
from sluice_provider.webhooks.kaleidoscope import RegistrationEvent

__all__ = ["RegistrationEvent", "event", "events"]


def events(context: Any = None) -> list[RegistrationEvent]:
    """All events of this run, oldest first, each once. None of them if it was started for something else.

    :param context: the task's context; if left out, that of the task that is running
    """
    if context is None:
        from airflow.sdk import get_current_context

        context = get_current_context()
    found: dict[str, RegistrationEvent] = {}
    for each in _all(context):
        found.setdefault(each["id"], each)
    return sorted(found.values(), key=lambda each: each["at"])


def event(context: Any = None) -> RegistrationEvent:
    """The only event of this run.

    :raises InvalidInput: there is none, or there are several, as a watcher may report several at once
    """
    found = events(context)
    if len(found) != 1:
        raise InvalidInput(
            f"this run was started for {len(found)} events, not for one: "
            + (
                "use events(context)"
                if found
                else "it is started by a webhook or a watcher, or with an event as its conf"
            )
        )
    return found[0]


def _all(context: Any) -> Iterator[RegistrationEvent]:
    yield from _in(getattr(context["dag_run"], "conf", None))
    told: Mapping[Any, Any] = context.get("triggering_asset_events") or {}
    for asset in told:
        for each in told[asset]:
            yield from _in(each.extra)


def _in(data: Any) -> Iterator[RegistrationEvent]:
    """An event as it is, or a watcher's: below `payload`, and there below `events`."""
    if not isinstance(data, Mapping):
        return
    if isinstance(data.get("payload"), Mapping):
        yield from _in(data["payload"])
    if isinstance(data.get("events"), list):
        for each in data["events"]:
            yield from _in(each)
    if all(isinstance(data.get(name), str) for name in ("service", "conn_id", "event", "operation_id", "id", "at")):
        yield cast("RegistrationEvent", dict(data))
