"""A pipeline in the hands of a user: arrays in, events and rows out, the same numbers as in a run."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from neuroloop import blocks
from neuroloop.config.errors import ConfigError, InputError, StreamMismatch
from neuroloop.config.loading import load_config, parse
from neuroloop.config.tree import Config
from neuroloop.descriptions import describe, stream_info, with_units
from neuroloop.lsl_stream import LiveFeed, LslStream, interrupts_held
from neuroloop.results import Output, Result
from neuroloop.stream.assembly.build import Built, build
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.assembly.plan import Plan
from neuroloop.stream.contracts.chunks import Chunk, RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import INPUT_TAP
from neuroloop.stream.live.warm_up import warm_up
from neuroloop.stream.sources.recordings.recording import RecordedStream, Recording, select_stream


def open_pipeline(
    config: str | os.PathLike[str] | Config | Mapping[str, Any],
    stream: Any = None,
    *,
    sfreq: float | None = None,
    units: str | Sequence[str] | None = None,
    channels: Sequence[str] | int | None = None,
    outputs: Iterable[str] | None = None,
) -> Pipeline:
    """Open a pipeline for one stream.

    Parameters
    ----------
    config : str, path, Config or mapping
        Name of a preset, a YAML file, what `load_config` returned, or the settings themselves.
    stream : optional
        What will be pushed: a `StreamInfo`, an MNE ``Raw`` or ``Info``, what `open_recording` returned or one of its
        streams, or an open LSL stream (`open_stream`), which `Pipeline.run` reads. Nothing for bare arrays.
    sfreq : float, optional
        Rate of bare arrays in Hz.
    units : str or sequence of str, optional
        Unit of bare arrays (``uV``), or of the channels of a stream that says none; ``''`` where there is none.
    channels : sequence of str or int, optional
        Names of the channels of bare arrays, or their number; ``ch1``, ``ch2``, ... as many as the first array has
        otherwise.
    outputs : iterable of str, optional
        Stages whose rows are wanted, ``input`` for the numbered samples; all stages otherwise.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or rate and unit of bare arrays are not given.
    StreamMismatch, BundleError
        If stream, configuration and model do not fit each other.
    """
    settings = as_config(config)
    if isinstance(stream, Recording):
        stream = select_stream(stream)
    info = describe(stream)
    if info is None:
        if sfreq is None or (units is None and settings.source.units is None):
            rule = "sfreq and units must be given for bare arrays (such as sfreq=250, units='uV'), or a stream"
            raise ConfigError(f"{rule}, got sfreq {sfreq!r} and units {units!r}")
        unit = units if units is not None else str(settings.source.units)
        if channels is not None:
            info = stream_info(sfreq=sfreq, channels=channels, units=unit)
        return Pipeline(settings, info, outputs=outputs, array_rate_hz=sfreq, array_units=unit)
    for name, value in (("sfreq", sfreq), ("channels", channels)):
        if value is not None:
            raise ConfigError(f"{name} must be left out for a stream that says it, got {value!r}")
    unit_of_rest = units if units is not None else settings.source.units
    is_described_by_hand = isinstance(stream, StreamInfo)
    info = with_units(info, unit_of_rest if unit_of_rest is not None or is_described_by_hand else "")
    first_sample = stream.first_sample if isinstance(stream, (RecordedStream, LslStream)) else 0
    live = stream if isinstance(stream, LslStream) else None
    return Pipeline(settings, info, outputs=outputs, first_sample=first_sample, live=live)


class Pipeline:
    """The stages of a configuration for one stream; made by `open_pipeline`, used in one thread.

    ``with`` closes it.
    """

    def __init__(
        self,
        config: Config,
        info: StreamInfo | None,
        *,
        outputs: Iterable[str] | None = None,
        first_sample: int = 0,
        live: LslStream | None = None,
        array_rate_hz: float | None = None,
        array_units: str | Sequence[str] = "",
    ) -> None:
        self.config = config
        self._wanted = None if outputs is None else tuple(outputs)
        self._first_sample = first_sample
        self._array_rate_hz, self._array_units = array_rate_hz, array_units
        self._rows: dict[str, list[Chunk]] = {}
        self._infos: dict[str, StreamInfo] = {}
        self._n_pushed = 0
        self._stamps_given: bool | None = None
        self._is_finished = False
        self._built: Built | None = None
        self._engine: Engine | None = None
        self._feed: LiveFeed | None = None
        if info is not None:
            self._build(info)
        if live is not None:
            self._feed = LiveFeed(live, config)

    def _build(self, info: StreamInfo) -> Engine:
        """Make the stages, with a receiver behind each of those whose rows are wanted."""
        wanted_channels = self.config.source.channels
        if wanted_channels is not None and wanted_channels != info.n_channels:
            rule = f"source.channels must be the stream's number of channels ({info.n_channels})"
            raise StreamMismatch(f"{rule}, got {wanted_channels}")
        bundle = load_classifier(self.config)
        # a bundle owns the stages before its classifier
        stages = bundle.settings.stages if bundle is not None else self.config.stages
        known = [stage.name for stage in stages]
        if bundle is not None and self.config.classifier is not None:
            known.append(self.config.classifier.name)
        names = known if self._wanted is None else self._wanted
        for name in names:
            if name not in (INPUT_TAP, *known):
                raise ConfigError(f"outputs must name stages ({', '.join([INPUT_TAP, *known])}), got {name!r}")
        self._rows = {name: [] for name in names}
        taps = {name: rows.append for name, rows in self._rows.items()}
        built = build(self.config, info, bundle=bundle, taps=taps)
        self._infos = {INPUT_TAP: info} | {stage.name: stage.info_out for stage in built.pipeline.stages}
        self._built = built
        self._engine = Engine(self.config.source, built.pipeline, first_sample=self._first_sample)
        return self._engine

    @property
    def info(self) -> StreamInfo:
        """The stream that comes in."""
        return self._known().plan.stream

    @property
    def plan(self) -> Plan:
        """What is computed: stages, rates, delays, warm-up, memory, and the hash of it all."""
        return self._known().plan

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(str(row["name"]) for row in self._known().plan.stages)

    def _known(self) -> Built:
        if self._built is None:
            raise InputError("channels must be given, or an array pushed, before the plan is known, got neither")
        return self._built

    def _running(self) -> Engine:
        if self._engine is None:
            raise InputError("x must be pushed first, got nothing")
        return self._engine

    def push(
        self,
        x: Any,
        timestamps: Any = None,
        *,
        markers: Iterable[Marker | tuple[float, str]] = (),
        sample_numbers: Any = None,
        valid: Any = None,
    ) -> Result:
        """Process samples; how a signal is cut into pushes changes no number.

        Parameters
        ----------
        x : array, shape (n_samples, n_channels), Chunk, recording or MNE Raw
            Not changed and not kept; may be used for something else afterwards. A Raw brings its annotations along, a
            recording its markers.
        timestamps : array, shape (n_samples,), optional
            Of an array, in seconds; without them the samples follow each other at the nominal rate from 0 on. Given
            with every array or with none.
        markers : iterable of Marker or (time, label)
            On the clock of the stamps; of any time, each becomes an event at its sample.
        sample_numbers : array of int, shape (n_samples,), optional
            The sender's own count of samples, where it has one: lost ones show as gaps.
        valid : array of bool, shape (n_samples,), optional
            False for samples that are known to be bad.

        Raises
        ------
        InputError
            If an array has the wrong shape or values, or the pipeline is finished.
        StreamMismatch
            If what is pushed is of another stream.
        """
        self._check_open("push")
        if blocks.has_own_stamps(x):
            if timestamps is not None or sample_numbers is not None or valid is not None:
                raise InputError(f"timestamps must be left out for a {type(x).__name__}, which has its own")
            if self._engine is None:
                raise InputError(f"stream must be given to open_pipeline for a {type(x).__name__}, got none")
            info = self._engine.pipeline.info
            known, parts = [*blocks.own_markers(x), *blocks.check_markers(markers)], blocks.own_blocks(x, info)
        else:
            known = list(blocks.check_markers(markers))
            parts = iter((self._array_block(x, timestamps, sample_numbers, valid),))
        return self._push_all(parts, known)

    def _array_block(self, x: Any, timestamps: Any, sample_numbers: Any, valid: Any) -> RawBlock:
        """Return an array's samples with their stamps."""
        engine = self._engine
        data = blocks.check_array(x, None if engine is None else engine.pipeline.info.n_channels)
        n_samples = len(data)
        numbers, flags = blocks.check_numbers(sample_numbers, n_samples), blocks.check_flags(valid, n_samples)
        stamps = None if timestamps is None else blocks.check_stamps(timestamps, n_samples)
        if self._stamps_given not in (None, stamps is not None):
            given = "with" if stamps is None else "without"
            raise InputError(f"timestamps must be given with every array or with none, got one {given} them before")
        if stamps is not None and numbers is None and self.config.source.timing == "counter":
            raise InputError("sample_numbers must be given with source.timing 'counter', got none")
        info = (engine or self._build_for_arrays(data.shape[1])).pipeline.info
        self._stamps_given = stamps is not None
        if stamps is None:
            counted = np.arange(self._n_pushed, self._n_pushed + n_samples)
            numbers = counted if numbers is None else numbers
            stamps = numbers / info.sfreq
        return RawBlock(data, stamps, numbers, flags)

    def _build_for_arrays(self, n_channels: int) -> Engine:
        """Build for bare arrays whose first one says how many channels there are."""
        if n_channels == 0:
            raise InputError("x must have at least one channel, got none")
        rate_hz = self._array_rate_hz or 0.0
        return self._build(stream_info(sfreq=rate_hz, channels=n_channels, units=self._array_units))

    def _push_all(self, parts: Iterator[RawBlock], markers: Sequence[Marker]) -> Result:
        """Push block after block and return what all of them gave."""
        engine, events = self._running(), []
        engine.add_markers(markers)
        for block in parts:
            self._n_pushed += len(block.timestamps)
            for piece in blocks.pieces(block):
                events += engine.push_block(piece)
        return self._result(events)

    def run(self, seconds: float | None = None) -> Result:
        """Process the LSL stream that the pipeline was opened for, in this process.

        Parameters
        ----------
        seconds : float, optional
            How long; without it until the sender stops or Ctrl-C (in a notebook: interrupt). It may be called again
            and goes on where it was: samples that came between two calls are not lost as long as liblsl keeps them
            (six minutes).

        Raises
        ------
        InputError
            If the pipeline has no LSL stream.
        StreamLost
            If the sender had stopped before.
        """
        events: list[Event] = []
        with interrupts_held() as is_interrupted:
            for some in self._follow(seconds, is_interrupted):
                events += some
        return self._result(events)

    def follow(self, seconds: float | None = None) -> Iterator[Result]:
        """Do what `run` does, and yield a result whenever samples have come."""
        for events in self._follow(seconds, lambda: False):
            yield self._result(events)

    def _follow(self, seconds: float | None, is_stopped: Callable[[], bool]) -> Iterator[list[Event]]:
        self._check_open("run")
        feed, engine = self._feed, self._engine
        if feed is None or engine is None:
            raise InputError("stream must be an open LSL stream (neuroloop.open_stream) for run(), got another")
        if not feed.is_subscribed:
            warm_up(self.config, self.info, self._known().bundle)
            feed.subscribe()
        end = None if seconds is None else time.perf_counter() + seconds
        yield from feed.events(engine, end, is_stopped)

    def finish(self) -> Result:
        """Return what is left to say after the last sample (what was still open, markers of later times), and close.

        Raises
        ------
        InputError
            If it is finished already.
        """
        self._check_open("finish")
        events = [] if self._engine is None else self._engine.finish()
        result = self._result(events)
        self.close()
        return result

    def close(self) -> None:
        """Take no more samples and leave the LSL stream; may be called twice."""
        self._is_finished = True
        if self._feed is not None:
            self._feed.close()

    def _check_open(self, what: str) -> None:
        if self._is_finished:
            raise InputError(f"{what} must come before finish() or the end of 'with', got it after")

    def _result(self, events: list[Event]) -> Result:
        """Return the events with the rows that came since the last call."""
        outputs = {name: Output.of(name, self._infos[name], rows) for name, rows in self._rows.items()}
        for rows in self._rows.values():
            rows.clear()
        return Result(events, outputs)

    def __enter__(self) -> Pipeline:
        """Return the open pipeline."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_config(config: str | os.PathLike[str] | Config | Mapping[str, Any]) -> Config:
    """Return the settings that were named or given, as `open_pipeline` takes them."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return parse({"name": "pipeline", **copy.deepcopy(dict(config))})
    if isinstance(config, (str, os.PathLike)):
        return load_config(config if isinstance(config, str) else str(Path(config)))
    raise ConfigError(f"config must be a preset, a path, a Config or a mapping, got {type(config).__name__}")
