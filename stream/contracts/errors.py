"""The errors that a user can cause, one tree."""

from __future__ import annotations


class NeuroloopError(Exception):
    """Root of every error that a user can cause; its text is one clear line.

    ::

        NeuroloopError
        |-- ConfigError         a setting is wrong, unknown or contradicts another
        |-- RecordingError      a file cannot be read as what it claims to be
        |-- StreamMismatch      a stream disagrees with what the pipeline was made for
        |-- BundleError         a model bundle is missing, altered or of another kind
        |-- WireError           a message cannot be read as what it claims to be, or cannot be written
        |-- BrokerError         a Kafka broker cannot be reached, refuses, or lacks a topic
        |-- StreamEnded         a source has no further sample (a recording is over)
        `-- StreamLost          a live source stopped delivering
    """


class ConfigError(NeuroloopError):
    """A setting is wrong, unknown or contradicts another; lists every fault, one per line."""


class RecordingError(NeuroloopError):
    """A recording cannot be read as what it claims to be."""


class StreamMismatch(NeuroloopError):
    """A stream's rate, channels or units disagree with what the pipeline was made for."""


class BundleError(NeuroloopError):
    """A model bundle is missing, altered or made for something else."""


class WireError(NeuroloopError):
    """A message cannot be read as what it claims to be, or cannot be written."""


class BrokerError(NeuroloopError):
    """A Kafka broker cannot be reached, refuses the client, or lacks a topic."""


class StreamEnded(NeuroloopError):
    """A source has no further sample; not a failure."""


class StreamLost(NeuroloopError):
    """A live source stopped delivering."""
