"""The base of window stages, as somebody meets it who writes a stage of his own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.stages import WindowSettings
from neuroloop.processors.features.window import Window
from neuroloop.processors.stages.window_grid import WindowGrid
from neuroloop.processors.stages.window_stage import WindowStage
from neuroloop.stream.contracts.chunks import Chunk, FloatArray
from neuroloop.stream.contracts.protocols import Processor, Windowed
from tests.processors import naive

INFO = naive.stream_info(2)
N_ROWS = 80
GRIDS = [(12, 5), (4, 4), (3, 7), (1, 1)]


class Range(WindowStage):
    """A stage that remembers something from window to window, in plain NumPy."""

    def __init__(self, window: int = 12, hop: int = 5) -> None:
        self._widest = np.full(2, 0.5)
        info_out = dataclasses.replace(INFO, sfreq=INFO.sfreq / hop)
        super().__init__("range", INFO, info_out=info_out, grid=WindowGrid(window, hop), state={"widest": self._widest})

    def _compute(self, window: FloatArray, out: FloatArray) -> None:
        np.subtract(window.max(axis=0), window.min(axis=0), out=out)
        np.maximum(self._widest, out, out=self._widest)


class Flat(WindowStage):
    """What `Window` does, written in plain NumPy."""

    def __init__(self, like: Window) -> None:
        super().__init__(like.name, like.info_in, info_out=like.info_out, grid=like.grid)

    def _compute(self, window: FloatArray, out: FloatArray) -> None:
        out[:] = window.ravel()


def window_stage(window: int, hop: int) -> Window:
    return Window(WindowSettings(kind="window", window_samples=window, hop_samples=hop), INFO)


def rows(seed: int = 1, n: int = N_ROWS) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, 2))


def spoiled(seed: int, start: int = 0) -> Chunk:
    x = rows(seed)
    x[17, 1], x[60:62, 0] = np.nan, np.inf
    valid = np.ones(N_ROWS, np.bool_)
    valid[38] = False
    return naive.as_chunk(x, INFO, start, valid)


def test_a_stage_of_ones_own_is_a_processor_that_keeps_windows() -> None:
    stage = Range()
    assert isinstance(stage, Processor)
    assert isinstance(stage, Windowed)
    assert (stage.name, stage.info_in, stage.delay_s, stage.warmup_samples) == ("range", INFO, 0.055, 11)
    assert stage.newest_input(3) == 26
    assert stage.plan_arrays()["grid"].tolist() == [12, 5]


@pytest.mark.parametrize(("window", "hop"), GRIDS)
@pytest.mark.parametrize("start", [0, 3, 1003])
def test_it_computes_each_window_of_the_grid(window: int, hop: int, start: int) -> None:
    x = rows()
    first, cut = naive.windows(x, start, window, hop)
    out = Range(window, hop).process(naive.as_chunk(x, INFO, start))
    assert out.first_sample == first
    np.testing.assert_array_equal(out.data, [np.ptp(one, axis=0) for one in cut])
    newest = np.arange(first, first + len(cut)) * hop + window - 1
    np.testing.assert_array_equal(out.timestamps, 10.0 + newest / 100.0)


@settings(max_examples=25, deadline=None)
@given(grid=st.sampled_from(GRIDS), cuts=st.lists(st.integers(0, N_ROWS), max_size=8), start=st.integers(0, 50))
def test_it_sees_and_flags_what_the_compiled_window_stage_does(
    grid: tuple[int, int], cuts: list[int], start: int
) -> None:
    chunk, compiled = spoiled(2, start), window_stage(*grid)
    plain = Flat(compiled)
    naive.assert_same(naive.run(plain, chunk, cuts), compiled.process(chunk))
    for key, array in compiled.get_state().items():
        assert plain.get_state()[key].tobytes() == array.tobytes(), key


def test_the_state_is_what_is_in_hand_the_declared_arrays_the_held_values_and_the_position() -> None:
    stage = Range()
    x = rows(3, 40)
    x[30] = np.nan
    stage.process(naive.as_chunk(x, INFO, 7))
    state = stage.get_state()
    assert list(state) == ["ring", "widest", "held", "position"]
    assert list(stage.other_state()) == ["widest", "held", "position"]
    assert state["ring"].shape == (12, 2)
    np.testing.assert_array_equal(state["held"], x[-1])
    assert state["position"].tolist() == [47, 2, 37]


def test_what_is_in_hand_is_shown_as_views_and_is_only_what_the_last_rows_were() -> None:
    chunk = naive.as_chunk(rows(4), INFO)
    whole, late = Range(), Range()
    whole.process(chunk)
    late.process(chunk.slice(N_ROWS - whole.refill_rows, N_ROWS))
    assert whole.refill_rows == 17
    assert list(whole.window_arrays()) == ["ring"]
    np.testing.assert_array_equal(late.window_arrays()["ring"], whole.window_arrays()["ring"])
    ring = whole.window_arrays()["ring"].copy()
    whole.process(naive.as_chunk(rows(5, 3), INFO, N_ROWS))
    assert (whole.window_arrays()["ring"] != ring).any()


def test_a_stage_continues_from_a_state_bit_for_bit() -> None:
    chunk = spoiled(6)
    first, second = Range(), Range()
    first.process(chunk.slice(0, 31))
    second.process(spoiled(7, 900))
    second.set_state(first.get_state())
    rest = chunk.slice(31, N_ROWS)
    naive.assert_same(second.process(rest), first.process(rest))


def test_reset_gives_the_arrays_back_what_they_began_with() -> None:
    stage = Range()
    stage.process(spoiled(8, 3))
    stage.reset()
    for key, array in Range().get_state().items():
        np.testing.assert_array_equal(stage.get_state()[key], array)
    naive.assert_same(stage.process(spoiled(9, 77)), Range().process(spoiled(9, 77)))


def test_a_gap_without_reset_is_refused_and_changes_nothing() -> None:
    stage = Range()
    stage.process(naive.as_chunk(rows(1, 20), INFO, 100))
    before = stage.get_state()
    message = r"^first_sample of stage 'range' must be 120 \(the row after the last one\), got 121; call reset\(\)"
    with pytest.raises(ValueError, match=message):
        stage.process(naive.as_chunk(rows(1, 20), INFO, 121))
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("first", [-1, -20])
def test_a_sample_number_below_zero_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match=rf"^first_sample of stage 'range' must be >= 0, got {first}$"):
        Range().process(naive.as_chunk(rows(1, 5), INFO, first))


def test_wrong_channels_and_types_are_refused_before_anything_is_kept() -> None:
    stage = Range()
    with pytest.raises(ValueError, match=r"^chunk of stage 'range' must have 2 channels, got 3$"):
        stage.process(naive.as_chunk(np.zeros((4, 3)), naive.stream_info(3)))
    single = Chunk(np.zeros((4, 2), np.float32), np.zeros(4), 8, np.ones(4, np.bool_), INFO)
    with pytest.raises(TypeError, match=r"^data of a chunk of stage 'range' must be float64, got float32$"):
        stage.process(single)
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, Range().get_state()[key])


def test_rows_that_complete_nothing_give_an_empty_chunk_with_the_next_number() -> None:
    stage = Range()
    first = stage.process(naive.as_chunk(rows(1, 3), INFO, 0))
    again = stage.process(naive.as_chunk(rows(1, 3), INFO, 3))
    assert (len(first), first.first_sample, first.data.shape) == (0, 0, (0, 2))
    assert (len(again), again.first_sample) == (0, 0)
    assert stage.process(naive.as_chunk(rows(1, 7), INFO, 6)).next_sample == 1
    assert stage.process(naive.as_chunk(rows(1, 1), INFO, 13)).first_sample == 1
    assert (first.first_sample, stage.process(naive.as_chunk(rows(1, 0), INFO, 14)).first_sample) == (0, 1)


@pytest.mark.parametrize("key", ["held", "ring", "position"])
def test_the_bases_own_names_in_the_state_are_refused(key: str) -> None:
    class Taken(Range):
        def __init__(self) -> None:
            WindowStage.__init__(self, "taken", INFO, info_out=INFO, grid=WindowGrid(4, 2), state={key: np.zeros(1)})

    with pytest.raises(ValueError, match=rf"^state must have no key '{key}', the base's own, got \["):
        Taken()


def test_a_stage_that_computes_nothing_is_refused() -> None:
    class Idle(WindowStage):
        pass

    with pytest.raises(TypeError, match=r"^class Idle must define _compute, or _run, got neither$"):
        Idle("idle", INFO, info_out=INFO, grid=WindowGrid(4, 2))
