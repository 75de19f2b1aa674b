"""The sandbox on a real port: in a thread for tests, or in the foreground for people."""

from __future__ import annotations

import json
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sluice_sandbox.app import create_app
from sluice_sandbox.context import Context
from sluice_sandbox.service import Address
from sluice_sandbox.services import MOCK_SERVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from starlette.types import Scope


class Sandbox:
    """All remotes behind one port. `with Sandbox(port=0) as sandbox:` serves from a thread until the block ends."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, settings: Mapping[str, Any] | None = None, bind: bool = True
    ) -> None:
        self._context = Context()
        self._context.settings.change(dict(settings or {}))
        self._remotes = [remote(self._context) for remote in MOCK_SERVICES]
        # Listening from here on: the port is known, and whoever connects early waits in the backlog.
        self._socket = socket.create_server((host, port), backlog=2048) if bind else None
        self._address = Address(_reachable(host), self._socket.getsockname()[1] if self._socket else port)
        app = create_app(self._context, self._remotes, self._hang_up)
        config = uvicorn.Config(
            app,
            http=H11Protocol,  # the one uvicorn always has; `_hang_up` knows it
            ws="none",
            log_config=None,  # whoever runs us has set logging up, or wants none
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="sluice-sandbox", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find it, without a slash at the end."""
        return self._address.url

    def connections(self) -> dict[str, str]:
        """Airflow connections that lead here, as JSON by connection id."""
        return {conn_id: json.dumps(fields) for conn_id, fields in (r.connection(self._address) for r in self._remotes)}

    def serve(self) -> None:
        """Serve here until SIGINT or SIGTERM."""
        # uvicorn raises the signal again once it is done; our handler makes that a clean end instead of a traceback.
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

    def _hang_up(self, scope: Scope) -> None:
        """Close the connection a request came in on, with not a byte of an answer; ASGI has no word for that."""
        for connection in self._server.server_state.connections:
            if isinstance(connection, H11Protocol) and connection.client == scope["client"]:
                connection.transport.close()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
