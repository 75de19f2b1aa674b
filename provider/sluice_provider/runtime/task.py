"""What operators and sensors share: a service, a connection, a hook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from sluice_provider import compat
from sluice_provider.errors import InvalidInput, SluiceError

if TYPE_CHECKING:
    from sluice_provider.hooks.base import SluiceHook

MAX_SECONDS = 10 * 365 * 86400.0
"""The longest timeout, ten years: a longer one fits neither a timedelta nor a database."""

EMPTY_LOCATOR: Mapping[str, str] = MappingProxyType({})


class RemoteTask(BaseOperator):
    """A task that talks to a service.

    :cvar service: a name in `services.py`
    :cvar conn_arg: the argument that holds the connection id, if it is not `<service>_conn_id`
    """

    service: ClassVar[str]
    conn_arg: ClassVar[str] = ""
    ui_color = "#e3f1ee"

    job_url: str = ""
    """URL of the job in the service's web UI."""

    @property
    def conn_id(self) -> str:
        """Airflow connection id."""
        return str(getattr(self, self.conn_arg or f"{self.service}_conn_id"))

    @property
    def locator(self) -> Mapping[str, str]:
        """What the hook needs beside the connection: a region, an environment."""
        return EMPTY_LOCATOR

    @cached_property
    def hook(self) -> SluiceHook:
        from sluice_provider.hooks.base import hook_for

        return hook_for(self.service, self.conn_id, self.locator)


class RemoteJobTask(RemoteTask):
    """A task that waits for a job of a service."""

    poll_interval: float
    timeout: float
    cancel_on_kill: bool = False

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow fails a task whose trigger died or timed out; that says nothing about the job, so it is polled."""
        if next_method == "__fail__":
            next_method, next_kwargs = "execute_after_trigger_death", {"reason": str((next_kwargs or {}).get("error"))}
        return super().resume_execution(next_method, next_kwargs, context)


@contextmanager
def fail_for_good(wanted: bool) -> Iterator[None]:
    """Raise errors that are not retryable as `AirflowFailException`, where there is no retry policy."""
    try:
        yield
    except SluiceError as error:
        if wanted and not error.retryable:
            raise compat.AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise


def seconds(value: float | timedelta, name: str) -> float:
    """At most `MAX_SECONDS`. :raises InvalidInput: for anything but a positive duration"""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
        raise InvalidInput(f"{name} must be a number of seconds above 0, or a timedelta, not {value!r}")
    return min(float(number), MAX_SECONDS)
