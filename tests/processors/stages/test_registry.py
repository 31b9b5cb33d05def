from __future__ import annotations

import numpy as np
import pytest
from numba.core import event

from neuroloop.config.settings import Settings
from neuroloop.config.stages import FilterSettings, LowpassDesign, PickSettings
from neuroloop.processors.stages.registry import STAGES, StageKind, build_stage, register
from neuroloop.stream.contracts.chunks import Chunk
from tests.processors import naive

EXAMPLES = [example for stage in STAGES.values() for example in stage.examples]


def test_every_kind_of_settings_is_registered() -> None:
    assert set(STAGES) == {"filter", "reference", "pick", "window", "bandpower", "logvar", "zscore", "artifacts"}


def test_a_kind_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match="kind must be new, got 'pick'"):
        register("pick", StageKind(PickSettings, build_stage, ()))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TypeError, match=r"settings must be of a registered stage \(filter, .*\), got Settings"):
        build_stage(Settings(), naive.EXAMPLE_INFO)


def test_nothing_is_compiled_whatever_the_chunks_come_from() -> None:
    x = np.random.default_rng(2).standard_normal((400, 4))
    stamps, valid = np.arange(400.0), np.ones(400, np.bool_)
    ring = np.zeros((1000, 4))
    ring[300:700] = x
    raw = np.frombuffer(x.tobytes(), np.float64).reshape(400, 4)
    wide = np.tile(x, 2)
    frozen = x.copy()
    frozen.setflags(write=False)
    with event.install_recorder("numba:compile") as recorder:
        for example in EXAMPLES:
            for rows in (x, ring[300:700], raw, frozen, np.asfortranarray(x), wide[:, 1:5]):
                chunk = Chunk(rows, stamps, 0, valid, naive.EXAMPLE_INFO)
                build_stage(example, naive.EXAMPLE_INFO).process(chunk)
    assert recorder.buffer == []


def test_chunks_of_another_type_are_refused_before_anything_is_computed() -> None:
    stage = build_stage(FilterSettings(kind="filter", designs=(LowpassDesign(freq_hz=20),)), naive.EXAMPLE_INFO)
    single = Chunk(np.zeros((5, 4), np.float32), np.zeros(5), 0, np.ones(5, np.bool_), naive.EXAMPLE_INFO)
    with pytest.raises(TypeError, match=r"^data of a chunk of stage 'filter' must be float64, got float32$"):
        stage.process(single)
