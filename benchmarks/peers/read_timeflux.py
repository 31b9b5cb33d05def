"""Read with timeflux: its LSL node and a node that receives, rate 0. Runs in that peer's own environment."""

import sys
import time
import types

import numpy as np
import pylsl

# timeflux imports this name, which pylsl 1.17 and later no longer have; it never calls it.
pylsl.resolve_stream = pylsl.resolve_streams
# timeflux takes the clock and the flags from pylsl's inner module of that name, which pylsl 1.17 split into several.
pylsl.pylsl = types.SimpleNamespace(
    local_clock=pylsl.local_clock, proc_clocksync=pylsl.proc_clocksync, proc_dejitter=pylsl.proc_dejitter
)

from timeflux.core.exceptions import WorkerInterrupt  # noqa: E402
from timeflux.core.node import Node  # noqa: E402
from timeflux.core.scheduler import Scheduler  # noqa: E402
from timeflux.core.worker import Worker  # noqa: E402

source_id, n_samples, base_ns, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
n_skipped = n_samples // 3
latencies: list[np.ndarray] = []


class Receiver(Node):
    """Notes when a data frame is in its hands."""

    def update(self):
        """Note, and end after enough."""
        done = time.perf_counter_ns()
        if not self.i.ready():
            return
        latencies.append(done - base_ns - np.rint(self.i.data.to_numpy()[:, 0] * 2.0**30).astype(np.int64))
        if len(latencies) % 50 == 0 and sum(map(len, latencies)) > n_samples + n_skipped:
            raise WorkerInterrupt


graph = {
    "id": "bench",
    "rate": 0,
    "nodes": [
        {
            "id": "inlet",
            "module": "timeflux.nodes.lsl",
            "class": "Receive",
            "params": {"prop": "source_id", "value": source_id},
        },
        {"id": "receiver", "module": __name__, "class": "Receiver", "params": {}},
    ],
    "edges": [{"source": "inlet", "target": "receiver"}],
}

if __name__ == "__main__":
    nodes = Worker(graph).load()
    try:
        Scheduler(*nodes, graph["rate"]).run()
    except WorkerInterrupt:
        np.save(path, np.concatenate(latencies)[n_skipped : n_skipped + n_samples])
