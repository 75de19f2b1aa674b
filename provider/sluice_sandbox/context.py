"""What every remote stands on: the settings, the clock, the ids, the faults to come and the requests seen."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from sluice_sandbox.faults import Faults
from sluice_sandbox.ids import Ids
from sluice_sandbox.request_log import RequestLog
from sluice_sandbox.settings import Clock, Settings

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttle:
    """At most `rate_limit` requests in any second of the sandbox's clock."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._passed: deque[float] = deque()

    def wait(self) -> float:
        """Seconds this request would have to wait; 0 lets it pass and counts it."""
        limit, now = self._settings.rate_limit, self._clock.now()
        while self._passed and self._passed[0] <= now - 1:
            self._passed.popleft()
        if limit and len(self._passed) >= limit:
            return self._passed[0] + 1 - now
        if limit:
            self._passed.append(now)
        return 0.0

    def clear(self) -> None:
        """Nobody has passed yet."""
        self._passed.clear()


class Context:
    """Shared by all remotes of one sandbox. Everything on it is touched from one event loop only.

    `source` is the time without what the settings add; with a `seed` every run makes the same ids.
    """

    def __init__(self, source: Callable[[], float] = time.time, seed: int | str | None = None) -> None:
        self.settings = Settings()
        self.clock = Clock(self.settings, source)
        self.ids = Ids(seed)
        self.throttle = Throttle(self.settings, self.clock)
        self.faults = Faults()
        self.request_log = RequestLog()

    def reset(self) -> None:
        """As at the start."""
        self.settings.reset()
        self.throttle.clear()
        self.faults.clear()
        self.request_log.clear()
