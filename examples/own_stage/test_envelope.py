"""What a lab tests of its stage: the numbers by hand, and that neuroloop's own checks find nothing."""

from pathlib import Path

import numpy as np
from mylab.envelope import Envelope

from neuroloop.config.loading import load_config
from neuroloop.processors.stages.proof import as_chunk
from neuroloop.processors.stages.verdict import prove
from neuroloop.stream.assembly.stage_checks import build_stages
from neuroloop.stream.sources.simulator import Simulator

CONFIG = load_config(str(Path(__file__).with_name("envelope.yaml")))
INFO = Simulator(CONFIG.source.simulator).info


def test_a_constant_becomes_its_own_envelope():
    """After the warm-up, to 1 %."""
    stage = Envelope(CONFIG.stages[1], INFO)
    out = stage.process(as_chunk(np.full((200, INFO.n_channels), 5.0), INFO))
    np.testing.assert_allclose(out.data[out.valid], 5.0, rtol=0.01)
    assert out.valid.any()


def test_the_checks_of_every_stage_find_nothing():
    """Which takes a few seconds: one of them runs a process without the newer features of the CPU."""
    stages = build_stages(CONFIG.stages, INFO)
    assert prove(Envelope, CONFIG.stages[1], stages[1].info_in).verdict == "exact"
