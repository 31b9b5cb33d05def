from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError, StreamMismatch
from neuroloop.models.classifier import LstmClassifier
from neuroloop.models.lstm.workspace import Mode
from neuroloop.stream.contracts.chunks import Chunk, empty_chunk
from neuroloop.stream.contracts.protocols import Processor
from tests.models.naive import (
    feature_chunk,
    feature_info,
    head_probabilities,
    make_bundle,
    make_network,
    pooled_hidden,
)

CASES: list[tuple[Mode, list[tuple[int, bool]], str]] = [
    ("window", [(8, True), (5, False)], "mean"),
    ("window", [(17, False)], "last"),
    ("staggered", [(17, False), (4, False)], "mean"),
    ("carry", [(17, False)], "last"),
]
WINDOW, HOP, N_FEATURES, N_ROWS = 12, 5, 3, 70

cases = pytest.mark.parametrize(("mode", "layers", "pooling"), CASES)
cut_lists = st.lists(st.integers(0, N_ROWS), max_size=12).map(sorted)


def make(
    mode: Mode, layers: list[tuple[int, bool]], pooling: str, *, window: int = WINDOW, hop: int = HOP
) -> LstmClassifier:
    bundle = make_bundle(make_network(N_FEATURES, layers, pooling=pooling), window_samples=window, hop_samples=hop)
    return LstmClassifier(bundle, feature_info(N_FEATURES), mode=mode)


def signal(seed: int, n_rows: int = N_ROWS) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((n_rows, N_FEATURES))


def join(chunks: list[Chunk]) -> Chunk:
    filled = [chunk for chunk in chunks if len(chunk)]
    return Chunk(
        np.concatenate([chunk.data for chunk in filled]),
        np.concatenate([chunk.timestamps for chunk in filled]),
        filled[0].first_sample,
        np.concatenate([chunk.valid for chunk in filled]),
        filled[0].info,
    )


def run(stage: LstmClassifier, chunk: Chunk, cuts: list[int]) -> list[Chunk]:
    edges = [0, *cuts, len(chunk)]
    return [stage.process(chunk.slice(start, stop)) for start, stop in pairwise(edges)]


def assert_same(ours: Chunk, other: Chunk) -> None:
    assert ours.first_sample == other.first_sample
    assert ours.data.tobytes() == other.data.tobytes()
    assert ours.timestamps.tolist() == other.timestamps.tolist()
    assert ours.valid.tolist() == other.valid.tolist()


@cases
@settings(max_examples=25, deadline=None)
@given(cuts=cut_lists, seed=st.integers(0, 2**32 - 1), first=st.integers(0, 40), bad=st.integers(0, N_ROWS - 1))
def test_output_does_not_depend_on_chunking(
    mode: Mode, layers: list[tuple[int, bool]], pooling: str, cuts: list[int], seed: int, first: int, bad: int
) -> None:
    x = signal(seed)
    x[bad, 1] = np.nan
    stage = make(mode, layers, pooling)
    whole = stage.process(feature_chunk(x, first))
    stage.reset()
    assert_same(join(run(stage, feature_chunk(x, first), cuts)), whole)


@cases
@settings(max_examples=25, deadline=None)
@given(at=st.integers(0, N_ROWS), seed=st.integers(0, 2**32 - 1), first=st.integers(0, 40))
def test_resuming_at_any_row_equals_never_having_stopped(
    mode: Mode, layers: list[tuple[int, bool]], pooling: str, at: int, seed: int, first: int
) -> None:
    chunk = feature_chunk(signal(seed), first)
    before = make(mode, layers, pooling)
    head = before.process(chunk.slice(0, at))
    kept = before.get_state()
    before.process(chunk.slice(at, N_ROWS))  # must not reach into what was kept
    after = make(mode, layers, pooling)
    after.process(feature_chunk(signal(1), 3))
    after.set_state(kept)
    tail = after.process(chunk.slice(at, N_ROWS))
    assert_same(join([head, tail]), make(mode, layers, pooling).process(chunk))


@cases
def test_input_is_not_written_to(mode: Mode, layers: list[tuple[int, bool]], pooling: str) -> None:
    x = signal(1)
    x[3] = np.nan
    chunk = feature_chunk(x)
    make(mode, layers, pooling).process(chunk)
    np.testing.assert_array_equal(chunk.data, x)


