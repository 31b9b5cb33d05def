"""One set of checks over every registered stage and each of its example settings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.settings import Settings
from neuroloop.config.stages import ArtifactSettings
from neuroloop.processors.stages import proof
from neuroloop.processors.stages.registry import STAGES, build_stage
from neuroloop.stream.contracts.chunks import Chunk, FloatArray
from neuroloop.stream.contracts.protocols import Processor
from tests.processors import naive

EXAMPLES = [
    pytest.param(example, id=f"{kind}-{i}")
    for kind, stage in STAGES.items()
    for i, example in enumerate(stage.examples)
]
N_ROWS = 400
every_stage = pytest.mark.parametrize("example", EXAMPLES)
cut_lists = st.lists(st.integers(0, N_ROWS), max_size=12)
starts = st.integers(0, 3000)


def made(example: Settings) -> Processor:
    return build_stage(example, naive.EXAMPLE_INFO)


def noise(seed: int, n_samples: int = N_ROWS) -> FloatArray:
    return proof.noise(naive.EXAMPLE_INFO, n_samples, seed)


def spoiled(seed: int, start: int) -> Chunk:
    """Noise with some bad values and some rows that were never received."""
    return proof.spoiled(naive.EXAMPLE_INFO, N_ROWS, seed, start)


def maker(example: Settings) -> Callable[[], Processor]:
    return lambda: made(example)


@every_stage
def test_a_stage_is_a_processor_that_describes_itself(example: Settings) -> None:
    stage = made(example)
    assert isinstance(stage, Processor)
    assert stage.name == example.model_dump()["name"]
    assert stage.info_in == naive.EXAMPLE_INFO
    assert stage.delay_s == round(stage.delay_s, 9) >= 0.0
    assert stage.warmup_samples >= 0
    assert all(isinstance(array, np.ndarray) for array in stage.plan_arrays().values())


@every_stage
@settings(max_examples=25, deadline=None)
@given(cuts=cut_lists, seed=st.integers(0, 2**32 - 1), start=starts)
def test_output_does_not_depend_on_chunking(example: Settings, cuts: list[int], seed: int, start: int) -> None:
    assert proof.check_chunking(maker(example), spoiled(seed, start), cuts) == 0.0


@every_stage
def test_single_samples_give_the_same_output_as_one_chunk(example: Settings) -> None:
    assert proof.check_chunking(maker(example), spoiled(11, 42), range(1, N_ROWS)) == 0.0


@every_stage
@settings(max_examples=15, deadline=None)
@given(stop=st.integers(0, N_ROWS), seed=st.integers(0, 2**32 - 1), start=starts)
def test_a_stage_resumes_at_any_sample(example: Settings, stop: int, seed: int, start: int) -> None:
    assert proof.check_resume(maker(example), spoiled(seed, start), stop, spoiled(seed + 1, 5)) == 0.0


@every_stage
def test_a_state_is_a_copy(example: Settings) -> None:
    proof.check_state_is_copy(maker(example), spoiled(3, 0), 133)


@every_stage
def test_a_state_of_another_kind_is_refused_and_changes_nothing(example: Settings) -> None:
    stage = made(example)
    stage.process(spoiled(3, 0))
    before = stage.get_state()
    with pytest.raises(ValueError, match=r"state must have the keys \["):
        stage.set_state({})
    wrong = dict(before, position=np.zeros(9))
    with pytest.raises(ValueError, match=r"state\['position'\] must be int64 of shape .*, got float64 of shape \(9,\)"):
        stage.set_state(wrong)
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


@every_stage
def test_input_is_not_mutated(example: Settings) -> None:
    proof.check_input_untouched(maker(example), spoiled(5, 0))


@every_stage
def test_output_owns_its_memory_and_is_read_only(example: Settings) -> None:
    chunk = spoiled(5, 0)
    out = made(example).process(chunk)
    for array in (out.data, out.timestamps, out.valid):
        assert not array.flags.writeable
        for theirs in (chunk.data, chunk.timestamps, chunk.valid):
            assert not np.shares_memory(array, theirs)


@every_stage
@pytest.mark.parametrize("n_before", [0, 57])
def test_empty_chunk_leaves_state_untouched(example: Settings, n_before: int) -> None:
    stage = made(example)
    chunk = spoiled(6, 20)
    stage.process(chunk.slice(0, n_before))
    before = stage.get_state()
    out = stage.process(chunk.slice(n_before, n_before))
    assert len(out) == 0
    assert out.data.shape == (0, stage.info_out.n_channels)
    assert out.info is stage.info_out
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


@every_stage
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), start=starts)
def test_a_row_is_valid_unless_its_rows_or_the_warmup_before_are_bad(example: Settings, seed: int, start: int) -> None:
    proof.check_bad_values(maker(example), naive.EXAMPLE_INFO, N_ROWS, seed, start)


@every_stage
def test_the_examples_reach_valid_rows(example: Settings) -> None:
    # otherwise the check of flags above would be satisfied by a stage that flags everything
    out = made(example).process(naive.as_chunk(noise(1), naive.EXAMPLE_INFO))
    assert out.valid.any()


@every_stage
def test_a_reset_stage_equals_a_fresh_one(example: Settings) -> None:
    assert proof.check_reset(maker(example), spoiled(7, 0), spoiled(8, 900)) == 0.0


@every_stage
def test_a_row_comes_with_its_newest_sample_and_depends_on_no_later_one(example: Settings) -> None:
    proof.check_newest_input(maker(example), naive.as_chunk(noise(9), naive.EXAMPLE_INFO, 42), 3)


@every_stage
def test_a_stage_depends_on_its_input_alone(example: Settings) -> None:
    proof.check_pure(maker(example), naive.as_chunk(noise(9), naive.EXAMPLE_INFO), spoiled(8, 0))


@every_stage
def test_zeros_constants_and_large_values_give_finite_rows(example: Settings) -> None:
    proof.check_hard_values(maker(example), naive.EXAMPLE_INFO, N_ROWS)


@every_stage
def test_a_stage_has_forgotten_its_start_after_the_warm_up(example: Settings) -> None:
    if isinstance(example, ArtifactSettings) and example.bad_channels == "hold":
        pytest.skip("the value that a bad channel holds is older than the warm-up, by design")
    proof.check_warm_up(maker(example), naive.EXAMPLE_INFO, 1500)


@every_stage
def test_a_change_comes_out_about_delay_s_later(example: Settings) -> None:
    proof.check_delay(maker(example), naive.EXAMPLE_INFO, 1500)


@every_stage
def test_numbering_continues_globally_after_a_jump_with_reset(example: Settings) -> None:
    stage = made(example)
    stage.process(naive.as_chunk(noise(1, 150), naive.EXAMPLE_INFO, 0))
    stage.reset()
    out = stage.process(naive.as_chunk(noise(2, 150), naive.EXAMPLE_INFO, 1003))
    newest = [stage.newest_input(k) for k in range(out.first_sample, out.next_sample)]
    assert len(newest) > 0
    assert newest[0] >= 1003
    assert stage.newest_input(out.first_sample - 1) - stage.newest_input(out.first_sample) < 0
    assert newest[-1] <= 1152
    np.testing.assert_array_equal(out.timestamps, 10.0 + np.array(newest) / 100.0)


@every_stage
@pytest.mark.parametrize("first_sample", [0, 49, 51])
def test_a_jump_without_reset_is_refused(example: Settings, first_sample: int) -> None:
    stage = made(example)
    stage.process(naive.as_chunk(noise(1, 50), naive.EXAMPLE_INFO))
    before = stage.get_state()
    message = (
        rf"first_sample of stage '{stage.name}' must be 50 \(the row after the last one\), got {first_sample}; call"
    )
    with pytest.raises(ValueError, match=message):
        stage.process(naive.as_chunk(noise(1, 3), naive.EXAMPLE_INFO, first_sample))
    for key, array in stage.get_state().items():
        np.testing.assert_array_equal(array, before[key])


@every_stage
def test_a_negative_sample_number_is_refused(example: Settings) -> None:
    with pytest.raises(ValueError, match=r"first_sample of stage '\w+' must be >= 0, got -3"):
        made(example).process(naive.as_chunk(noise(1, 5), naive.EXAMPLE_INFO, -3))


@every_stage
def test_a_chunk_with_other_channels_is_refused(example: Settings) -> None:
    with pytest.raises(ValueError, match=r"chunk of stage '\w+' must have 4 channels, got 3"):
        made(example).process(naive.as_chunk(np.zeros((5, 3)), naive.stream_info(3)))


@every_stage
def test_plan_arrays_are_the_same_for_the_same_settings(example: Settings) -> None:
    first, second = made(example).plan_arrays(), made(example).plan_arrays()
    assert first.keys() == second.keys()
    for key, array in first.items():
        assert array.tobytes() == second[key].tobytes()
