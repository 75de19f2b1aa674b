"""Amazon FinSpace behind Airflow's own connection of type `aws` (extra `finspace`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sluice_provider.compat.lazy import LazyModule
from sluice_provider.errors import AuthenticationFailed, InvalidConnection, RateLimited, ServerError, Unreachable
from sluice_provider.hooks.base import USER_AGENT, Endpoint, SluiceHook, mask
from sluice_provider.redaction import add, excerpt

if TYPE_CHECKING:
    import httpx
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from botocore.credentials import Credentials, ReadOnlyCredentials

    from sluice_provider.apis.finspace import endpoints as finspace
    from sluice_provider.http.client_config import ClientConfig, ConnectionFields
    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.polling import JobType, Locator
else:
    finspace = LazyModule("sluice_provider.apis.finspace.endpoints")

DEFAULT_HOST = "https://finspace.{region}.amazonaws.com"


class FinSpaceHook(SluiceHook):
    """Amazon FinSpace's API for Managed kdb. Every endpoint blocks when called; `await hook.get_changeset.aio(...)` is
    the same for triggers.

    AWS ended the hosted service on 2026-10-07, and botocore 1.43.117 was the first version without its model. This hook
    needs no model: it sends the documented requests to the `endpoint_url` of the connection.

    The connection is Airflow's own of type `aws`: credentials, region, role assumption, `verify` and `config_kwargs`
    work as in the Amazon provider, whose code reads them; `{"service_config": {"finspace": {"endpoint_url": ...}}}` in
    its extra is the address (default https://finspace.<region>.amazonaws.com). Without such a connection the machine's
    own credentials are used.

    The endpoints follow the service model of API version 2021-03-12, as botocore had it up to 1.43.116, and
    https://docs.aws.amazon.com/finspace/latest/management-api/.

    :param aws_conn_id: Airflow connection id
    :param region_name: overrides the connection's region
    """

    conn_name_attr = "aws_conn_id"
    default_conn_name = "aws_default"
    conn_type = "aws"
    hook_name = "Amazon FinSpace"

    service = "finspace"
    credential_fields = ("login", "password", "region_name", "role_arn")

    def __init__(self, aws_conn_id: str = default_conn_name, region_name: str | None = None) -> None:
        super().__init__(aws_conn_id)
        self.region_name = region_name
        self.variant = (region_name or "",)

    @property
    def job_types(self) -> Mapping[str, JobType]:
        from sluice_provider.apis.finspace.job_types import JOB_TYPES

        return JOB_TYPES

    @classmethod
    def for_job(cls, conn_id: str, locator: Locator) -> FinSpaceHook:
        return cls(conn_id, locator.get("region_name"))

    create_changeset = Endpoint(lambda: finspace.create_changeset)
    get_changeset = Endpoint(lambda: finspace.get_changeset)
    list_changesets = Endpoint(lambda: finspace.list_changesets)
    create_database = Endpoint(lambda: finspace.create_database)
    get_database = Endpoint(lambda: finspace.get_database)
    list_databases = Endpoint(lambda: finspace.list_databases)
    ensure_database = Endpoint(lambda: finspace.ensure_database)
    get_environment = Endpoint(lambda: finspace.get_environment)
    list_environments = Endpoint(lambda: finspace.list_environments)

    def ping(self) -> Flow[str]:
        environments = yield from finspace.list_environments()
        names = ", ".join(str(each.get("name")) for each in environments[:5])
        return f"Connected; {len(environments)} kdb environments are here" + (f": {names}." if names else ".")

    # --- through the Amazon provider

    def client_config(self, fields: ConnectionFields) -> ClientConfig:
        from sluice_provider.http.client_config import ClientConfig, ConnectionFields, base_url

        with _amazon_errors(fields):
            aws = self._aws(fields)
            config = aws.config
            url = aws.conn_config.get_service_endpoint_url(finspace.SERVICE)
            verify = True if aws.verify is None else aws.verify
            host = ConnectionFields(fields.conn_id, url or DEFAULT_HOST.format(region=self._region(aws, fields)))
            proxies = config.proxies or {}
            for proxy in proxies.values():
                _add_login(proxy)
            return ClientConfig(
                base_url=base_url(host, ""),
                verify=bool(verify),
                ca_bundle=verify if isinstance(verify, str) else None,
                proxy=proxies.get("https") or proxies.get("http"),
                connect_timeout=float(config.connect_timeout),
                read_timeout=float(config.read_timeout),
                headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            )

    def auth(self, fields: ConnectionFields, config: ClientConfig) -> httpx.Auth:
        from sluice_provider.http.sigv4 import SigV4

        del config
        with _amazon_errors(fields):
            aws = self._aws(fields)
            return SigV4(AwsCredentials(aws, fields), finspace.SERVICE, self._region(aws, fields))

    def _aws(self, fields: ConnectionFields) -> AwsGenericHook[Any]:
        """The Amazon provider's hook, with the connection that was looked up already."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
        from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper

        aws: AwsGenericHook[Any] = AwsGenericHook(
            aws_conn_id=fields.conn_id, client_type=finspace.SERVICE, region_name=self.region_name
        )
        found = AwsConnectionWrapper.from_connection_metadata(
            fields.conn_id, fields.login, fields.password, dict(fields.extra)
        )
        aws.conn_config = AwsConnectionWrapper(conn=found, region_name=self.region_name or found.region_name)
        return aws

    def _region(self, aws: AwsGenericHook[Any], fields: ConnectionFields) -> str:
        region = aws.region_name or aws.get_session().region_name
        if not region:
            raise fields.invalid(
                "region_name", "is missing, and so it is in the task and in the machine's AWS settings"
            )
        return str(region)

    # --- without a connection: the machine's own credentials

    def fields(self) -> ConnectionFields:
        from sluice_provider.compat import AirflowNotFoundException

        try:
            return super().fields()
        except AirflowNotFoundException:
            self._fields = self._without_connection()
            return self._fields

    async def _look_up_connection(self) -> ConnectionFields:
        from sluice_provider.compat import AirflowNotFoundException

        try:
            return await super()._look_up_connection()
        except AirflowNotFoundException:
            return self._without_connection()

    def _without_connection(self) -> ConnectionFields:
        from sluice_provider.http.client_config import ConnectionFields

        self.log.warning(
            "Amazon FinSpace: there is no connection %r; using this machine's own AWS credentials", self.conn_id
        )
        return ConnectionFields(self.conn_id)


REFRESH_INTERVAL = 60.0
"""Seconds after which credentials that botocore does not refresh are read again."""


class AwsCredentials:
    """Frozen credentials for each request.

    Those of a role are refreshed by botocore before they expire. Others are read again from time to time: a job may
    outlive them, and the file or variable that they come from may have new ones.
    """

    def __init__(self, aws: AwsGenericHook[Any], fields: ConnectionFields) -> None:
        self._aws = aws
        self._fields = fields
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._refresh_at = 0.0
        self._masked = ""

    def __call__(self) -> ReadOnlyCredentials:
        """Blocks.

        :raises SluiceError: there are none; nothing was sent
        """
        with _amazon_errors(self._fields), self._lock:
            frozen = self._credentials().get_frozen_credentials()
            if frozen.secret_key != self._masked:
                for secret in filter(None, (frozen.secret_key, frozen.token)):
                    mask(secret)
                self._masked = frozen.secret_key
            return frozen

    def _credentials(self) -> Credentials:
        from botocore.credentials import RefreshableCredentials

        if not isinstance(self._current, RefreshableCredentials) and time.monotonic() >= self._refresh_at:
            self._current = self._aws.get_session(region_name=self._aws.region_name).get_credentials()
            self._refresh_at = time.monotonic() + REFRESH_INTERVAL
        if self._current is None:
            raise self._fields.invalid("login", "and password are empty, and this machine has no AWS credentials")
        return self._current


def _add_login(proxy: str) -> None:
    """Of a proxy, whose URL may hold user and password here."""
    login = urlsplit(proxy).netloc.rpartition("@")[0]
    for secret in filter(None, (login, unquote(login), login.partition(":")[2], unquote(login.partition(":")[2]))):
        add(secret)


@contextmanager
def _amazon_errors(fields: ConnectionFields) -> Iterator[None]:
    """Errors of the Amazon provider and botocore become this package's."""
    try:
        import botocore.exceptions as aws
        from airflow.providers.amazon.aws.hooks import base_aws  # noqa: F401 - is it there?
    except ImportError:
        raise InvalidConnection(
            "Amazon FinSpace needs the Amazon provider: pip install 'airflow-provider-sluice[finspace]'"
        ) from None
    try:
        yield
    except aws.ClientError as error:
        raise _sts_error(fields, error) from None
    except (aws.HTTPClientError, aws.ConnectionError) as error:
        raise Unreachable(f"getting AWS credentials: {type(error).__name__}", maybe_applied=False) from None
    except (aws.BotoCoreError, NotImplementedError, TypeError, AttributeError) as error:
        raise InvalidConnection(
            f"connection {fields.conn_id!r} cannot be used: {type(error).__name__}: {excerpt(str(error), 300)}"
        ) from None


def _sts_error(fields: ConnectionFields, error: Any) -> Exception:
    """STS rejected the request for credentials, or failed."""
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code, words = str(details.get("Code", "")), excerpt(str(details.get("Message", "")), 300)
    message = f"connection {fields.conn_id!r}: {error.operation_name} returned {status}: {words} ({code})"
    if isinstance(status, int) and status >= 500:
        server_error = ServerError(message, status=status, code=code)
        server_error.maybe_applied = False
        return server_error
    if status == 429 or "Throttl" in code:
        return RateLimited(message, status=status, code=code)
    return AuthenticationFailed(message, status=status, code=code)