@cases
def test_empty_chunk_changes_nothing(mode: Mode, layers: list[tuple[int, bool]], pooling: str) -> None:
    stage = make(mode, layers, pooling)
    assert len(stage.process(empty_chunk(stage.info_in, 7))) == 0
    stage.process(feature_chunk(signal(1, 40), 10))
    before = stage.get_state()
    out = stage.process(empty_chunk(stage.info_in, 50))
    assert (len(out), out.first_sample) == (0, 8)
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


@cases
def test_burst_of_nan_flags_its_windows_and_leaves_the_output_finite(
    mode: Mode, layers: list[tuple[int, bool]], pooling: str
) -> None:
    x = signal(2)
    x[30:33] = np.nan
    out = make(mode, layers, pooling).process(feature_chunk(x))
    assert np.isfinite(out.data).all()
    touched = [any(k * HOP <= row < k * HOP + WINDOW for row in range(30, 33)) for k in range(len(out))]
    assert out.valid.tolist() == [not bad for bad in touched]
    assert any(touched)


@cases
def test_a_value_that_is_not_finite_counts_as_zero(mode: Mode, layers: list[tuple[int, bool]], pooling: str) -> None:
    x = signal(3)
    zeroed = x.copy()
    x[[20, 21, 22], [0, 1, 2]] = np.nan, np.inf, 1e39  # beyond float32
    zeroed[[20, 21, 22], [0, 1, 2]] = 0
    out = make(mode, layers, pooling).process(feature_chunk(x))
    clean = make(mode, layers, pooling).process(feature_chunk(zeroed))
    assert out.data.tobytes() == clean.data.tobytes()
    assert clean.valid.all()
    assert not out.valid.all()


@cases
def test_a_flagged_row_flags_its_windows(mode: Mode, layers: list[tuple[int, bool]], pooling: str) -> None:
    flags = np.ones(N_ROWS, np.bool_)
    flags[24] = False
    out = make(mode, layers, pooling).process(feature_chunk(signal(4), 0, flags))
    assert out.valid.tolist() == [not k * HOP <= 24 < k * HOP + WINDOW for k in range(len(out))]


