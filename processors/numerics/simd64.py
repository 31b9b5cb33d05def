"""Vectors of channels inside kernels: what Numba's own loops leave on the table.

Two building blocks are emitted as LLVM code: a group of second-order sections whose states stay in registers over a
whole chunk, and a tile of a discrete Fourier transform whose sums do. One channel is one lane, so the number of lanes
never changes a bit of the result; it follows the processor (8 with AVX-512, else 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import int64, void
from numba.core import cgutils
from numba.extending import intrinsic

from neuroloop.stream.contracts.chunks import FloatArray

PADDING = 8
"""Channel counts of state arrays are rounded up to this, on every machine."""
LANES = 8 if binding.get_host_cpu_features().get("avx512f") else 4
REGISTERS = 32 if LANES == 8 else 16
"""Vector registers of the processor."""
MAX_SECTIONS = 6
"""Sections whose states (two vectors each) are held in registers together."""
MAX_BINS = 4
"""Bins whose sums (two vectors each) are held in registers together."""

_DOUBLE = ir.DoubleType()
_INT = ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


def padded(n_channels: int) -> int:
    """Round a channel count up to whole vectors."""
    return -(-n_channels // PADDING) * PADDING


def aligned_zeros(*shape: int) -> FloatArray:
    """Return a zeroed array that begins on a cache line; NumPy promises 16 bytes only, which costs up to 1.6 times."""
    size = 1
    for length in shape:
        size *= length
    raw = np.zeros(size + 8)
    offset = (-raw.ctypes.data // 8) % 8
    return raw[offset : offset + size].reshape(shape)


@intrinsic
def address(typingctx: Any, array: Any) -> Any:
    """Return where an array's first element lies, as a signed integer (``ctypes.data`` is unsigned and turns float)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(view.data, _INT)

    return int64(array), codegen


def _splat(builder: Any, value: Any) -> Any:
    """Repeat a scalar in every lane."""
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), order)


def _at(builder: Any, base: Any, offset: Any) -> Any:
    """Return the address of element ``offset`` of an array of doubles."""
    return builder.gep(base, [offset])


def _load_vector(builder: Any, address: Any) -> Any:
    """Load lanes from memory aligned to one double."""
    vector = builder.load(builder.bitcast(address, _VECTOR.as_pointer()))
    vector.align = 8
    return vector


def _store_vector(builder: Any, value: Any, address: Any) -> None:
    """Store lanes to memory aligned to one double."""
    builder.store(value, builder.bitcast(address, _VECTOR.as_pointer())).align = 8


