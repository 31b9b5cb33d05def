"""The arithmetic of LSTM cells: matrix times vector in registers, then the gates.

Every sum has one fixed order: the bias, then the inputs ``x[k] * w[k]`` with ``k`` ascending, then the hidden units
``h[k] * u[k]`` with ``k`` ascending, each step one exact fused multiply-add. How many rows or blocks a kernel takes at
once changes which sums are in registers together, never the order within one sum: so a projection made for one row, a
projection made for four, a state that advances alone and one that advances beside others have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.activations import sigmoid, tanh
from neuroloop.models.lstm.packing import GATES
from neuroloop.models.lstm.simd32 import VECTOR, WIDTH, call_fma, fma, load, mul, spread, store, vector_pointer

_FLOAT32 = types.float32


def _accumulator(n_rows: int, n_blocks: int) -> Callable[..., None]:
    """Make the kernel that adds ``x @ w`` to ``n_rows`` rows of ``n_blocks`` blocks of gate sums.

    ``accumulate(start, start_at, start_step, weights, weights_at, block_step, x, x_at, x_step, n, out, out_at,
    out_step)``: flat float32 arrays, each with the place of its first number and the distance between rows (of
    ``weights``: between blocks); ``n`` is the number of inputs.
    """

    @intrinsic
    def accumulate(
        typingctx: Any,
        start: Any,
        start_at: Any,
        start_step: Any,
        weights: Any,
        weights_at: Any,
        block_step: Any,
        x: Any,
        x_at: Any,
        x_step: Any,
        n: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            start, start_at, start_step, weights, weights_at, block_step, x, x_at, x_step, n, out, out_at, out_step = (
                args
            )
            start_type, weights_type, x_type, out_type = (signature.args[i] for i in (0, 3, 6, 10))

            def at(base: Any, step: Any, count: int, offset: int) -> Any:
                place = builder.add(base, builder.mul(step, ir.Constant(base.type, count)))
                return builder.add(place, ir.Constant(base.type, offset))

            def read(array_type: Any, array: Any, place: Any) -> Any:
                return builder.load(vector_pointer(context, builder, array_type, array, place), align=4)

            offsets = [(block, gate) for block in range(n_blocks) for gate in range(0, GATES, WIDTH)]
            sums = {}
            for row in range(n_rows):
                for block, gate in offsets:
                    # a stack slot that LLVM turns into a register
                    slot = cgutils.alloca_once(builder, VECTOR)
                    place = at(start_at, start_step, row, block * GATES + gate)
                    builder.store(read(start_type, start, place), slot)
                    sums[row, block, gate] = slot
            data = context.make_array(x_type)(context, builder, x).data
            with cgutils.for_range(builder, n) as loop:
                first = builder.mul(loop.index, ir.Constant(n.type, GATES))
                columns = {
                    (block, gate): read(
                        weights_type, weights, builder.add(at(weights_at, block_step, block, gate), first)
                    )
                    for block, gate in offsets
                }
                for row in range(n_rows):
                    place = builder.add(at(x_at, x_step, row, 0), loop.index)
                    value = spread(builder, builder.load(builder.gep(data, [place])))
                    for block, gate in offsets:
                        slot = sums[row, block, gate]
                        builder.store(call_fma(builder, value, columns[block, gate], builder.load(slot)), slot)
            for (row, block, gate), slot in sums.items():
                pointer = vector_pointer(
                    context, builder, out_type, out, at(out_at, out_step, row, block * GATES + gate)
                )
                builder.store(builder.load(slot), pointer, align=4)
            return context.get_dummy_value()

        i = types.intp
        return types.void(start, i, i, weights, i, i, x, i, i, i, out, i, i), codegen

    return accumulate  # type: ignore[no-any-return]


_accumulate_1x1 = _accumulator(1, 1)
_accumulate_1x2 = _accumulator(1, 2)
_accumulate_4x1 = _accumulator(4, 1)


@kernel(inline=True)
def multiply_pair(
    start: Any,
    start_at: Any,
    weights: Any,
    weights_at: Any,
    x: Any,
    x_at: Any,
    n: Any,
    out: Any,
    out_at: Any,
    pair: Any,
    n_blocks: Any,
) -> Any:
    """Add ``x @ w`` to the gate sums of blocks ``2 * pair`` and ``2 * pair + 1`` (if there is one) of one row."""
    block = 2 * pair
    offset = block * GATES
    place = weights_at + offset * n
    if block + 1 < n_blocks:
        _accumulate_1x2(start, start_at + offset, 0, weights, place, n * GATES, x, x_at, 0, n, out, out_at + offset, 0)
    else:
        _accumulate_1x1(start, start_at + offset, 0, weights, place, 0, x, x_at, 0, n, out, out_at + offset, 0)


@kernel(inline=True)
def multiply(
    start: Any,
    start_at: Any,
    weights: Any,
    weights_at: Any,
    x: Any,
    x_at: Any,
    n: Any,
    out: Any,
    out_at: Any,
    n_blocks: Any,
    turned: Any,
) -> Any:
    """Add ``x @ w`` to all gate sums of one row.

    ``turned`` takes the blocks in reverse: in alternate steps the blocks read last are still in the first cache
    (280 against 335 ns a step at 64 units, whose matrix is larger than that cache).
    """
    n_pairs = (n_blocks + 1) // 2
    for i in range(n_pairs):
        pair = n_pairs - 1 - i if turned else i
        multiply_pair(start, start_at, weights, weights_at, x, x_at, n, out, out_at, pair, n_blocks)


@kernel(inline=True)
def project_rows(
    weights: Any,
    weights_at: Any,
    bias_at: Any,
    x: Any,
    x_at: Any,
    x_step: Any,
    n: Any,
    out: Any,
    out_at: Any,
    out_step: Any,
    n_rows: Any,
    n_blocks: Any,
) -> Any:
    """Write bias plus ``x @ w`` of ``n_rows`` rows."""
    whole = n_rows - n_rows % 4
    for block in range(n_blocks):
        offset = block * GATES
        place = weights_at + offset * n
        for row in range(0, whole, 4):
            _accumulate_4x1(
                weights, bias_at + offset, 0, weights, place, 0, x, x_at + row * x_step, x_step, n,
                out, out_at + row * out_step + offset, out_step,
            )  # fmt: skip
    for row in range(whole, n_rows):
        multiply(
            weights, bias_at, weights, weights_at, x, x_at + row * x_step, n,
            out, out_at + row * out_step, n_blocks, False,
        )  # fmt: skip


@kernel(inline=True)
def apply_gates(sums: Any, sums_at: Any, state: Any, hidden_at: Any, memory_at: Any, n_blocks: Any) -> Any:
    """Advance hidden and cell state of one cell from its gate sums.

    ``c = sigmoid(f) * c + sigmoid(i) * tanh(g)``, ``h = sigmoid(o) * tanh(c)``.
    """
    for block in range(n_blocks):
        place = sums_at + block * GATES
        lane = block * WIDTH
        gate_in = sigmoid(load(sums, place))
        forget = sigmoid(load(sums, place + WIDTH))
        candidate = tanh(load(sums, place + 2 * WIDTH))
        gate_out = sigmoid(load(sums, place + 3 * WIDTH))
        memory = fma(forget, load(state, memory_at + lane), mul(gate_in, candidate))
        store(state, memory_at + lane, memory)
        store(state, hidden_at + lane, mul(gate_out, tanh(memory)))
