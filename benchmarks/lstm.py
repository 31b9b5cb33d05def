"""The sliding LSTM: one step, and one whole window, beside torch and onnxruntime on one thread.

Every side computes the same: LSTM, dense head, softmax, from the same weights, one window or one row a call; the
answers are compared before anything is timed. Ours is timed as a pipeline calls it (`SlidingLstm.push`: checks, cast
from float64, output arrays included), torch under ``no_grad`` on one thread, onnxruntime with one thread and without
spinning, its graph built by hand.

What limits each row
--------------------
- *One step*: the call. At 32 units and features the arithmetic takes about 0.4 us of 1.8; passing ten arguments to a
  compiled kernel costs 0.5 us, the two output arrays 0.2 us, checks and counters the rest. Rows handed over together
  pay it once: about 0.2 us a row at 32 units, 0.8 at 64, whose two matrices (128 KiB) are read from second cache.
- *Bidirectional window*: reading the recurrent weights. At 64 units one direction's are 64 KiB against 48 KiB of first
  cache; multiplying by them takes 250 ns a step where fused multiply-adds alone would take 125. The gates take 45 ns.

What was tried
--------------
- Rows of all ``4 * hidden`` weights in one stream: 550 ns a step at 64 units; one stream per block of 16 units: 330;
  the same with the blocks in reverse at every second step, so that the last read are still cached: 280. Reversing the
  order of ``k`` instead gives 265 and would make the sum's order depend on the step's parity.
- Prefetch instructions: within the noise. Sixteen sums in registers in place of eight: no gain at 64 units.
- int8 or bfloat16 weights would halve the reading and were not tried: they change the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import LeftOut, Row
from neuroloop.config.bundle import DenseLayer, LstmLayer, NetworkSettings
from neuroloop.models.lstm.lstm import SlidingLstm
from neuroloop.models.lstm.packing import pack_weights
from neuroloop.models.lstm.weights import directions, expected_tensors
from neuroloop.models.lstm.workspace import Mode

Tensors = dict[str, NDArray[np.float32]]
Call = Callable[[], NDArray[Any]]

TOPIC = "lstm"
STEP_UNITS = (32, 64)
WINDOW_FEATURES = (1, 32)
WINDOW = 178
ONNX_GATES = (0, 3, 1, 2)
"""ONNX keeps input, output, forget, cell where torch keeps input, forget, cell, output."""
WARM_UP_CALLS = 20


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return (len(STEP_UNITS) + len(WINDOW_FEATURES)) * len(_PEERS)


def rows(quick: bool) -> Iterator[Row | LeftOut]:
    """Measure everything; ``quick`` makes fewer repetitions.

    Parameters
    ----------
    quick : bool

    Yields
    ------
    Row or LeftOut
        One for each case and peer.
    """
    n_repeats, n_steps, n_windows = (7, 200, 10) if quick else (31, 2000, 100)
    for hidden in STEP_UNITS:
        network = make_network(hidden, ((hidden, False),), ())
        yield from _compare(network, f"one step, {hidden} units, {hidden} features", 1, "carry", n_repeats, n_steps)
    for n_features in WINDOW_FEATURES:
        network = make_network(n_features, ((64, True), (32, True)), (16,))
        case = f"bidirectional 64 + 32 units, {WINDOW} steps, {n_features} features"
        yield from _compare(network, case, WINDOW, "window", n_repeats, n_windows)


def make_network(n_features: int, layers: tuple[tuple[int, bool], ...], head: tuple[int, ...]) -> NetworkSettings:
    """Describe a network of three classes; ``layers`` are hidden units and whether bidirectional."""
    return NetworkSettings(
        n_features=n_features,
        lstm=tuple(LstmLayer(hidden=hidden, bidirectional=both) for hidden, both in layers),
        head=tuple(DenseLayer(units=units) for units in head),
        n_classes=3,
    )


def random_tensors(network: NetworkSettings) -> Tensors:
    """Draw weights uniformly within 0.1."""
    rng = np.random.default_rng(1)
    return {name: rng.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in expected_tensors(network).items()}


def _compare(
    network: NetworkSettings, case: str, n_rows: int, mode: Mode, n_repeats: int, n_calls: int
) -> Iterator[Row | LeftOut]:
    """Time one case on all sides that are installed, in turns, and give one row per peer."""
    tensors = random_tensors(network)
    x = np.random.default_rng(2).standard_normal((n_rows, network.n_features))
    calls = {"ours": _ours(network, tensors, x, mode)}
    for name, make in _PEERS.items():
        try:
            calls[name] = make(network, tensors, x.astype(np.float32))
        except ImportError as error:
            yield LeftOut(TOPIC, f"{case} | {name}", f"{error} (extras 'train' and 'bench')")
    answers = {name: call() for name, call in calls.items()}
    for name, answer in answers.items():
        if not np.allclose(answer, answers["ours"], atol=1e-5, rtol=0):
            raise RuntimeError(f"{name} must agree with ours within 1e-5 in {case!r}, got {answer!r}")
    times = _interleaved(calls, n_repeats, n_calls)
    ours = times.pop("ours")
    for peer, theirs in times.items():
        ratios = [their / own for own, their in zip(ours, theirs, strict=True)]
        yield Row(TOPIC, case, *_middle(ours), peer, *_middle(theirs), *_middle(ratios), "one thread, same weights")


def _interleaved(calls: dict[str, Call], n_repeats: int, n_calls: int) -> dict[str, list[float]]:
    """Return microseconds a call, ``n_repeats`` of them each, taken in turns so that all sides share the weather."""
    for call in calls.values():
        for _ in range(WARM_UP_CALLS):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(n_repeats):
        for name, call in calls.items():
            begin = time.perf_counter_ns()
            for _ in range(n_calls):
                call()
            times[name].append((time.perf_counter_ns() - begin) / n_calls / 1000)
    return times


def _middle(values: list[float]) -> tuple[float, float]:
    """Return the median and the distance between the quartiles."""
    low, middle, high = quantiles(values, n=4)
    return middle, high - low


def _ours(network: NetworkSettings, tensors: Tensors, x: NDArray[np.float64], mode: Mode) -> Call:
    """Push one window (or one row) a call; in mode ``carry`` the state starts anew so that answers can be compared."""
    lstm = SlidingLstm(pack_weights(network, tensors), window_samples=len(x), hop_samples=len(x), mode=mode)
    valid = np.ones(len(x), np.bool_)
    return lambda: lstm.push(x, valid)[0][0]


def _torch(network: NetworkSettings, tensors: Tensors, x: NDArray[np.float32]) -> Call:
    """Run torch's own layers; a single row carries its state on."""
    import torch

    torch.set_num_threads(1)
    lstms, linears, n_in = [], [], network.n_features
    for index, layer in enumerate(network.lstm):
        cell = torch.nn.LSTM(n_in, layer.hidden, bidirectional=layer.bidirectional, batch_first=True)
        for direction in directions(layer.bidirectional):
            suffix = "_l0" if direction == "forward" else "_l0_reverse"
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                parameter = getattr(cell, kind + suffix)
                parameter.data[:] = torch.from_numpy(tensors[f"lstm.{index}.{direction}.{kind}"])
        lstms.append(cell)
        n_in = layer.hidden * (2 if layer.bidirectional else 1)
    for name in _linear_names(network):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data[:], linear.bias.data[:] = torch.from_numpy(weight), torch.from_numpy(bias)
        linears.append(linear)
    rows, state, carried = torch.from_numpy(x)[None], None, len(x) == 1

    def call() -> NDArray[Any]:
        nonlocal state
        with torch.no_grad():
            y = rows
            for cell in lstms:
                y, (h_n, c_n) = cell(y, state)
            state = (h_n, c_n) if carried else None
            z = torch.cat(list(h_n), 1)
            for linear in linears[:-1]:
                z = torch.relu(linear(z))
            return torch.softmax(linears[-1](z), 1)[0].numpy()

    return call


