"""The base of row stages, as somebody meets it who writes a stage of his own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo
from neuroloop.stream.contracts.protocols import Processor, Windowed
from tests.processors import naive

INFO = naive.stream_info(3)
N_ROWS = 60


class Envelope(RowStage):
    """A stage that remembers something, in plain NumPy."""

    def __init__(self, info: StreamInfo = INFO, warmup_samples: int = 0) -> None:
        self._power = np.ones(info.n_channels)
        super().__init__("envelope", info, state={"power": self._power}, warmup_samples=warmup_samples)

    def _compute(self, data: FloatArray, out: FloatArray, valid: BoolArray) -> None:
        for row, target in zip(data, out, strict=True):
            self._power *= 0.9
            self._power += 0.1 * row * row
            np.sqrt(self._power, out=target)


class Total(RowStage):
    """A stage with other channels than it is given, which flags rows of its own."""

    def __init__(self) -> None:
        info_out = dataclasses.replace(INFO, ch_names=("total",), ch_types=("EEG",), ch_units=("uV",))
        super().__init__("total", INFO, info_out=info_out)

    def _compute(self, data: FloatArray, out: FloatArray, valid: BoolArray) -> None:
        out[:, 0] = data[:, 0] + data[:, 1] + data[:, 2]
        valid &= out[:, 0] > 0.0


def rows(seed: int = 1, n: int = N_ROWS) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, 3))


def spoiled(seed: int, start: int = 0) -> Chunk:
    x = rows(seed)
    x[7, 1], x[30:32, 0] = np.nan, np.inf
    valid = np.ones(N_ROWS, np.bool_)
    valid[20] = False
    return naive.as_chunk(x, INFO, start, valid)


def test_a_stage_of_ones_own_is_a_processor_with_no_window() -> None:
    stage = Envelope()
    assert isinstance(stage, Processor)
    assert not isinstance(stage, Windowed)
    assert (stage.name, stage.info_in, stage.info_out, stage.delay_s) == ("envelope", INFO, INFO, 0.0)
    assert stage.newest_input(17) == 17
    assert stage.plan_arrays() == {}


def test_rows_come_held_and_go_out_numbered_stamped_and_flagged() -> None:
    chunk = spoiled(1, 500)
    out = Envelope().process(chunk)
    power, expected = np.ones(3), []
    for row in naive.held(chunk.data):
        power = 0.9 * power + 0.1 * row * row
        expected.append(np.sqrt(power))
    np.testing.assert_allclose(out.data, expected, rtol=1e-14)
    assert out.first_sample == 500
    np.testing.assert_array_equal(out.timestamps, chunk.timestamps)
    assert np.flatnonzero(~out.valid).tolist() == [7, 20, 30, 31]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=8), warmup=st.integers(0, 9))
def test_output_flags_and_state_do_not_depend_on_chunking(cuts: list[int], warmup: int) -> None:
    chunk = spoiled(2, 40)
    whole, pieces = Envelope(warmup_samples=warmup), Envelope(warmup_samples=warmup)
    naive.assert_same(naive.run(pieces, chunk, cuts), whole.process(chunk))
    for key, array in whole.get_state().items():
        np.testing.assert_array_equal(pieces.get_state()[key], array)


def test_rows_after_a_start_and_after_a_bad_row_are_flagged_while_it_warms_up() -> None:
    chunk = spoiled(3, 40)
    stage = Envelope(warmup_samples=4)
    good = chunk.valid & np.isfinite(chunk.data).all(axis=1)
    expected = naive.expected_valid(stage, good, 40, range(40, 40 + N_ROWS))
    np.testing.assert_array_equal(stage.process(chunk).valid, expected)
    assert 0 < expected.sum() < N_ROWS


def test_a_stage_may_have_other_channels_and_clear_flags() -> None:
    x = rows(4)
    out = Total().process(naive.as_chunk(x, INFO))
    np.testing.assert_array_equal(out.data[:, 0], x[:, 0] + x[:, 1] + x[:, 2])
    assert out.info.ch_names == ("total",)
    np.testing.assert_array_equal(out.valid, out.data[:, 0] > 0.0)


@pytest.mark.parametrize(("warmup", "position"), [(0, [48]), (5, [38, 48])])
def test_the_state_is_the_declared_arrays_the_held_values_and_the_position(warmup: int, position: list[int]) -> None:
    stage = Envelope(warmup_samples=warmup)
    x = rows(5, 12)
    x[2] = np.nan
    stage.process(naive.as_chunk(x, INFO, 36))
    state = stage.get_state()
    assert list(state) == ["power", "held", "position"]
    assert {key: array.dtype for key, array in state.items()} == {"power": np.float64, "held": float, "position": int}
    np.testing.assert_array_equal(state["held"], x[-1])
    assert state["position"].tolist() == position
    assert stage.next_sample == 48


def test_a_stage_continues_from_a_state_bit_for_bit() -> None:
    chunk = spoiled(6)
    first, second = Envelope(warmup_samples=3), Envelope(warmup_samples=3)
    first.process(chunk.slice(0, 31))
    second.process(spoiled(7, 900))
    second.set_state(first.get_state())
    rest = chunk.slice(31, N_ROWS)
    naive.assert_same(second.process(rest), first.process(rest))


def test_reset_gives_the_arrays_back_what_they_began_with() -> None:
    stage = Envelope(warmup_samples=2)
    stage.process(spoiled(8, 3))
    stage.reset()
    for key, array in Envelope(warmup_samples=2).get_state().items():
        np.testing.assert_array_equal(stage.get_state()[key], array)
    naive.assert_same(stage.process(spoiled(9, 77)), Envelope(warmup_samples=2).process(spoiled(9, 77)))


def test_a_state_with_a_wrong_array_changes_nothing() -> None:
    stage = Envelope()
    stage.process(spoiled(1))
    before = stage.get_state()
    with pytest.raises(
        ValueError, match=r"^state must have the keys \['held', 'position', 'power'\], got \['power'\]$"
    ):
        stage.set_state({"power": np.zeros(3)})
    message = r"^state\['held'\] must be float64 of shape \(3,\), got float64 of shape \(4,\)$"
    with pytest.raises(ValueError, match=message):
        stage.set_state({"power": np.zeros(3), "held": np.zeros(4), "position": np.zeros(1, np.int64)})
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_gap_without_reset_is_refused_and_with_it_begins_anew() -> None:
    stage = Envelope()
    stage.process(naive.as_chunk(rows(1, 10), INFO, 100))
    message = r"^first_sample of stage 'envelope' must be 110 \(the row after the last one\), got 115; call reset\(\)"
    with pytest.raises(ValueError, match=message):
        stage.process(naive.as_chunk(rows(1, 10), INFO, 115))
    stage.reset()
    assert stage.process(naive.as_chunk(rows(1, 10), INFO, 115)).first_sample == 115


@pytest.mark.parametrize("first", [-1, -20])
def test_a_sample_number_below_zero_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match=rf"^first_sample of stage 'envelope' must be >= 0, got {first}$"):
        Envelope().process(naive.as_chunk(rows(1, 5), INFO, first))


def test_an_empty_chunk_leaves_the_state_alone() -> None:
    stage = Envelope(warmup_samples=2)
    assert len(stage.process(naive.as_chunk(rows(1, 0), INFO, 12))) == 0
    assert stage.next_sample == -1
    stage.process(naive.as_chunk(rows(1, 4), INFO, 12))
    before = stage.get_state()
    assert len(stage.process(naive.as_chunk(rows(1, 0), INFO, 16))) == 0
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


def with_arrays(data: FloatArray, valid: BoolArray) -> Chunk:
    return Chunk(data, np.arange(float(len(data))), 0, valid, INFO)


FLAGS = np.ones(5, np.bool_)


@pytest.mark.parametrize(
    ("chunk", "kind", "message"),
    [
        (with_arrays(np.zeros((5, 4)), FLAGS), ValueError, "^chunk of stage 'envelope' must have 3 channels, got 4$"),
        (
            with_arrays(np.zeros((5, 3), np.float32), FLAGS),
            TypeError,
            "^data of a chunk of stage 'envelope' must be float64, got float32$",
        ),
        (
            with_arrays(np.zeros((5, 3)), np.ones(5, np.uint8)),
            TypeError,
            "^valid of a chunk of stage 'envelope' must be bool, got uint8$",
        ),
        (
            with_arrays(np.zeros((5, 3)), np.ones(4, np.bool_)),
            ValueError,
            r"^valid of a chunk of stage 'envelope' must have shape \(5,\), got \(4,\)$",
        ),
    ],
)
def test_a_chunk_that_no_kernel_could_take_is_refused(chunk: Chunk, kind: type[Exception], message: str) -> None:
    stage = Envelope()
    with pytest.raises(kind, match=message):
        stage.process(chunk)
    assert stage.next_sample == -1


def test_rows_and_flags_in_any_order_of_memory_give_the_same_result() -> None:
    chunk = spoiled(3)
    strided = np.repeat(chunk.valid, 2)[::2]
    other = Chunk(np.asfortranarray(chunk.data), chunk.timestamps, 0, strided, INFO)
    naive.assert_same(Envelope().process(other), Envelope().process(chunk))


@pytest.mark.parametrize("key", ["held", "position"])
def test_the_bases_own_names_in_the_state_are_refused(key: str) -> None:
    class Taken(Envelope):
        def __init__(self) -> None:
            RowStage.__init__(self, "taken", INFO, state={key: np.zeros(1)})

    with pytest.raises(ValueError, match=rf"^state must have no key '{key}', the base's own, got \["):
        Taken()


def test_a_number_in_place_of_an_array_is_refused() -> None:
    class Number(Envelope):
        def __init__(self) -> None:
            RowStage.__init__(self, "number", INFO, state={"power": 1.0})  # type: ignore[dict-item]  # what is tested

    with pytest.raises(TypeError, match=r"^state\['power'\] must be an array that is changed in place, got 1\.0$"):
        Number()


@pytest.mark.parametrize("holds", [True, False])
def test_a_stage_that_computes_nothing_is_refused(holds: bool) -> None:
    class Idle(RowStage):
        pass

    with pytest.raises(TypeError, match=r"^class Idle must define _compute, or _run, got neither$"):
        Idle("idle", INFO, holds=holds)