@pytest.mark.parametrize("mode", ["window", "staggered"])
@pytest.mark.parametrize("first", [0, 1, 5, 37])
def test_row_k_is_the_window_that_begins_at_k_hops(mode: Mode, first: int) -> None:
    network = make_network(N_FEATURES, [(9, False)])
    bundle = make_bundle(network, window_samples=WINDOW, hop_samples=HOP, temperature=2.0)
    stage = LstmClassifier(bundle, feature_info(N_FEATURES), mode=mode)
    x = signal(5)
    out = stage.process(feature_chunk(x, first))
    assert out.first_sample == -(-first // HOP)
    assert out.next_sample == (first + N_ROWS - WINDOW) // HOP + 1
    for index, row in enumerate(out.data):
        k = out.first_sample + index
        start = k * HOP - first
        pooled = pooled_hidden(network, bundle.arrays, x[start : start + WINDOW].astype(np.float32).astype(np.float64))
        np.testing.assert_allclose(row, head_probabilities(network, bundle.arrays, pooled, 2.0), atol=1e-6, rtol=0)
        assert out.timestamps[index] == (k * HOP + WINDOW - 1) / 100.0
        assert stage.newest_input(k) == k * HOP + WINDOW - 1


def test_staggered_equals_window_bit_for_bit() -> None:
    layers = [(24, False), (10, False)]
    chunk = feature_chunk(signal(6), 3)
    burst = make("window", layers, "last").process(chunk)
    assert_same(make("staggered", layers, "last").process(chunk), burst)


@pytest.mark.parametrize("mode", ["window", "staggered", "carry"])
@pytest.mark.parametrize("first", [0, 3, 9])
def test_a_hop_longer_than_the_window_leaves_rows_between_unseen(mode: Mode, first: int) -> None:
    x = signal(10)
    stage = make(mode, [(6, False)], "last", window=4, hop=9)
    whole = stage.process(feature_chunk(x, first))
    assert whole.first_sample == -(-first // 9)
    assert len(whole) == (first + N_ROWS - 4) // 9 + 1 - whole.first_sample
    stage.reset()
    assert_same(join(run(stage, feature_chunk(x, first), list(range(1, N_ROWS)))), whole)
    if mode != "carry":
        unseen = [row for row in range(N_ROWS) if (first + row) % 9 >= 4]
        x[unseen] = np.nan
        assert_same(make(mode, [(6, False)], "last", window=4, hop=9).process(feature_chunk(x, first)), whole)


def test_jump_without_reset_is_refused_and_changes_nothing() -> None:
    stage = make("window", [(4, False)], "last")
    stage.process(feature_chunk(signal(7, 20), 10))
    with pytest.raises(ValueError, match=r"first_sample of stage 'classifier' must be 30 .*, got 31; call reset\(\)"):
        stage.process(feature_chunk(signal(7, 20), 31))
    assert stage.process(feature_chunk(signal(8, 20), 30)).first_sample == 4


def test_after_reset_the_numbering_goes_on_behind_a_gap() -> None:
    stage = make("staggered", [(4, False)], "last")
    stage.process(feature_chunk(signal(7, 20), 0))
    stage.reset()
    out = stage.process(feature_chunk(signal(9, 30), 1001))
    fresh = make("staggered", [(4, False)], "last").process(feature_chunk(signal(9, 30), 1001))
    assert out.first_sample == 201
    assert_same(out, fresh)


def test_negative_first_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="first_sample of stage 'classifier' must be >= 0, got -1"):
        make("carry", [(4, False)], "last").process(feature_chunk(signal(1, 5), -1))


def test_stage_describes_its_output() -> None:
    stage = make("window", [(4, True)], "last")
    assert isinstance(stage, Processor)
    assert stage.info_out.type == "Probabilities"
    assert stage.info_out.ch_names == ("class0", "class1", "class2")
    assert stage.info_out.ch_types == ("probability",) * 3
    assert stage.info_out.ch_units == ("1",) * 3
    assert stage.info_out.sfreq == 20.0
    assert stage.delay_s == 0.055
    assert stage.warmup_samples == WINDOW - 1
    assert make("carry", [(4, False)], "last").delay_s == 0.0


def test_plan_covers_every_weight_and_the_temperature() -> None:
    bundle = make_bundle(make_network(N_FEATURES, [(4, True)]), window_samples=4, hop_samples=2, temperature=1.5)
    arrays = LstmClassifier(bundle, feature_info(N_FEATURES)).plan_arrays()
    assert set(arrays) == {*bundle.arrays, "temperature"}
    assert arrays["temperature"].tolist() == [1.5]


def test_rows_of_another_width_are_refused() -> None:
    bundle = make_bundle(make_network(N_FEATURES, [(4, False)]), window_samples=4, hop_samples=2)
    with pytest.raises(StreamMismatch, match="must have 3 columns for bundle 'test', got 2"):
        LstmClassifier(bundle, feature_info(2))
    with pytest.raises(ValueError, match=r"data must have shape \(n_samples, 3\)"):
        LstmClassifier(bundle, feature_info(3)).process(feature_chunk(np.zeros((4, 2))))


def test_a_stream_without_a_rate_is_refused() -> None:
    bundle = make_bundle(make_network(N_FEATURES, [(4, False)]), window_samples=4, hop_samples=2)
    with pytest.raises(StreamMismatch, match=r"sfreq of stage 'classifier' must be above 0 Hz, got 0.0"):
        LstmClassifier(bundle, feature_info(3, sfreq=0.0))


def test_a_mode_that_the_network_cannot_run_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="bundle 'test' cannot be used so: mode must be 'window' for a network"):
        make("staggered", [(4, True)], "last")


def test_state_of_another_network_is_refused() -> None:
    state = make("staggered", [(4, False)], "last").get_state()
    with pytest.raises(ValueError, match=r"memory must have shape"):
        make("staggered", [(40, False)], "last").set_state(state)
    with pytest.raises(ValueError, match="state must have the keys"):
        make("staggered", [(4, False)], "last").set_state({"memory": state["memory"]})


def test_running_a_bundle_imports_no_torch() -> None:
    code = (
        "import sys; import neuroloop.models.bundle, neuroloop.models.classifier; "
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
