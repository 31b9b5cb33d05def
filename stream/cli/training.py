"""``neuroloop train`` and ``neuroloop evaluate``: make a bundle, measure a bundle."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.models.evaluation import evaluate
from neuroloop.stream.assembly.bundles import find_bundle
from neuroloop.stream.assembly.stage_checks import build_stages
from neuroloop.stream.contracts.chunks import make_chunk
from neuroloop.stream.sources.simulator import Simulator

if TYPE_CHECKING:
    from neuroloop.models.training.streams import LabelledStream

_FIRST_SEED, _N_SEEDS, _STRETCH_S = 1000, 12, 120.0


def run_train(options: argparse.Namespace) -> int:
    """Train and write a bundle."""
    from neuroloop.models.training.progress import progress_bars
    from neuroloop.models.training.train import train, train_streams

    config = load_config(options.config, options.set)
    if config.train is None:
        raise ConfigError(f"train must be a section of the configuration, got none in {options.config!r}")
    simulated = config.train.recipe == "simulator"
    if simulated == (options.data is not None):
        rule = "left out" if simulated else "the folder of the training data"
        raise ConfigError(f"data must be {rule} for recipe {config.train.recipe!r}, got {options.data!r}")
    with progress_bars() as progress:
        if simulated:
            streams, source = simulated_streams(config)
            report = train_streams(
                config.train, streams, options.out, source=source, build_stages=build_stages, progress=progress
            )
        else:
            report = train(config.train, options.data, options.out, build_stages=build_stages, progress=progress)
    recall = ", ".join(f"{name} {value:.3f}" for name, value in report["recall"].items())
    print(f"held-out blocks: accuracy {report['accuracy']:.3f}, macro recall {report['macro_recall']:.3f} ({recall})")
    print(options.out)
    return 0


def simulated_streams(config: Config) -> tuple[list[LabelledStream], dict[str, Any]]:
    """Return labelled stretches of the configuration's simulator, each of another seed, and what they are."""
    from neuroloop.models.training.streams import LabelledStream

    if config.train is None:
        raise ConfigError("train must be a section of the configuration, got none")
    classes = {name: index for index, name in enumerate(config.train.classes)}
    info = Simulator(config.source.simulator).info
    streams = []
    for number in range(1, _N_SEEDS + 1):
        settings = config.source.simulator.model_copy(update={"seed": _FIRST_SEED + number})
        simulator = Simulator(settings)
        data, timestamps = simulator.generate(0, round(_STRETCH_S * settings.sfreq))
        labels = np.array([classes[simulator.state_at(sample)] for sample in range(len(data))])
        chunk = make_chunk(data, timestamps, 0, np.ones(len(data), np.bool_), info)
        streams.append(LabelledStream(chunk, labels, number, number))
    source = {
        "simulator": config.source.simulator.model_dump(mode="json"),
        "seeds": [_FIRST_SEED + 1, _FIRST_SEED + _N_SEEDS],
        "stretch_s": _STRETCH_S,
    }
    return streams, source


def run_evaluate(options: argparse.Namespace) -> int:
    """Evaluate a bundle and write report.json."""
    report = evaluate(find_bundle(options.bundle), options.data, options.out, build_stages=build_stages)
    recall = ", ".join(
        f"{name} {value:.3f}" if value is not None else f"{name} not in the data"
        for name, value in report["recall"].items()
    )
    print(f"accuracy {report['accuracy']:.3f}, macro recall {report['macro_recall']:.3f} ({recall})")
    print(options.out / "report.json")
    return 0
