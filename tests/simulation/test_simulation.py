"""No schedule breaks an invariant: nothing done twice, nothing lost, nothing cancelled that no user ended, no job left
running unseen, every task ends. `make simulate` runs as many schedules as one likes."""

from __future__ import annotations

import pytest

from tests.simulation.explore import explore, replayed
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.schedule import Simulation
from tests.simulation.world import World

SCHEDULES, FEW_SCHEDULES = 1_500, 100
"""For each service: in `make test`, and in `make test-fast` too."""

EVERYTHING = {
    *(
        "dies",
        "dies after",
        "stands still",
        "stopped by the platform",
        "marked failed",
        "marked success",
        "cleared",
        "clock",
    ),
    *("refused", "lost before", "lost after", "late", "502 after", "503 before", "429", "api away", "rolled back"),
    *("triggerer dies", "breaks", "moves", "held twice", "airflow is unreachable", "cleared afterwards"),
}


@pytest.mark.parametrize("service", SCENARIOS)
def test_a_few_schedules_keep_the_invariants(service):
    """Enough to notice in seconds what breaks often."""
    found = explore(SCENARIOS[service], FEW_SCHEDULES, seed=10_000)
    assert found.failure is None, str(found.failure)


@pytest.mark.slow
@pytest.mark.parametrize("service", SCENARIOS)
def test_every_schedule_keeps_the_invariants(service):
    """The seed of one that does not is printed, with its trace; and an exploration in which nothing happens would prove
    nothing."""
    found = explore(SCENARIOS[service], SCHEDULES, seed=20_000)
    assert found.failure is None, str(found.failure)
    assert set(found.faults) >= EVERYTHING


@pytest.mark.slow
@pytest.mark.parametrize("service", SCENARIOS)
def test_a_schedule_can_be_repeated(service):
    """The same seed, and the same decisions, make the same trace."""
    scenario = SCENARIOS[service][-1]
    with World.clock_in_force():
        for seed in range(30):
            first = Simulation(scenario, seed)
            first.run()
            again = replayed(scenario, seed, dict(first.choices.taken))
            assert set(first.trace) <= set(again.trace)
            assert len(first.world.log) == len(again.trace) - len(first.trace)
