"""The errors that a user can cause, one tree; the shared ones are defined here, the others where they arise."""

from __future__ import annotations

from neuroloop.config.plain_text import clean

_MOST_LINE = 4000


class NeuroloopError(Exception):
    """Root of every error that a user can cause; its text is one clear line, or one line per fault.

    ::

        NeuroloopError
        |-- ConfigError         a setting is wrong, unknown or contradicts another
        |-- InputError          what was handed to a pipeline in Python is not what it takes
        |-- RecordingError      a file cannot be read as what it claims to be
        |-- StreamMismatch      a stream disagrees with what the pipeline was made for
        |-- StageFailed         a stage of somebody's own failed, or gave out what no stage may
        |-- PolicyFailed        a policy of somebody's own failed, or named what is no state
        |-- ProofFailed         a stage does not hold what every stage must
        |-- StreamEnded         a source has no further sample (a recording is over)
        |-- StreamLost          a live source stopped delivering
        |-- BundleError         a model bundle is missing, altered or of another kind
        |-- BaselineError       a drift baseline is missing, altered or of something else
        |-- WireError           a message cannot be read as what it claims to be, or cannot be written
        |-- BrokerError         a Kafka broker cannot be reached, refuses, or lacks a topic
        |-- WorkerError         a worker cannot go on
        |   `-- PlanMismatch    a stream's snapshot was made by another pipeline
        |-- StreamRefused       a worker cannot process this stream
        |-- SnapshotError       bytes are no snapshot, or one of another version
        |-- SharedMemoryError   shared memory is too small or not to be had
        |-- RunFailed           a process of a run died, or could not do its work
        |-- RunFolderError      the folder of a run cannot be made or written
        |-- DumpError           a dump cannot be written
        |-- MetricsError        metrics cannot be served
        |-- ReportError         a report cannot be made or written
        |-- ExportError         a run cannot be exported
        |-- DeviceError         a stimulator cannot be opened or reached
        |-- ControlError        the operator's socket cannot be made, or nobody answers on it
        |-- AuditError          a stimulation log cannot be made, or cannot be read as one
        |-- LedgerError         the ledger of charge cannot be opened, is in use, or does not hold
        |-- SealError           something sealed cannot be made or opened
        |   `-- BlindingError   a list of assignments cannot be made, read or used as asked
        |-- LoopbackError       the latency of the closed loop cannot be measured
        |-- SoakFailed          a check of a long run failed
        `-- DemoFailed          a demo did not come to what it shows
    """

    def lines(self) -> tuple[str, ...]:
        """Return what a person reads: one line a fault, whatever the names in it hold; none is cut off or forged."""
        return tuple(clean(one, _MOST_LINE) for one in self.args) or (type(self).__name__,)


class ConfigError(NeuroloopError, ValueError):
    """The configuration is wrong: a setting is unknown, out of range or contradicts another.

    A `ValueError` too, because that is what it is to a caller of Python.

    Parameters
    ----------
    *faults : str
        At least one, each in one line that names its setting.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)

    @property
    def faults(self) -> tuple[str, ...]:
        """Every fault that was found, in the order of the settings."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.faults)


class InputError(NeuroloopError, ValueError):
    """What was handed to a pipeline in Python is not what it takes; a `ValueError` too."""


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


class DemoFailed(NeuroloopError):
    """A demo did not come to what it shows, or its log does not prove it."""
