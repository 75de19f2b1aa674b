"""*Test connection* with secrets that were not typed: Airflow fills them in from the stored connection.

Airflow does so unless host or port differ from the stored ones. Other fields decide, too, where a secret is sent or who
can read it on the way (proxy, TLS verification, CA bundle, ...). So stored secrets are used only if all fields are as
stored, except those that are declared harmless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sluice_provider.connection_fields import STANDARD
from sluice_provider.errors import InvalidConnection

if TYPE_CHECKING:
    from sluice_provider.connection_fields import Field
    from sluice_provider.http.client_config import ConnectionFields

POSTED_FORM: ContextVar[Mapping[str, Any] | None] = ContextVar("sluice_posted_form", default=None)
"""The form of the test that this request to the API server is; None in all other processes, and for requests that are
no test. Empty if it could not be read."""

NOT_TYPED = (None, "", "***")
"""What Airflow's form contains for a secret that the user did not type."""


def connection_id(form: Mapping[str, Any]) -> str:
    """Of the stored connection, if there is one.

    :raises InvalidConnection: the form could not be read
    """
    found = form.get("connection_id")
    if not isinstance(found, str):
        raise InvalidConnection("the connection was not tested: its form is too long or cannot be read")
    return found


def check_stored_secrets(
    form: Mapping[str, Any], tested: ConnectionFields, stored: ConnectionFields, declared: Mapping[str, Field]
) -> None:
    """
    :param tested: the form, with stored secrets filled in by Airflow
    :raises InvalidConnection: a stored secret would be used with fields that are not as stored
    """
    typed = {**_extra_of(form), "password": form.get("password")}
    filled_in = [
        field.label
        for name, field in declared.items()
        if field.secret
        and typed.get(name) in NOT_TYPED
        and (secret := _value(tested, field)) is not None
        and secret == _value(stored, field)
    ]
    changed = [
        field.label
        for field in declared.values()
        if not field.secret and not field.harmless and _value(tested, field) != _value(stored, field)
    ]
    if filled_in and changed:
        raise InvalidConnection(
            f"connection {stored.conn_id!r} was not tested, and nothing was sent: {_listed(changed)} not as stored, "
            f"and a stored secret is only used with the stored fields. Type again: {', '.join(filled_in)}"
        )


def _extra_of(form: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        extra = json.loads(form.get("extra") or "{}")
    except (TypeError, ValueError, RecursionError):
        return {}
    return extra if isinstance(extra, dict) else {}


def _value(fields: ConnectionFields, field: Field) -> str | None:
    """As text, so that it does not matter how it was stored; None for its default."""
    value = getattr(fields, field.name) if field.name in STANDARD else fields.extra.get(field.name)
    return None if value in (None, "", field.default) else str(value).strip()


def _listed(labels: list[str]) -> str:
    return f"{', '.join(labels)} {'is' if len(labels) == 1 else 'are'}"
