"""What all mock services of one sandbox share: settings, clock, ids, rate limit, faults and the request log."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from sluice_sandbox.faults import Faults
from sluice_sandbox.ids import Ids
from sluice_sandbox.request_log import RequestLog
from sluice_sandbox.settings import Clock, Settings
from sluice_sandbox.webhooks import check_webhook_url

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimiter:
    """Accepts at most `rate_limit` requests in any second of the sandbox's clock."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._accepted: deque[float] = deque()

    def retry_after(self) -> float:
        """Seconds until a request would be accepted; 0 accepts and counts this one."""
        limit, now = self._settings.rate_limit, self._clock.now()
        while self._accepted and self._accepted[0] <= now - 1:
            self._accepted.popleft()
        if limit and len(self._accepted) >= limit:
            return self._accepted[0] + 1 - now
        if limit:
            self._accepted.append(now)
        return 0.0

    def clear(self) -> None:
        """Forget the accepted requests."""
        self._accepted.clear()


class Context:
    """Shared by all services of one sandbox; used from one event loop only.

    :param source: the real time in seconds since 1970, to which the setting `clock_advance` is added
    :param seed: makes all ids reproducible; None makes them random
    :param webhooks_anywhere: webhooks may be sent to other hosts than this machine
    """

    def __init__(
        self,
        source: Callable[[], float] = time.time,
        seed: int | str | None = None,
        *,
        webhooks_anywhere: bool = False,
    ) -> None:
        self._webhooks_anywhere = webhooks_anywhere
        self.settings = Settings()
        self.clock = Clock(self.settings, source)
        self.ids = Ids(seed)
        self.rate_limiter = RateLimiter(self.settings, self.clock)
        self.faults = Faults()
        self.request_log = RequestLog()

    def change_settings(self, changes: object) -> None:
        """As `Settings.change`. Whether webhooks may leave this machine is no setting: whoever can reach the control
        API could change it.

        :raises InvalidControlInput: a setting is invalid, or webhooks would be sent to another host
        """
        if isinstance(changes, dict) and not self._webhooks_anywhere:
            check_webhook_url(changes.get("webhook_url"))
        self.settings.change(changes)

    def reset(self) -> None:
        """Restore the initial state."""
        self.settings.reset()
        self.rate_limiter.clear()
        self.faults.clear()
        self.request_log.clear()
