"""The pipeline and the engine: order, segments, resume, books."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.loading import load_config
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import Chunk
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.simulator import Simulator

CONFIG = load_config("demo")
SIMULATOR = Simulator(SimulatorSettings(seed=3, n_channels=8, sfreq=250.0, block_s=3.0))
N_SAMPLES = 2500
DATA, STAMPS = SIMULATOR.generate(0, N_SAMPLES)
MARKERS = [Marker(0.5, "first"), Marker(3.0004, "second"), Marker(99.0, "too late")]


def engine(taps: dict[str, list[Chunk]] | None = None) -> Engine:
    receivers = {name: chunks.append for name, chunks in (taps or {}).items()}
    made = Engine(CONFIG.source, build(CONFIG, SIMULATOR.info, taps=receivers).pipeline)
    made.add_markers(MARKERS)
    return made


def run(cuts: list[int], keep: np.ndarray | None = None) -> list[str]:
    data, stamps = (DATA, STAMPS) if keep is None else (DATA[keep], STAMPS[keep])
    made = engine()
    events: list[Event] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stamps)], strict=True):
        events += made.push(data[start:stop], stamps[start:stop])
    events += made.finish()
    return [canonical(event) for event in events]


WHOLE = run([])


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, N_SAMPLES), max_size=30).map(sorted))
def test_events_do_not_depend_on_chunking(cuts: list[int]) -> None:
    assert run(cuts) == WHOLE


def test_one_sample_at_a_time_gives_the_same_events() -> None:
    assert run(list(range(1, N_SAMPLES))) == WHOLE


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, N_SAMPLES))
def test_resuming_anywhere_equals_never_having_stopped(cut: int) -> None:
    first, second = engine(), Engine(CONFIG.source, build(CONFIG, SIMULATOR.info).pipeline)
    events = first.push(DATA[:cut], STAMPS[:cut])
    second.sequencer.set_state(first.sequencer.get_state())
    second.pipeline.set_state(first.pipeline.get_state())
    events += second.push(DATA[cut:], STAMPS[cut:])
    events += second.finish()
    assert [canonical(event) for event in events] == WHOLE


def test_events_are_ordered_and_their_ids_are_distinct() -> None:
    made = engine()
    events = [*made.push(DATA, STAMPS), *made.finish()]
    assert [event.order for event in events] == sorted(event.order for event in events)
    assert len({event.id for event in events}) == len(events)
    assert {"stream", "marker", "prediction", "state"} == {event.type for event in events}


def test_a_flagged_window_never_gives_a_class() -> None:
    broken = DATA.copy()
    broken[1200:1230, 2] = np.nan
    made = engine()
    events = made.push(broken, STAMPS)
    state = "unknown"
    for event in events:
        if event.type == "state":
            state = event.values["state"]
        elif event.type == "prediction" and not event.values["valid"]:
            following = [other for other in events if other.type == "state" and other.k == event.k]
            assert (following[0].values["state"] if following else state) == "unknown"
    flagged = [event for event in events if event.type == "prediction" and not event.values["valid"]]
    assert flagged
    assert any(event.sample > 1230 for event in flagged)


def test_a_jump_begins_anew_and_the_numbering_goes_on() -> None:
    keep = np.r_[0:1000, 1500:N_SAMPLES]
    jumped = run([], keep)
    assert run(list(range(1, len(keep), 7)), keep) == jumped
    made = engine()
    events = made.push(DATA[keep], STAMPS[keep])
    (gap,) = [event for event in events if event.type == "gap"]
    assert (gap.sample, gap.values["missing"], gap.values["filled"]) == (1500, 500, False)
    books = made.books()
    assert books.received == books.processed == 2000
    assert books.missing == {"filled": 0, "jumped": 500}
    fresh = Engine(CONFIG.source, build(CONFIG, SIMULATOR.info).pipeline)
    fresh.sequencer = type(made.sequencer)(CONFIG.source, SIMULATOR.info, position=1500)
    expected = [event for event in fresh.push(DATA[1500:], STAMPS[1500:]) if event.type == "prediction"]
    after = [event for event in events if event.type == "prediction" and event.sample >= 1500]
    assert [canonical(event) for event in after] == [canonical(event) for event in expected]


def test_a_short_gap_is_filled_flagged_and_counted() -> None:
    keep = np.r_[0:1000, 1040:N_SAMPLES]
    taps: dict[str, list[Chunk]] = {"input": []}
    made = engine(taps)
    made.push(DATA[keep], STAMPS[keep])
    valid = np.concatenate([chunk.valid for chunk in taps["input"]])
    assert len(valid) == N_SAMPLES
    assert not valid[1000:1040].any()
    assert valid[:1000].all()
    books = made.books()
    assert books.missing == {"filled": 40, "jumped": 0}
    assert books.received == books.processed + sum(books.counted.values()) == N_SAMPLES - 40


def test_an_unknown_tap_is_refused() -> None:
    with pytest.raises(Exception, match=r"dump must name a stage \(input, .*\), got 'nothing'"):
        build(CONFIG, SIMULATOR.info, taps={"nothing": print})


def test_the_shipped_bundle_is_small() -> None:
    folder = Path(__file__).resolve().parents[3] / "models" / "bundles" / "demo"
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 1_000_000