def _masked_load(builder: Any, address: Any, mask: Any) -> Any:
    """Load the lanes of the mask; the others are 0 and their memory is not touched."""
    pointer = builder.bitcast(address, _VECTOR.as_pointer())
    kind = ir.FunctionType(_VECTOR, [pointer.type, ir.IntType(32), _MASK, _VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{LANES}f64.p0")
    return builder.call(function, [pointer, ir.Constant(ir.IntType(32), 8), mask, ir.Constant(_VECTOR, [0.0] * LANES)])


def _masked_store(builder: Any, value: Any, address: Any, mask: Any) -> None:
    """Store the lanes of the mask."""
    pointer = builder.bitcast(address, _VECTOR.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [_VECTOR, pointer.type, ir.IntType(32), _MASK])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{LANES}f64.p0")
    builder.call(function, [value, pointer, ir.Constant(ir.IntType(32), 8), mask])


def _row_loop(builder: Any, n_rows: Any, initial: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit ``for row in range(n_rows)`` (at least one) that carries vectors in registers; return their last values."""
    before = builder.block
    loop = builder.append_basic_block("rows")
    after = builder.append_basic_block("rows.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    row = builder.phi(_INT)
    row.add_incoming(ir.Constant(_INT, 0), before)
    carried = [builder.phi(_VECTOR) for _ in initial]
    for phi, value in zip(carried, initial, strict=True):
        phi.add_incoming(value, before)
    values = body(row, carried)
    following = builder.add(row, ir.Constant(_INT, 1))
    row.add_incoming(following, builder.block)
    for phi, value in zip(carried, values, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, n_rows), loop, after)
    builder.position_at_end(after)
    return values


def _choose(builder: Any, value: Any, cases: Mapping[int, Callable[[], None]]) -> None:
    """Emit a switch; every case falls out at the end."""
    end = builder.append_basic_block("chosen")
    switch = builder.switch(value, end)
    for number, emit in cases.items():
        block = builder.append_basic_block(f"case{number}")
        switch.add_case(ir.Constant(_INT, number), block)
        builder.position_at_end(block)
        emit()
        builder.branch(end)
    builder.position_at_end(end)


def _emit_sections(builder: Any, args: Any, masked: bool, n_sections: int) -> None:
    """Emit a group of sections for one block of channels."""
    source, target, coefficients, state, n_rows, row_stride, state_stride, lanes_left = args
    pointer = _DOUBLE.as_pointer()
    source, target, coefficients, state = (
        builder.inttoptr(address, pointer) for address in (source, target, coefficients, state)
    )
    mask = None
    if masked:
        numbers = ir.Constant(ir.VectorType(ir.IntType(64), LANES), list(range(LANES)))
        limit = builder.insert_element(
            ir.Constant(numbers.type, ir.Undefined), lanes_left, ir.Constant(ir.IntType(32), 0)
        )
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        limit = builder.shuffle_vector(limit, ir.Constant(numbers.type, ir.Undefined), order)
        mask = builder.icmp_signed("<", numbers, limit)

    def coefficient(s: int, k: int) -> Any:
        return _splat(builder, builder.load(_at(builder, coefficients, ir.Constant(_INT, 8 * s + k))))

    # what does not fit beside the states is loaded row by row, as broadcast operands: cheaper than whole vectors
    # spilled to the stack, which is what becomes of them otherwise
    n_resident = max(0, REGISTERS - 2 * n_sections - 10)
    resident = {
        (s, k): coefficient(s, k) for s, k in [(s, k) for k in range(5) for s in range(n_sections)][:n_resident]
    }
    rows = [_at(builder, state, builder.mul(state_stride, ir.Constant(_INT, index))) for index in range(2 * n_sections)]

    def body(row: Any, z: list[Any]) -> list[Any]:
        offset = builder.mul(row, row_stride)
        address = _at(builder, source, offset)
        x = _masked_load(builder, address, mask) if masked else _load_vector(builder, address)
        following = []
        for s in range(n_sections):
            b0, b1, b2, a1, a2 = (resident.get((s, k)) or coefficient(s, k) for k in range(5))
            y = builder.fadd(builder.fmul(b0, x), z[2 * s])
            bent = builder.fadd(builder.fmul(b1, x), z[2 * s + 1])
            following.append(builder.fsub(bent, builder.fmul(a1, y)))
            following.append(builder.fsub(builder.fmul(b2, x), builder.fmul(a2, y)))
            x = y
        address = _at(builder, target, offset)
        if masked:
            _masked_store(builder, x, address, mask)
        else:
            _store_vector(builder, x, address)
        return following

    last = _row_loop(builder, n_rows, [_load_vector(builder, address) for address in rows], body)
    for value, address in zip(last, rows, strict=True):
        _store_vector(builder, value, address)


@intrinsic
def run_sections(
    typingctx: Any,
    source: Any,
    target: Any,
    coefficients: Any,
    state: Any,
    n_rows: Any,
    row_stride: Any,
    state_stride: Any,
    lanes_left: Any,
    n_sections: Any,
) -> Any:
    """Run up to `MAX_SECTIONS` sections over one block of `LANES` channels.

    All arguments are integers; the first four are addresses of doubles: row 0 of the block in the input and in the
    output (may be the same), the first section's coefficients (8 per section: b0 b1 b2 a1 a2 and 3 unused) and its
    first state row. Strides count doubles. With ``lanes_left < LANES`` only that many channels are touched, except in
    the state, which is padded. Transposed direct form II: ``y = b0 x + z1``, ``z1 = (b1 x + z2) - a1 y``,
    ``z2 = b2 x - a2 y``: with this order of sums the path from one row to the next is one addition shorter than
    scipy's.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *shared, n_sections = args
        lanes_left = shared[-1]
        whole = builder.icmp_signed(">=", lanes_left, ir.Constant(_INT, LANES))
        for masked, condition in ((False, whole), (True, builder.not_(whole))):
            with builder.if_then(condition):
                emit = partial(_emit_sections, builder, shared, masked)
                _choose(builder, n_sections, {n: partial(emit, n) for n in range(1, MAX_SECTIONS + 1)})
        return context.get_dummy_value()

    return void(*(int64,) * 9), codegen


def _emit_bins(builder: Any, args: Any, n_bins: int) -> None:
    """Emit a tile of bins for one block of channels."""
    source, table, target, n_rows, row_stride, table_stride, target_stride = args
    pointer = _DOUBLE.as_pointer()
    source, table, target = (builder.inttoptr(address, pointer) for address in (source, table, target))
    sums = [_at(builder, target, builder.mul(target_stride, ir.Constant(_INT, index))) for index in range(2 * n_bins)]
    kind = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR])
    fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64")

    def body(row: Any, totals: list[Any]) -> list[Any]:
        x = _load_vector(builder, _at(builder, source, builder.mul(row, row_stride)))
        line = _at(builder, table, builder.mul(row, table_stride))
        factors = [_splat(builder, builder.load(_at(builder, line, ir.Constant(_INT, i)))) for i in range(2 * n_bins)]
        return [builder.call(fma, [x, factor, total]) for factor, total in zip(factors, totals, strict=True)]

    last = _row_loop(builder, n_rows, [_load_vector(builder, address) for address in sums], body)
    for value, address in zip(last, sums, strict=True):
        _store_vector(builder, value, address)


@intrinsic
def add_bins(
    typingctx: Any,
    source: Any,
    table: Any,
    target: Any,
    n_rows: Any,
    row_stride: Any,
    table_stride: Any,
    target_stride: Any,
    n_bins: Any,
) -> Any:
    """Add ``x * cos`` and ``x * sin`` of up to `MAX_BINS` bins over rows, for one block of `LANES` channels.

    All arguments are integers; the first three are addresses of doubles: row 0 of the block, the first factor of the
    bins' table (cosine and sine in turn), and the first of ``2 * n_bins`` rows of sums that are added to. Explicit
    fused multiply-add: exact by definition, hence the same on processors with and without the instruction.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *shared, n_bins = args
        _choose(builder, n_bins, {n: partial(_emit_bins, builder, shared, n) for n in range(1, MAX_BINS + 1)})
        return context.get_dummy_value()

    return void(*(int64,) * 8), codegen
