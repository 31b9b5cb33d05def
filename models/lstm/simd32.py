"""Sixteen float32 numbers side by side: a Numba value type and the few operations kernels need on it.

A lane never meets another lane, so a result does not depend on how wide the CPU's registers are: LLVM splits the
sixteen lanes into what the machine has. ``fma`` is the exact fused multiply-add of IEEE 754 (one rounding) on every
machine, in software where the instruction is missing. Every operation also takes plain float32 scalars, so one
formula serves both; a scalar beside lanes is spread over them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

WIDTH = 16

_FLOAT = ir.FloatType()
VECTOR = ir.VectorType(_FLOAT, WIDTH)


class LanesType(types.Type):  # type: ignore[misc]
    """The Numba type of ``WIDTH`` float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name=f"lanes{WIDTH}")


LANES = LanesType()


@register_model(LanesType)
class _LanesModel(PrimitiveModel):  # type: ignore[misc]
    """Held as one LLVM vector."""

    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VECTOR)


def spread(builder: Any, value: Any) -> Any:
    """Copy one float into every lane."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), mask)


def _operand(builder: Any, value: Any, wanted: Any) -> Any:
    """Bring a float64 constant, a float32 or lanes to the wanted type."""
    if value.type == ir.DoubleType():
        value = builder.fptrunc(value, _FLOAT)
    if isinstance(wanted, LanesType) and value.type == _FLOAT:
        value = spread(builder, value)
    return value


def _result_type(*arguments: Any) -> Any:
    """Lanes if any argument is lanes, else float32."""
    return LANES if any(isinstance(argument, LanesType) for argument in arguments) else types.float32


def call_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit ``a * b + c`` with one rounding, for float or vector operands of one type."""
    suffix = f"v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "f32"
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fma.{suffix}")
    return builder.call(function, [a, b, c])


def vector_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Emit the address of ``array[index]`` of a flat float32 array, as a pointer to lanes."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), VECTOR.as_pointer())


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` with one rounding."""
    result = _result_type(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call_fma(builder, *(_operand(builder, value, result) for value in args))

    return result(a, b, c), codegen


@intrinsic
def mul(typingctx: Any, a: Any, b: Any) -> Any:
    """Return ``a * b``."""
    result = _result_type(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*(_operand(builder, value, result) for value in args))

    return result(a, b), codegen


@intrinsic
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """Return ``a + b``."""
    result = _result_type(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*(_operand(builder, value, result) for value in args))

    return result(a, b), codegen


@intrinsic
def div(typingctx: Any, a: Any, b: Any) -> Any:
    """Return ``a / b``, correctly rounded."""
    result = _result_type(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*(_operand(builder, value, result) for value in args))

    return result(a, b), codegen


@intrinsic
def clamp(typingctx: Any, x: Any, low: Any, high: Any) -> Any:
    """Return ``x`` held within ``[low, high]``; NaN becomes ``low``."""
    result = _result_type(x, low, high)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, lower, upper = (_operand(builder, argument, result) for argument in args)
        # `>` is false for NaN, so NaN takes the lower bound
        value = builder.select(builder.fcmp_ordered(">", value, lower), value, lower)
        return builder.select(builder.fcmp_ordered("<", value, upper), value, upper)

    return result(x, low, high), codegen


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Return lanes ``array[index:index + WIDTH]`` of a flat float32 array; bounds are the caller's care."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = vector_pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load(pointer, align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write lanes to ``array[index:index + WIDTH]`` of a flat float32 array; bounds are the caller's care."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = vector_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), codegen
