"""Runs many schedules, and prints the shortest one that breaks an invariant, step by step.

python -m simulation.explore --service kili --schedules 10000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import NamedTuple

from tests.simulation.scenarios import SCENARIOS
from tests.simulation.schedule import Scenario, Simulation
from tests.simulation.world import World


class Failure(NamedTuple):
    """A schedule that breaks an invariant."""

    scenario: Scenario
    seed: int
    decisions: dict[int, str]
    wrong: list[str]
    trace: list[str]

    def __str__(self) -> str:
        happened = ", ".join(self.decisions.values()) or "nothing"
        lines = [f"{self.scenario.service}, {self.scenario.name}, seed {self.seed}: {happened}"]
        lines += [f"  again: make simulate ARGS='--service {self.scenario.service} --seed {self.seed} --schedules 1'"]
        lines += [f"  {line}" for line in self.trace]
        return "\n".join([*lines, *(f"  WRONG: {line}" for line in self.wrong)])


class Found(NamedTuple):
    """What an exploration has found.

    :param schedules: how many were run
    :param faults: how often each thing happened
    """

    schedules: int
    failure: Failure | None
    faults: Counter[str]
    seconds: float


def explore(scenarios: list[Scenario], schedules: int, seed: int = 1) -> Found:
    """Run so many schedules, or until one fails; that one is shrunk."""
    faults: Counter[str] = Counter()
    began = time.process_time()
    with World.clock_in_force():
        for number in range(schedules):
            scenario = scenarios[(seed + number) % len(scenarios)]
            simulation = Simulation(scenario, seed + number)
            wrong = simulation.run()
            faults.update(decision.name for decision in simulation.choices.taken)
            if wrong:
                failure = _shrunk(scenario, seed + number, dict(simulation.choices.taken))
                return Found(number + 1, failure, faults, time.process_time() - began)
    return Found(schedules, None, faults, time.process_time() - began)


def _shrunk(scenario: Scenario, seed: int, decisions: dict[int, str]) -> Failure:
    """With as few decisions as still break something."""
    smaller = True
    while smaller:
        smaller = False
        for position in sorted(decisions, reverse=True):
            fewer = {at: name for at, name in decisions.items() if at != position}
            if Simulation(scenario, seed, fewer).run():
                decisions, smaller = fewer, True
                break
    return replayed(scenario, seed, decisions)


def replayed(scenario: Scenario, seed: int, decisions: dict[int, str]) -> Failure:
    """The same schedule once more, with its trace."""
    simulation = Simulation(scenario, seed, decisions)
    wrong = simulation.run()
    requests = [str(exchange) for exchange in simulation.world.log]
    trace = sorted([*simulation.trace, *requests], key=lambda line: float(line.split()[0]))
    return Failure(scenario, seed, decisions, wrong, trace)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate ARGS=...", description="Explore schedules of failures.")
    parser.add_argument("--service", choices=sorted(SCENARIOS), action="append", help="default: all")
    parser.add_argument("--schedules", type=int, default=10_000, help="for each service (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule (default: 1)")
    args = parser.parse_args()
    failed = False
    for service in args.service or SCENARIOS:
        found = explore(SCENARIOS[service], args.schedules, args.seed)
        rate = found.schedules / found.seconds * 60 if found.seconds else 0
        print(f"{service}: {found.schedules} schedules, {found.seconds:.1f} s of CPU ({rate:,.0f} a minute)")
        print("  " + ", ".join(f"{name} {count}" for name, count in found.faults.most_common()))
        if found.failure is not None:
            failed = True
            print(found.failure)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
