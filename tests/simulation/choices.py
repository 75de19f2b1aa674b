"""The decisions of one schedule: drawn from a seed, recorded, and replayed with some of them left out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Decision(NamedTuple):
    """Something happened that need not have: at the `position`-th opportunity, `name`."""

    position: int
    name: str


class Choices:
    """
    :param seed: of the schedule
    :param replay: what happens, by position; instead of drawing
    """

    def __init__(self, seed: int, replay: Mapping[int, str] | None = None) -> None:
        self._random = random.Random(f"schedule {seed}")
        self._replay = replay
        self._position = 0
        self.taken: list[Decision] = []
        self.left = self._random.choice((1, 1, 2, 2, 3, 4))
        self._rate = self._random.choice((0.02, 0.05, 0.1, 0.2))
        # The first thing goes wrong at some moment of the life of a task, which may be short or long.
        self._first = self._random.randrange(self._random.choice((8, 20, 40, 80)))

    def opportunity(self, names: Sequence[str]) -> str:
        """What happens now: one of these, or "" for nothing."""
        position, self._position = self._position, self._position + 1
        if self._replay is not None:
            name = self._replay.get(position, "")
            name = name if name in names else ""
        elif not self.left or position < self._first or (self.taken and self._random.random() > self._rate):
            return ""
        else:
            name = self._random.choice(names)
        if name:
            self.left -= 1
            self.taken.append(Decision(position, name))
        return name

    def either(self, name: str, *values: float) -> float:
        """One of these values; the same whenever the schedule is replayed."""
        return random.Random(f"{name} {self._position} {values}").choice(values)
