"""Read with ezmsg-lsl: its inlet unit and a unit that receives. Runs in that peer's own environment."""

import sys
import time

import ezmsg.core as ez
import numpy as np
import pylsl
from ezmsg.lsl.inlet import LSLInfo, LSLInletSettings, LSLInletUnit
from ezmsg.util.messages.axisarray import AxisArray

source_id, n_samples, base_ns, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
n_skipped = n_samples // 3
latencies: list[np.ndarray] = []


class Receiver(ez.Unit):
    """Notes when a message is in its hands."""

    INPUT = ez.InputStream(AxisArray)

    @ez.subscriber(INPUT)
    async def on_message(self, message: AxisArray) -> None:
        """Note, and end after enough."""
        done = time.perf_counter_ns()
        if len(message.data):
            latencies.append(done - base_ns - np.rint(message.data[:, 0] * 2.0**30).astype(np.int64))
        if len(latencies) % 50 == 0 and sum(map(len, latencies)) > n_samples + n_skipped:
            np.save(path, np.concatenate(latencies)[n_skipped : n_skipped + n_samples])
            raise ez.NormalTermination


class Both(ez.Collection):
    """Inlet and receiver."""

    INLET = LSLInletUnit()
    RECEIVER = Receiver()

    def configure(self) -> None:
        """Name the stream."""
        info = LSLInfo(name="bench", type="EEG")
        self.INLET.apply_settings(LSLInletSettings(info=info, processing_flags=pylsl.proc_none, use_lsl_clock=True))

    def network(self) -> ez.NetworkDefinition:
        """Connect them."""
        return ((self.INLET.OUTPUT_SIGNAL, self.RECEIVER.INPUT),)


if __name__ == "__main__":
    ez.run(SYSTEM=Both())
