"""Liquid Decisions behind an Airflow connection of type `liquid_decisions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sluice_provider.compat.lazy import LazyModule
from sluice_provider.connection_fields import LIQUID_DECISIONS
from sluice_provider.errors import ClientError, UnexpectedResponse
from sluice_provider.hooks.base import Endpoint, SluiceHook, mask

if TYPE_CHECKING:
    import httpx

    from sluice_provider.apis.liquid_decisions import endpoints as liquid_decisions
    from sluice_provider.http.client_config import ClientConfig, ConnectionFields
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.polling import JobType
else:
    liquid_decisions = LazyModule("sluice_provider.apis.liquid_decisions.endpoints")


class LiquidDecisionsHook(SluiceHook):
    """Liquid Decisions' batch API. Every endpoint blocks when called; `await hook.get_job.aio(id)` is the same for
    triggers.

    Connection type `liquid_decisions`; its fields are described in docs/connections.md.

    The endpoints follow the wiki of https://github.com/LiquidAnalytics/ld-api-examples ("Obtaining a Token", "Batch
    Import and Export") and the scripts in its folder `python`.

    :param liquid_decisions_conn_id: Airflow connection id
    """

    conn_name_attr = "liquid_decisions_conn_id"
    default_conn_name = "liquid_decisions_default"
    conn_type = "liquid_decisions"
    hook_name = "Liquid Decisions"

    service = "liquid_decisions"
    credential_fields = ("login", "password", "community", "client_id", "client_secret")

    def __init__(self, liquid_decisions_conn_id: str = default_conn_name) -> None:
        super().__init__(liquid_decisions_conn_id)

    @property
    def job_types(self) -> Mapping[str, JobType]:
        from sluice_provider.apis.liquid_decisions.job_types import JOB_TYPES

        return JOB_TYPES

    validate_token = Endpoint(lambda: liquid_decisions.validate_token)
    get_token_info = Endpoint(lambda: liquid_decisions.get_token_info)
    get_job = Endpoint(lambda: liquid_decisions.get_job)
    import_file = Endpoint(lambda: liquid_decisions.import_file)
    export = Endpoint(lambda: liquid_decisions.export)
    cancel_job = Endpoint(lambda: liquid_decisions.cancel_job)
    fetch = Endpoint(lambda: liquid_decisions.fetch)

    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        """The password grant (wiki "Obtaining a Token"); the Java example sends no client id and secret."""
        from sluice_provider.http.auth import Bearer, TokenEndpoint

        community = fields.required(LIQUID_DECISIONS["community"])
        if any(each.isspace() for each in community):
            raise fields.invalid("community", "must not contain spaces: it is part of the token's scope")
        form = {
            "grant_type": "password",
            "username": fields.required(LIQUID_DECISIONS["login"]),
            "password": fields.required(LIQUID_DECISIONS["password"]),
            "scope": f"community={community}",
        }
        client = {name: fields.text(name) for name in ("client_id", "client_secret") if fields.text(name)}
        grant = TokenEndpoint(config.base_url + liquid_decisions.TOKEN_PATH, {**form, **client}, config.headers)
        return Bearer(grant, _apply_token, mask=mask)

    def ping(self) -> Flow[str]:
        yield from liquid_decisions.validate_token()
        try:
            who = yield from liquid_decisions.get_token_info()
        except (ClientError, UnexpectedResponse):
            return "Connected: the token is valid."
        return f"Connected to community {who.get('community')!r} as {who.get('userId')!r}."


def _apply_token(headers: httpx.Headers, token: str, behind_iap: bool) -> None:
    del behind_iap
    headers["Authorization"] = f"Bearer {token}"
