"""Compile every kernel that a pipeline over a simulated stream needs: ``python warm_up.py CONFIG``."""

from __future__ import annotations

import sys
from importlib import import_module

from neuroloop.config.kernels import cache_folder
from neuroloop.config.loading import load_config
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.live.warm_up import warm_up
from neuroloop.stream.sources.simulator import Simulator

config = load_config(sys.argv[1], [])
for process in (
    "hot_process",
    "cold_process",
    "recorder_process",
    "virtual_amplifier",
):  # kernels are compiled when their module is imported
    import_module(f"neuroloop.stream.live.{process}")
simulator = Simulator(config.source.simulator)
simulator.generate(0, 64)
warm_up(config, simulator.info, load_classifier(config))
sys.stdout.write(f"{sum(1 for _ in cache_folder().rglob('*.nbc'))} kernels in {cache_folder()}\n")
