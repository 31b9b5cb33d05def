"""A recorded stream as a source of blocks."""

from __future__ import annotations

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError, StreamEnded
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.recordings.replay_source import DEFAULT_BLOCK_SAMPLES, RecordingSource


def _stream(n_samples: int, *, is_bare: bool = False) -> RecordedStream:
    info = StreamInfo("s", "EEG", "", 100.0, ("n", "x"), ("EEG", "EEG"), ("uV", "uV"))
    data = np.column_stack((np.arange(n_samples, dtype=np.float64), np.ones(n_samples)))
    numbers = None if is_bare else np.arange(n_samples, dtype=np.int64) * 2
    valid = None if is_bare else np.arange(n_samples) % 3 > 0
    return RecordedStream(info, data, np.arange(n_samples) / 100, numbers, valid)


def _all(source: RecordingSource) -> list[RawBlock]:
    blocks = []
    while True:
        try:
            blocks.append(source.read())
        except StreamEnded:
            return blocks


@pytest.mark.parametrize("chunking", [None, "1", "7", "1000000", "random:0", "random:5"])
def test_every_sample_comes_once_and_in_order(chunking: str | None) -> None:
    stream = _stream(1000)
    blocks = _all(RecordingSource(stream, chunking=chunking))
    np.testing.assert_array_equal(np.concatenate([data for data, *_ in blocks]), stream.data)
    np.testing.assert_array_equal(np.concatenate([stamps for _, stamps, *_ in blocks]), stream.timestamps)
    assert stream.sample_numbers is not None
    assert stream.valid is not None
    numbers = [numbers for _, _, numbers, _ in blocks if numbers is not None]
    np.testing.assert_array_equal(np.concatenate(numbers), stream.sample_numbers)
    np.testing.assert_array_equal(np.concatenate([v for *_, v in blocks if v is not None]), stream.valid)


def test_blocks_have_the_asked_size() -> None:
    assert [len(stamps) for _, stamps, *_ in _all(RecordingSource(_stream(20), chunking="8"))] == [8, 8, 4]
    sizes = [len(stamps) for _, stamps, *_ in _all(RecordingSource(_stream(300)))]
    assert sizes == [DEFAULT_BLOCK_SAMPLES, 300 - DEFAULT_BLOCK_SAMPLES]


def test_random_sizes_repeat_with_their_seed_and_include_empty_blocks() -> None:
    def sizes(seed: int) -> list[int]:
        return [len(stamps) for _, stamps, *_ in _all(RecordingSource(_stream(60000), chunking=f"random:{seed}"))]

    assert sizes(3) == sizes(3)
    assert sizes(3) != sizes(4)
    assert min(sizes(3)) == 0
    assert max(sizes(3)) == 200


def test_a_source_without_numbers_gives_none_and_says_what_is_left() -> None:
    source = RecordingSource(_stream(5, is_bare=True), chunking="3")
    assert source.info.name == "s"
    assert source.read()[2:] == (None, None)
    assert source.n_left == 2


def test_the_end_is_raised_again_and_again() -> None:
    source = RecordingSource(_stream(0))
    for _ in range(2):
        with pytest.raises(StreamEnded, match="'s' is over after 0 samples"):
            source.read()


def test_blocks_cannot_be_written_to() -> None:
    data, stamps, *_ = RecordingSource(_stream(5)).read()
    assert not data.flags.writeable
    assert not stamps.flags.writeable


@pytest.mark.parametrize("chunking", ["0", "-3", "some", "random", "random:", "random:x", "1.5", ""])
def test_a_chunking_that_is_none_is_refused(chunking: str) -> None:
    with pytest.raises(ConfigError, match="chunking must be a number of samples > 0 or random:SEED, got"):
        RecordingSource(_stream(1), chunking=chunking)
