"""What the monitoring outlets offer, as a foreign consumer sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pylsl
import pytest

from neuroloop.sinks.lsl import LslOutlets
from neuroloop.sinks.run_folder.folder import event_line
from neuroloop.stream.contracts.chunks import StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.contracts.protocols import EventSink, Tap
from neuroloop.stream.sources.lsl.description import describe
from tests.integration.lsl import DEADLINE_S, find, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")

PROBABILITIES = StreamInfo("cap", "EEG", "s", 4.0, ("rest", "move"), ("probability",) * 2, ("",) * 2)
FILTERED = StreamInfo("cap", "EEG", "s", 250.0, ("C3", "C4", "Cz"), ("EEG",) * 3, ("uV",) * 3)


def make_event(sample: int, *, kind: Any = "state", **values: Any) -> Event:
    return Event(kind, "cap", sample, 0, sample / 250.0, 0.1, values or {"state": "rest"})


@contextmanager
def offering(pipeline: str, **options: Any) -> Iterator[LslOutlets]:
    outlets = LslOutlets(
        pipeline,
        stream="cap",
        taps={"classifier": PROBABILITIES, "filter": FILTERED},
        classifier="classifier",
        plan_hash="0f0f",
        **options,
    )
    try:
        yield outlets
    finally:
        outlets.close()


def listen(name: str) -> pylsl.StreamInlet:
    inlet = pylsl.StreamInlet(find(name).handle, recover=False)
    inlet.open_stream(DEADLINE_S)
    return inlet


def subscribed(outlets: LslOutlets, name: str) -> None:
    """Wait until the sender knows of its consumer: what it sends before goes nowhere."""
    outlet = outlets._states if name == "states" else outlets._outlets[name]
    wait_until(outlet.have_consumers, f"consumer of {name}")


def pull(inlet: pylsl.StreamInlet, n: int) -> tuple[list[Any], list[float]]:
    values: list[Any] = []
    stamps: list[float] = []

    def enough() -> bool:
        more_values, more_stamps = inlet.pull_chunk(timeout=0.2, min_samples=1)
        values.extend(more_values)
        stamps.extend(more_stamps)
        return len(stamps) >= n

    wait_until(enough, f"{n} samples")
    return values, stamps


def test_states_are_json_lines_stamped_with_their_own_time() -> None:
    events = [make_event(0), make_event(500), make_event(501, kind="prediction", label="rest"), make_event(750)]
    with offering("told") as outlets:
        assert isinstance(outlets, EventSink)
        assert isinstance(outlets, Tap)
        inlet = listen("told-states")
        subscribed(outlets, "states")
        outlets.write(events)
        outlets.write_line(events[3], '{"ready":"made"}')
        values, stamps = pull(inlet, 4)
    assert [value[0] for value in values] == [event_line(events[i]) for i in (0, 1, 3)] + ['{"ready":"made"}']
    assert json.loads(values[1][0])["id"] == "cap/state/500/0"
    assert stamps == [pytest.approx(0.0, abs=1e-300), 2.0, 3.0, 3.0]


def test_probabilities_and_taps_carry_each_rows_own_stamp() -> None:
    rng = np.random.default_rng(2)
    rows = make_chunk(rng.random((3, 2)), np.array([1.0, 1.25, 1.75]), 4, np.ones(3, bool), PROBABILITIES)
    filtered = make_chunk(rng.random((5, 3)), 7.0 + np.arange(5) / 250, 9, np.ones(5, bool), FILTERED)
    with offering("shown") as outlets:
        probabilities, signal = listen("shown-probabilities"), listen("shown-filter")
        subscribed(outlets, "classifier")
        subscribed(outlets, "filter")
        outlets.write_chunk("classifier", rows)
        outlets.write_chunk("filter", filtered)
        outlets.write_chunk("no such tap", filtered)
        values, stamps = pull(probabilities, 3)
        np.testing.assert_array_equal(values, rows.data)
        np.testing.assert_array_equal(stamps, rows.timestamps)
        values, stamps = pull(signal, 5)
        np.testing.assert_array_equal(values, filtered.data)
        np.testing.assert_array_equal(stamps, filtered.timestamps)
        assert outlets.n_errors == {}


def test_outlets_describe_themselves_and_say_that_they_are_for_monitoring() -> None:
    with offering("described-outlets") as outlets:
        assert outlets.names == tuple(f"described-outlets-{what}" for what in ("states", "probabilities", "filter"))
        kinds = {}
        for name in outlets.names:
            found = find(name)
            assert found.is_monitoring
            kinds[name.removeprefix("described-outlets-")] = (found.type, found.format, found.sfreq)
            own = pylsl.StreamInlet(found.handle, recover=False).info(DEADLINE_S).desc().child("neuroloop")
            assert own.child_value("purpose") == "monitoring"
            assert own.child_value("plan_hash") == "0f0f"
        assert kinds == {
            "states": ("Markers", "string", 0.0),
            "probabilities": ("neuroloop-probabilities", "double64", 4.0),
            "filter": ("neuroloop-signal", "double64", 250.0),
        }
        info = describe(listen("described-outlets-filter").info(DEADLINE_S)).info
        assert (info.ch_names, info.ch_units, info.ch_types) == (
            FILTERED.ch_names,
            FILTERED.ch_units,
            FILTERED.ch_types,
        )


def test_source_ids_are_the_same_at_every_start_and_differ_between_streams() -> None:
    ids = []
    for _ in range(2):
        with offering("stable") as outlets:
            ids.append(tuple(find(name).source_id for name in outlets.names))
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


def test_without_consumers_nothing_is_sent_and_nothing_goes_wrong() -> None:
    with offering("unwatched", events=None) as outlets:
        outlets.write([make_event(0)])
        outlets.write_line(make_event(0), "{}")
        outlets.write_chunk("filter", make_chunk(np.zeros((1, 3)), np.ones(1), 0, np.ones(1, bool), FILTERED))
        assert outlets.n_errors == {}
        assert outlets.names == ("unwatched-probabilities", "unwatched-filter")
    outlets.close()
    outlets.write([make_event(0)])
    outlets.write_chunk("filter", make_chunk(np.zeros((1, 3)), np.ones(1), 0, np.ones(1, bool), FILTERED))


def test_what_cannot_be_sent_is_counted_and_never_raised() -> None:
    with offering("faulty") as outlets:
        states, signal = listen("faulty-states"), listen("faulty-filter")
        subscribed(outlets, "states")
        subscribed(outlets, "filter")
        outlets.write([make_event(1, what=object()), make_event(2)])
        outlets.write_chunk("filter", make_chunk(np.zeros((1, 2)), np.ones(1), 0, np.ones(1, bool), PROBABILITIES))
        assert outlets.n_errors == {"states": 1, "filter": 1}
        assert pull(states, 1)[1] == [2 / 250.0]
    del signal


def test_names_that_would_collide_are_refused() -> None:
    with pytest.raises(ValueError, match="taps must have names other than 'states' and 'probabilities', got 'states'"):
        LslOutlets("collide", stream="cap", taps={"states": FILTERED})
    with pytest.raises(ValueError, match=r"classifier must be one of the taps \(filter\), got 'lstm'"):
        LslOutlets("collide", stream="cap", taps={"filter": FILTERED}, classifier="lstm")
