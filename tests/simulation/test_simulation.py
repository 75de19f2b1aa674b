"""No schedule breaks an invariant: nothing done twice, nothing lost, nothing cancelled that no user ended, no job left
running unseen, every task ends. `make simulate` runs as many schedules as one likes."""

from __future__ import annotations

import pytest

from simulation.explore import explore, replayed
from simulation.scenarios import SCENARIOS
from simulation.schedule import Simulation
from simulation.world import World

SCHEDULES = 800
"""For each service. Each run has other ones, and the same ones again with the same seed."""


@pytest.mark.parametrize("service", SCENARIOS)
def test_every_schedule_keeps_the_invariants(service):
    """The seed of a schedule that does not is printed, with its story."""
    found = explore(SCENARIOS[service], SCHEDULES, seed=20_000)
    assert found.failure is None, str(found.failure)
    assert found.schedules == SCHEDULES


@pytest.mark.parametrize("service", SCENARIOS)
def test_everything_that_may_go_wrong_does(service):
    """An exploration in which nothing happens would prove nothing."""
    found = explore(SCENARIOS[service], 400, seed=1)
    seen = {"dies", "dies after", "stands still", "told to stop", "marked failed", "marked success", "cleared"}
    seen |= {"refused", "lost before", "lost after", "late", "502 after", "503 before", "429", "api away"}
    seen |= {"triggerer dies", "breaks", "moves", "held twice", "rolled back", "airflow cannot be asked", "clock"}
    assert seen <= set(found.faults)


@pytest.mark.parametrize("service", SCENARIOS)
def test_a_schedule_can_be_repeated(service):
    """The same seed, and the same decisions, make the same story."""
    scenario = SCENARIOS[service][-1]
    with World.clock_in_force():
        for seed in range(30):
            first = Simulation(scenario, seed)
            first.run()
            again = replayed(scenario, seed, dict(first.choices.taken))
            assert set(first.story) <= set(again.story)
            assert len(first.world.log) == len(again.story) - len(first.story)
