"""Compile every kernel that a pipeline over a simulated stream needs: ``python warm_up.py CONFIG``."""

from __future__ import annotations

import sys
from importlib import import_module

from config.kernels import cache_folder
from config.loading import load_config
from stream.app import load_classifier
from stream.runner.warming import warm_up
from stream.sources.simulator import Simulator

config = load_config(sys.argv[1], [])
for process in ("hot", "cold", "recording", "amplifier"):  # kernels are compiled when their module is imported
    import_module(f"stream.runner.{process}")
simulator = Simulator(config.source.simulator)
simulator.generate(0, 64)
warm_up(config, simulator.info, load_classifier(config))
sys.stdout.write(f"{sum(1 for _ in cache_folder().rglob('*.nbc'))} kernels in {cache_folder()}\n")
