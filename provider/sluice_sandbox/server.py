"""The sandbox on a real port: in a thread for tests, or in the foreground."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sluice_sandbox import in_process
from sluice_sandbox.app import create_app
from sluice_sandbox.browser_guard import BrowserGuard
from sluice_sandbox.context import Context
from sluice_sandbox.loopback import is_loopback
from sluice_sandbox.service import Address
from sluice_sandbox.services import MOCK_SERVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from starlette.types import Scope


class Server(uvicorn.Server):
    """Remembers the event loop that it serves in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.loop: Future[asyncio.AbstractEventLoop] = Future()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it is stopped."""
        self.loop.set_result(asyncio.get_running_loop())
        await super().serve(sockets)


class Sandbox:
    """All mock services on one port. `with Sandbox() as sandbox:` serves from a thread until the block ends.

    :param host: address to listen on; one that is not a loopback address lets other machines in, and the control API
        needs no login
    :param port: 0 takes a free port
    :param settings: initial values, as in `POST /control/settings`
    :param webhooks_anywhere: webhooks may be sent to other hosts than this machine
    :param bind: False only computes URLs and connections, without opening the port
    :raises OSError: the port is taken or the address is not available
    :raises InvalidControlInput: a setting is invalid
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        settings: Mapping[str, Any] | None = None,
        webhooks_anywhere: bool = False,
        bind: bool = True,
    ) -> None:
        self._context = Context(webhooks_anywhere=webhooks_anywhere)
        self._context.change_settings(dict(settings or {}))
        self._services = [service(self._context) for service in MOCK_SERVICES]
        # Listening from here on: the port is known, and early clients wait in the backlog.
        self._socket = socket.create_server((host, port), backlog=2048) if bind else None
        if self._socket:
            # Each response is sent in two parts, and TCP would send the second one 40 ms later. Connections inherit it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._address = Address(_client_host(host), self._socket.getsockname()[1] if self._socket else port)
        app = create_app(self._context, self._services, self._close_connection)
        self._app = BrowserGuard(app, loopback_only=is_loopback(host))
        config = uvicorn.Config(
            self._app,
            http=H11Protocol,  # always available in uvicorn, and `_close_connection` depends on it
            ws="none",
            log_config=None,  # logging is up to the calling program
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = Server(config)
        self._thread = threading.Thread(target=self._run, name="sluice-sandbox", daemon=True)

    @property
    def url(self) -> str:
        """Base URL for clients, without a trailing slash."""
        return self._address.url

    def connections(self) -> dict[str, str]:
        """Airflow connections to the services, as JSON by connection id."""
        return {
            conn_id: json.dumps(fields) for conn_id, fields in (s.connection(self._address) for s in self._services)
        }

    def control(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, content: Any = None
    ) -> tuple[int, Any]:
        """A request to the control API, in a tenth of the time that it takes over a connection. For the process whose
        thread serves the sandbox. Blocks.

        :param content: sent as JSON
        :return: the status, and the content of the response
        """
        request = in_process.request(self._app, self._address, method, f"/control/{path}", params, content)
        status, body = asyncio.run_coroutine_threadsafe(request, self._server.loop.result()).result()
        return status, json.loads(body)

    def serve(self) -> None:
        """Serve in the foreground until SIGINT or SIGTERM."""
        # uvicorn raises the signal again when it has stopped; with this handler that is no traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop())
        self._run()

    def __enter__(self) -> Sandbox:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._thread.join()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket] if self._socket else None)

    def _stop(self) -> None:
        self._server.should_exit = True

    def _close_connection(self, scope: Scope) -> None:
        """Close the connection of a request without a response; ASGI has no message for that."""
        for connection in self._server.server_state.connections:
            if isinstance(connection, H11Protocol) and connection.client == scope["client"]:
                connection.transport.close()


def _client_host(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