def _onnxruntime(network: NetworkSettings, tensors: Tensors, x: NDArray[np.float32]) -> Call:
    """Run a hand-made ONNX graph; a single row carries its state on."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    carried = len(x) == 1
    model = _onnx_graph(network, tensors, len(x), carried)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": x[:, None, :]}
    if carried:
        feed |= {name: np.zeros((1, 1, network.lstm[0].hidden), np.float32) for name in ("h", "c")}

    def call() -> NDArray[Any]:
        answer = session.run(None, feed)
        if carried:
            feed["h"], feed["c"] = answer[1], answer[2]
        return answer[0][0]  # type: ignore[no-any-return]

    return call


def _onnx_graph(network: NetworkSettings, tensors: Tensors, n_rows: int, carried: bool) -> bytes:
    """Build the network as ONNX; ``carried`` (one layer) takes and returns the state."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    source, n_last = "x", 0
    for index, layer in enumerate(network.lstm):
        both = directions(layer.bidirectional)
        gates = {
            kind: np.stack([_onnx_order(tensors[f"lstm.{index}.{direction}.{kind}"]) for direction in both])
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        inputs = [
            source,
            constant(f"w{index}", gates["weight_ih"]),
            constant(f"r{index}", gates["weight_hh"]),
            constant(f"b{index}", np.concatenate([gates["bias_ih"], gates["bias_hh"]], axis=1)),
            *(["", "h", "c"] if carried else []),
        ]
        nodes.append(
            helper.make_node(
                "LSTM", inputs, [f"y{index}", f"h{index}", f"c{index}"], hidden_size=layer.hidden,
                direction="bidirectional" if layer.bidirectional else "forward",
            )
        )  # fmt: skip
        n_last = layer.hidden * len(both)
        if index < len(network.lstm) - 1:  # (rows, directions, 1, hidden) to (rows, 1, features)
            nodes.append(helper.make_node("Transpose", [f"y{index}"], [f"t{index}"], perm=[0, 2, 1, 3]))
            shape = constant(f"shape{index}", np.array([n_rows, 1, n_last], np.int64))
            nodes.append(helper.make_node("Reshape", [f"t{index}", shape], [f"x{index}"]))
            source = f"x{index}"
    top = len(network.lstm) - 1
    nodes.append(helper.make_node("Transpose", [f"h{top}"], ["final"], perm=[1, 0, 2]))
    nodes.append(helper.make_node("Reshape", ["final", constant("flat", np.array([1, n_last], np.int64))], ["z"]))
    source = "z"
    for name in _linear_names(network):
        parts = [constant(f"{name}.{part}", tensors[f"{name}.{part}"]) for part in ("weight", "bias")]
        nodes.append(helper.make_node("Gemm", [source, *parts], [f"{name}.sum"], transB=1))
        kind = "Softmax" if name == "output" else "Relu"
        nodes.append(helper.make_node(kind, [f"{name}.sum"], [f"{name}.out"]))
        source = f"{name}.out"
    float32 = TensorProto.FLOAT
    state_shape = [1, 1, network.lstm[0].hidden]
    inputs = [helper.make_tensor_value_info("x", float32, [n_rows, 1, network.n_features])]
    outputs = [helper.make_tensor_value_info(source, float32, [1, network.n_classes])]
    if carried:
        inputs += [helper.make_tensor_value_info(name, float32, state_shape) for name in ("h", "c")]
        outputs += [helper.make_tensor_value_info(name, float32, state_shape) for name in ("h0", "c0")]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _onnx_order(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gates from torch's to ONNX's order."""
    return tensor.reshape(4, -1, *tensor.shape[1:])[list(ONNX_GATES)].reshape(tensor.shape)


_PEERS: dict[str, Callable[[NetworkSettings, Tensors, NDArray[np.float32]], Call]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
}


def _linear_names(network: NetworkSettings) -> list[str]:
    """Return the names of the dense layers, the output layer last."""
    return [*(f"head.{index}" for index in range(len(network.head))), "output"]
