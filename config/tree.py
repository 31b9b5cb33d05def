"""The whole configuration of one pipeline: one frozen tree, read once."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from neuroloop.config.decision import Decision
from neuroloop.config.drift import AccuracySettings, DriftMonitorSettings
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.live import MarkerSettings, MetricsSettings, OutletSettings, ProcessSettings, RecorderSettings
from neuroloop.config.settings import Name, PositiveInt, Settings
from neuroloop.config.sinks import SinkSettings
from neuroloop.config.source import AnySource, SourceSettings
from neuroloop.config.stages import StageSettings
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.config.training import TrainSettings
from neuroloop.config.worker import WorkerSettings


class ClassifierSettings(Settings):
    """Which bundle classifies, and how its LSTM slides."""

    name: Name = "classifier"
    """Name of the stage, in dumps, taps and events."""
    bundle: str | None = None
    """Folder of a bundle, or the name of one that is shipped."""
    mode: Literal["window", "staggered", "carry"] = "window"
    """How the LSTM slides: anew over every window (``window``), the same bits with the work spread over the rows
    (``staggered``), or with a state that is never reset (``carry``)."""
    window_samples: PositiveInt | None = None
    """If given, must agree with the bundle: feature rows that one decision sees."""
    hop_samples: PositiveInt | None = None
    """If given, must agree with the bundle: feature rows between decisions."""


class Config(Settings):
    """Everything that one run depends on."""

    name: Name
    """Name of the pipeline, in files, events and topics."""
    description: str = ""
    """One line for people."""
    source: AnySource = SourceSettings()
    """Which stream is processed, and how its samples are numbered."""
    stages: tuple[StageSettings, ...] = ()
    """Numeric stages, in order; the first one reads the source."""
    classifier: ClassifierSettings | None = None
    """The network that turns the last stage's rows into class probabilities; none without it."""
    decision: Decision | None = None
    """Without it the bundle's own; a configuration that repeats the bundle's settings must agree with them, one with
    the ``kind`` of a policy of your own takes their place."""
    drift: tuple[DriftMonitorSettings, ...] = ()
    """Monitors, each on one tap; none unless given."""
    accuracy: AccuracySettings | None = None
    """How label markers judge the decisions; without it accuracy is not known."""
    markers: MarkerSettings = MarkerSettings()
    """Which marker streams are merged into the events of a live run."""
    outlets: OutletSettings = OutletSettings()
    """What a live run offers on the network."""
    process: ProcessSettings = ProcessSettings()
    """How the processes of a live run share the machine."""
    metrics: MetricsSettings = MetricsSettings()
    """Where Prometheus may scrape a live run."""
    recorder: RecorderSettings = RecorderSettings()
    """What a live run keeps of its signals."""
    sinks: tuple[SinkSettings, ...] | None = None
    """Where the events of a live run go besides: classes of your own."""
    stimulation: StimulationSettings | None = None
    """Without it nothing can stimulate."""
    kafka: KafkaSettings | None = None
    """The brokers: what a live run publishes, and where a source of kind ``kafka`` reads."""
    worker: WorkerSettings | None = None
    """How workers of a Kafka cluster share the streams; their defaults without it."""
    train: TrainSettings | None = None
    """How ``neuroloop train`` makes the bundle of this pipeline."""

    @model_validator(mode="after")
    def _kafka_is_given(self) -> Config:
        if self.source.kind == "kafka" and self.kafka is None:
            raise ValueError("kafka.bootstrap must be given for a source of kind 'kafka', got nothing")
        if self.source.kind == "kafka" and self.recorder.enabled:
            raise ValueError("recorder.enabled must be false for a source of kind 'kafka' (its topic keeps them)")
        if self.source.kind == "kafka" and self.kafka is not None and "samples" in self.kafka.publish:
            raise ValueError("kafka.publish must not name 'samples' for a source of kind 'kafka' (they are there)")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Config:
        names = [stage.name for stage in self.stages]
        if self.classifier is not None:
            names.append(self.classifier.name)
        seen: set[str] = {"input"}
        for index, name in enumerate(names):
            if name in seen:
                raise ValueError(f"stages.{index}.name must be distinct and not 'input', got {name!r}")
            seen.add(name)
        told: set[str] = set()
        for index, sink in enumerate(self.sinks or ()):
            if sink.name in told:
                raise ValueError(f"sinks.{index}.name must be distinct, got {sink.name!r}")
            told.add(sink.name)
        watched: set[str] = set()
        for index, monitor in enumerate(self.drift):
            if monitor.name in watched:
                raise ValueError(f"drift.{index}.name must be distinct, got {monitor.name!r}")
            watched.add(monitor.name)
            if monitor.watch == "model" and (
                self.classifier is None or monitor.tap not in (None, self.classifier.name)
            ):
                raise ValueError(f"drift.{index}.watch must be 'signal' but on the classifier, got 'model'")
        if self.accuracy is not None and self.classifier is None:
            raise ValueError("accuracy must be left out where there is no classifier")
        if self.stimulation is not None and self.classifier is None:
            raise ValueError("stimulation must be left out where there is no classifier")
        if self.decision is not None and self.classifier is None:
            raise ValueError("decision must be left out where there is no classifier")
        return self
