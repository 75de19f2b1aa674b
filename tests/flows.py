"""How tests run flows: on given responses without a client, or over HTTP in a worker's or a triggerer's way. Sleeps
take no time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx

from sluice_provider.apis.kaleidoscope.endpoints import TOKEN_PATH
from sluice_provider.errors import SluiceError
from sluice_provider.http.auth import Bearer, Iap, TokenEndpoint
from sluice_provider.http.client_config import ClientConfig, ConnectionFields
from sluice_provider.http.drivers import adrive, drive
from sluice_provider.http.flow import Flow, Gather, Request, Response, Sleep
from sluice_provider.http.limits import Limits
from sluice_provider.http.network import configure_client
from sluice_provider.http.result_hosts import ResultHosts
from sluice_provider.http.sigv4 import SigV4


def response(status: int = 200, body: Any = None, **headers: str) -> Response:
    """A response; a body that is neither bytes nor a string becomes JSON."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    content = body if isinstance(body, bytes) else body.encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


class FlowResult(NamedTuple):
    """What a flow returned or raised, and what it yielded."""

    value: Any
    error: SluiceError | None
    calls: list[Request]
    pauses: list[float]


def run_flow(
    flow: Flow[Any], *answers: Response | SluiceError, sleep: Callable[[float], object] = lambda _: None
) -> FlowResult:
    """Run a flow on these responses, one for each request."""
    calls: list[Request] = []
    pauses: list[float] = []
    answer: Any = None
    left = list(answers)
    try:
        while True:
            step = flow.throw(answer) if isinstance(answer, SluiceError) else flow.send(answer)
            answer = None
            if isinstance(step, Sleep):
                pauses.append(step.seconds)
                sleep(step.seconds)
            elif isinstance(step, Gather):
                answer = []
                for each in step.flows:  # one after the other
                    result = run_flow(each, *left, sleep=sleep)
                    del left[: len(result.calls)]
                    calls += result.calls
                    pauses += result.pauses
                    answer.append(result.error or result.value)
            else:
                assert isinstance(step, Request)
                calls.append(step)
                answer = left.pop(0)
    except StopIteration as end:
        return FlowResult(end.value, None, calls, pauses)
    except SluiceError as error:
        return FlowResult(None, error, calls, pauses)


class FakeSleep(list[float]):
    """A sleep that takes no time: it records how long, and advances the service's clock."""

    def __init__(self, advance: Callable[[float], object] = lambda _: None) -> None:
        super().__init__()
        self._advance = advance

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self._advance(seconds)

    async def aio(self, seconds: float) -> None:
        self(seconds)


def apply_token(headers: httpx.Headers, token: str, behind_iap: bool) -> None:
    """As Kaleidoscope expects it."""
    headers["X-Kal-Authorization"] = f"Bearer {token}"
    if not behind_iap:
        headers["Authorization"] = f"Bearer {token}"


def client_options(fields: ConnectionFields, iap: Iap | None = None) -> dict[str, Any]:
    """The options that a hook gives to its httpx clients, made without Airflow."""
    place = ClientConfig.from_connection(fields, default_host="", user_agent="tests")
    form = {
        "grant_type": "client_credentials",
        "client_id": fields.login or "",
        "client_secret": fields.password or "",
    }
    return {
        **place.options(),
        "auth": Bearer(TokenEndpoint(place.base_url + TOKEN_PATH, form, place.headers), apply_token, iap),
    }


def finspace_options(sandbox: Any, **keys: str) -> dict[str, Any]:
    """The same for FinSpace; `keys` replace its credentials."""
    from botocore.credentials import ReadOnlyCredentials

    known = {**sandbox.state(records=False)["credentials"]["finspace"], "token": None, **keys}
    frozen = ReadOnlyCredentials(known["access_key"], known["secret_key"], known["token"])
    auth = SigV4(lambda: frozen, "finspace", known["region"])
    return {"base_url": f"{sandbox.url}/finspace/", "auth": auth, "verify": False, "timeout": 30}


def hook_options(hook: Any) -> dict[str, Any]:
    """The options of a hook's clients."""
    fields = hook.fields()
    config = hook.client_config(fields)
    return {**config.options(), "auth": hook.auth(fields, config)}


class FlowRunner:
    """The worker (blocking) or the triggerer (awaiting), with its own client for each flow."""

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        pauses: FakeSleep | None = None,
        result_hosts: str = "",
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.options = dict(options)
        self.result_hosts = result_hosts
        self.limits = limits
        self.pauses = FakeSleep() if pauses is None else pauses

    def __call__(self, flow: Flow[Any]) -> Any:
        if self.name == "worker":
            with httpx.Client(**self.options) as client:
                self._configure(client)
                return drive(flow, client, self.pauses)
        return asyncio.run(self._await(flow))

    async def _await(self, flow: Flow[Any]) -> Any:
        async with httpx.AsyncClient(**self.options) as client:
            self._configure(client)
            return await adrive(flow, client, self.pauses.aio)

    def _configure(self, client: httpx.Client | httpx.AsyncClient) -> None:
        configure_client(client, ResultHosts.parse(self.options["base_url"], self.result_hosts), self.limits)


def logged_requests(sandbox: Any, path: str = "") -> list[dict[str, Any]]:
    """The requests that the sandbox received for a path, oldest first; without one, all but token requests."""
    wanted = (lambda request: path in request["path"]) if path else (lambda request: "oauth" not in request["path"])
    return [request for request in sandbox.requests() if wanted(request)]
