"""Run random closed loops by hand: ``python -m tests.sinks.stimulator.random_loops --loops 10000``.

One that fails is run again, alone, by ``--first SEED --loops 1``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.sinks.stimulator.loop_plan import draw
from tests.sinks.stimulator.loop_world import Outcome, World


@dataclass
class Totals:
    """What many loops came to."""

    n_loops: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    trips: Counter[str] = field(default_factory=Counter)
    worst_step_share: float = 0.0
    breaches: list[tuple[int, str]] = field(default_factory=list)
    n_with_doses: int = 0

    def take(self, one: Outcome) -> None:
        """Add a loop."""
        self.n_loops += 1
        self.counts += one.counts
        self.trips += one.trips
        self.worst_step_share = max(self.worst_step_share, one.worst_step_share)
        self.n_with_doses += one.counts["doses"] > 0
        self.breaches += [(one.seed, breach) for breach in one.breaches]

    def table(self) -> str:
        """Return everything as lines of text."""
        head = {
            "loops": self.n_loops,
            "loops with doses": self.n_with_doses,
            "worst step, share of the amplitude": f"{self.worst_step_share:.3g}",
            "breaches": len(self.breaches),
        }
        lines = [f"{name:40} {value}" for name, value in head.items()]
        lines += [f"{name:40} {n}" for name, n in sorted(self.counts.items())]
        lines += [f"trip {name:35} {n}" for name, n in sorted(self.trips.items())]
        return "\n".join(lines)


def run_loops(first: int, n_loops: int, *, is_stopped_early: bool = False, tells: bool = False) -> Totals:
    """Run loops of consecutive seeds."""
    totals = Totals()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + n_loops):
            place = Path(folder) / str(seed)
            place.mkdir()
            totals.take(World(draw(seed), place).run())
            if tells and totals.breaches and totals.breaches[-1][0] == seed:
                print(f"seed {seed}: {totals.breaches[-1][1]}", flush=True)
            if totals.breaches and is_stopped_early:
                break
            if tells and totals.n_loops % 200 == 0:
                print(
                    f"{totals.n_loops} loops, {time.monotonic() - began:.0f} s, {len(totals.breaches)} breaches",
                    flush=True,
                )
    return totals


def main() -> int:
    """Run what the command line asks for; 1 where anything was breached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--stop", action="store_true", help="stop at the first breach")
    given = parser.parse_args()
    totals = run_loops(given.first, given.loops, is_stopped_early=given.stop, tells=True)
    print(totals.table())
    return 1 if totals.breaches else 0


if __name__ == "__main__":
    raise SystemExit(main())
