"""Amazon FinSpace behind Airflow's own connection of type `aws` (extra `finspace`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from sluice_provider.apis.finspace import endpoints as finspace
from sluice_provider.errors import AuthenticationFailed, InvalidConnection, RateLimited, ServerError, Unreachable
from sluice_provider.hooks.base import USER_AGENT, Endpoint, SluiceHook, mask
from sluice_provider.http.client_config import ClientConfig, ConnectionFields, base_url
from sluice_provider.http.flow import Flow
from sluice_provider.http.sigv4 import SigV4
from sluice_provider.jobs.polling import JobType, Locator

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from botocore.credentials import Credentials, ReadOnlyCredentials

DEFAULT_HOST = "https://finspace.{region}.amazonaws.com"


class FinSpaceHook(SluiceHook):
    """The API of Amazon FinSpace's Managed kdb. Every endpoint blocks when called and awaits as `.aio`.

    AWS ended the hosted service on 2026-10-07, and botocore 1.43.117 was the first without its model. This hook needs
    no model: it speaks the documented protocol to whatever `endpoint_url` the connection names.

    The connection is Airflow's own of type `aws`: credentials, region, role assumption, `verify` and `config_kwargs`
    work as in the Amazon provider, whose code does it; `{"service_config": {"finspace": {"endpoint_url": ...}}}` in its
    extra says where (default https://finspace.<region>.amazonaws.com). Without such a connection the machine's own
    credentials count.

    :param aws_conn_id: Airflow connection id
    :param region_name: instead of the connection's
    """

    conn_name_attr = "aws_conn_id"
    default_conn_name = "aws_default"
    conn_type = "aws"
    hook_name = "Amazon FinSpace"

    service = "finspace"
    job_types: ClassVar[dict[str, JobType]] = dict(finspace.JOB_TYPES)

    credential_fields = ("login", "password", "region_name", "role_arn")

    def __init__(self, aws_conn_id: str = default_conn_name, region_name: str | None = None) -> None:
        super().__init__(aws_conn_id)
        self.region_name = region_name
        self.variant = (region_name or "",)

    @classmethod
    def for_job(cls, conn_id: str, locator: Locator) -> FinSpaceHook:
        return cls(conn_id, locator.get("region_name"))

    create_changeset = Endpoint(finspace.create_changeset)
    get_changeset = Endpoint(finspace.get_changeset)
    list_changesets = Endpoint(finspace.list_changesets)
    create_database = Endpoint(finspace.create_database)
    get_database = Endpoint(finspace.get_database)
    list_databases = Endpoint(finspace.list_databases)
    ensure_database = Endpoint(finspace.ensure_database)
    get_environment = Endpoint(finspace.get_environment)
    list_environments = Endpoint(finspace.list_environments)

    def ping(self) -> Flow[str]:
        environments = yield from finspace.list_environments()
        names = ", ".join(str(each.get("name")) for each in environments[:5])
        return f"Connected; {len(environments)} kdb environments are here" + (f": {names}." if names else ".")

    # --- through the Amazon provider

    def client_config(self, fields: ConnectionFields) -> ClientConfig:
        with _amazon(fields):
            aws = self._aws(fields)
            config = aws.config
            url = aws.conn_config.get_service_endpoint_url(finspace.SERVICE)
            verify = True if aws.verify is None else aws.verify
            host = ConnectionFields(fields.conn_id, url or DEFAULT_HOST.format(region=self._region(aws, fields)))
            proxies = config.proxies or {}
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
        del config
        with _amazon(fields):
            aws = self._aws(fields)
            return SigV4(Keys(aws, fields), finspace.SERVICE, self._region(aws, fields))

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

    # --- no connection is a connection: the machine's own credentials

    def fields(self) -> ConnectionFields:
        from sluice_provider.compat import AirflowNotFoundException

        try:
            return super().fields()
        except AirflowNotFoundException:
            self._fields = self._none()
            return self._fields

    async def afields(self) -> ConnectionFields:
        from sluice_provider.compat import AirflowNotFoundException

        try:
            return await super().afields()
        except AirflowNotFoundException:
            return self._none()

    def _none(self) -> ConnectionFields:
        self.log.warning("There is no connection %r; using the machine's own AWS credentials", self.conn_id)
        return ConnectionFields(self.conn_id)


KEPT = 60.0
"""Seconds for which credentials that do not renew themselves are used before they are looked for again."""


class Keys:
    """Frozen credentials for one request after the other.

    Those of a role are renewed by botocore before they end. Others are looked for again from time to time: a wait may
    be longer than they live, and somebody may have put new ones into the file or variable that they come from.
    """

    def __init__(self, aws: AwsGenericHook[Any], fields: ConnectionFields) -> None:
        self._aws = aws
        self._fields = fields
        self._lock = threading.Lock()
        self._kept: Credentials | None = None
        self._good_until = 0.0
        self._masked = ""

    def __call__(self) -> ReadOnlyCredentials:
        """Blocks.

        :raises SluiceError: they cannot be had; nothing was sent
        """
        with _amazon(self._fields), self._lock:
            frozen = self._credentials().get_frozen_credentials()
            if frozen.secret_key != self._masked:
                for secret in filter(None, (frozen.secret_key, frozen.token)):
                    mask(secret)
                self._masked = frozen.secret_key
            return frozen

    def _credentials(self) -> Credentials:
        from botocore.credentials import RefreshableCredentials

        if not isinstance(self._kept, RefreshableCredentials) and time.monotonic() >= self._good_until:
            self._kept = self._aws.get_session(region_name=self._aws.region_name).get_credentials()
            self._good_until = time.monotonic() + KEPT
        if self._kept is None:
            raise self._fields.invalid("login", "and password are empty, and this machine has no AWS credentials")
        return self._kept


@contextmanager
def _amazon(fields: ConnectionFields) -> Iterator[None]:
    """What goes wrong in the Amazon provider and botocore, as this package's errors."""
    try:
        import botocore.exceptions as aws
        from airflow.providers.amazon.aws.hooks import base_aws  # noqa: F401 - is it there?
    except ImportError:
        raise InvalidConnection(
            "FinSpace needs the Amazon provider: pip install 'airflow-provider-sluice[finspace]'"
        ) from None
    try:
        yield
    except aws.ClientError as error:
        raise _refused(fields, error) from None
    except (aws.HTTPClientError, aws.ConnectionError) as error:
        raise Unreachable(f"getting AWS credentials: {type(error).__name__}", maybe_applied=False) from None
    except (aws.BotoCoreError, NotImplementedError, TypeError, AttributeError) as error:
        raise InvalidConnection(
            f"connection {fields.conn_id!r} cannot be used: {type(error).__name__}: {error!s:.300}"
        ) from None


def _refused(fields: ConnectionFields, error: Any) -> Exception:
    """STS said no, or could not."""
    told = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code, words = str(told.get("Code", "")), str(told.get("Message", ""))[:300]
    message = f"connection {fields.conn_id!r}: {error.operation_name} answered {status}: {words} ({code})"
    if isinstance(status, int) and status >= 500:
        broken = ServerError(message, status=status, code=code)
        broken.maybe_applied = False
        return broken
    if status == 429 or "Throttl" in code:
        return RateLimited(message, status=status, code=code)
    return AuthenticationFailed(message, status=status, code=code)
