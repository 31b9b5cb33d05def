"""Prometheus families of a run that stimulates; a run that does not has none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from neuroloop.sinks.metrics.run import histogram_family, wall_time
from neuroloop.sinks.stimulator.counting import ACTIONS, OTHER, REFUSAL_RULES
from neuroloop.sinks.stimulator.gate.machine import STATES
from neuroloop.stream.contracts.shared_memory import Counters

_COULOMBS_PER_UC = 1e-6
_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class StimulationMetrics:
    """Turns the counters of the stimulator process into metric families.

    Parameters
    ----------
    counters : Counters
        `neuroloop.sinks.stimulator.counting.stimulation_counters`, among others or alone.
    pipeline, stream : str
        Values of the labels.
    """

    def __init__(self, counters: Counters, *, pipeline: str, stream: str) -> None:
        self._counters = counters
        self._labels = {"pipeline": pipeline, "stream": stream}

    def collect(self) -> Iterator[Metric]:
        """Return the families; moments and limits only where there are any."""
        snapshot = self._counters.snapshot()
        numbers = snapshot.numbers
        yield self._by(
            CounterMetricFamily, "neuroloop_commands", "Commands that the gate gave.", "action",
            ACTIONS, numbers["stim_commands"].tolist(),
        )  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_refusals", "What the gate refused, by the first rule that it broke.",
            "rule", (*REFUSAL_RULES, OTHER), numbers["stim_refusals"].tolist(),
        )  # fmt: skip
        now = int(numbers["stim_state"][0])
        yield self._by(
            GaugeMetricFamily, "neuroloop_stimulator_state", "1 for the state that the gate is in, 0 for the others.",
            "state", STATES, [float(index == now) for index in range(len(STATES))],
        )  # fmt: skip
        yield self._one(
            CounterMetricFamily, "neuroloop_stimulator_faults", "How often the gate went into FAULT.",
            int(numbers["stim_faults"][0]),
        )  # fmt: skip
        yield from self._charges(numbers)
        yield from self._moments(numbers)
        for name, text in (
            ("fsync", "Time until the log of a command was on the disk."),
            ("command", "From the arrival of the newest sample to a dose being handed to the device."),
            ("stop", "From a request to stop to the stop being handed to the device."),
        ):
            yield histogram_family(f"neuroloop_stimulator_{name}_seconds", text, self._labels,
                                  snapshot.histograms[f"stim_{name}_seconds"])  # fmt: skip

    def _charges(self, numbers: dict[str, Any]) -> Iterator[Metric]:
        """Return the charge of the run, of the last 24 h, and their limits."""
        session, day = (float(numbers[f"stim_{one}_uc"][0]) * _COULOMBS_PER_UC for one in ("session", "day"))
        yield self._one(
            CounterMetricFamily, "neuroloop_stimulation_charge_coulombs",
            "Charge granted to the device in this run, all phases of one sign.", session,
        )  # fmt: skip
        yield self._one(
            GaugeMetricFamily, "neuroloop_stimulation_day_charge_coulombs",
            "Charge of the subject's electrode in the last 24 h, all runs together.", day,
        )  # fmt: skip
        for name in ("session", "day"):
            limit = float(numbers[f"stim_{name}_limit_uc"][0]) * _COULOMBS_PER_UC
            if limit > 0:
                yield self._one(
                    GaugeMetricFamily, f"neuroloop_stimulation_{name}_charge_limit_coulombs",
                    "Charge at which nothing more is granted.", limit,
                )  # fmt: skip
        yield self._one(
            GaugeMetricFamily, "neuroloop_stimulation_amplitude_amperes", "Amplitude of the train now, 0 while off.",
            float(numbers["stim_amplitude_ma"][0]) * 1e-3,
        )  # fmt: skip

    def _moments(self, numbers: dict[str, Any]) -> Iterator[Metric]:
        """Return when the stimulator process last turned, and when arming expires (0 while it is not armed)."""
        heartbeat = int(numbers["stim_heartbeat_ns"][0])
        if heartbeat:
            yield self._one(
                GaugeMetricFamily, "neuroloop_stimulator_heartbeat_timestamp_seconds",
                "When the stimulator process last turned its loop, Unix time.", wall_time(heartbeat) or 0.0,
            )  # fmt: skip
        until = int(numbers["stim_armed_until_ns"][0])
        yield self._one(
            GaugeMetricFamily, "neuroloop_stimulator_armed_until_timestamp_seconds",
            "When arming expires, Unix time; 0 while disarmed.", wall_time(until) or 0.0,
        )  # fmt: skip

    def _one(self, family: _Family, name: str, text: str, value: float) -> Metric:
        made = family(name, text, labels=list(self._labels))
        made.add_metric(list(self._labels.values()), value)
        return made

    def _by(
        self, family: _Family, name: str, text: str, label: str, keys: Sequence[str], values: Sequence[float]
    ) -> Metric:
        made = family(name, text, labels=[*self._labels, label])
        for key, value in zip(keys, values, strict=True):
            made.add_metric([*self._labels.values(), key], float(value))
        return made
