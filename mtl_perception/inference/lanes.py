# SPDX-License-Identifier: Apache-2.0
"""Sixteen float32 that compiled kernels handle as one value: vector code that cannot fall apart.

Left to itself the compiler turns some loops into vector code, some not, and keeps running maxima
and sums of them in memory. Here each operation is one of LLVM's on a ``<16 x float>``, whatever
the processor: one register of AVX-512, two of AVX2, four of NEON. Only for use inside kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 16
"""How many numbers are handled as one."""

EXP2_ERROR = 4e-6
"""Bound on the relative error of ``exp2``, for arguments of -126 to 0."""

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_SHORTS = ir.VectorType(ir.IntType(16), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)

# 2^x = 1 + x * (a + x * (b + x * (c + x * d))) on -1..0 within 3e-6 of itself, and exact at 0.
_EXP2_TERMS = (0.6930635690689087, 0.2394567400217056, 0.05322358384728432, 0.006831889972090721)


class LanesType(types.Type):
    """Type of such a value, to numba."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__("Lanes")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [float(np.float32(value))] * LANES)


def _pointer(context: Any, builder: Any, array: tuple, index: Any, kind: ir.Type) -> Any:
    array_type, value = array
    data = context.make_array(array_type)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    fused = ("contract",)
    return builder.fadd(builder.fmul(a, b, flags=fused), c, flags=fused)


def _to_bf16(builder: Any, value: Any) -> Any:
    def whole(number: int) -> ir.Constant:
        return ir.Constant(_INTS, [number] * LANES)

    bits = builder.bitcast(value, _INTS)
    is_odd = builder.and_(builder.lshr(bits, whole(16)), whole(1))
    rounded = builder.add(builder.add(bits, whole(0x7FFF)), is_odd)
    return builder.trunc(builder.lshr(rounded, whole(16)), _SHORTS)


def _repeated(builder: Any, number: Any) -> Any:
    empty = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_INTS, [0] * LANES))


@intrinsic
def load(_, array, index):
    """Return the 16 numbers of a 1-D float32 array from ``index`` on; bounds are not checked."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, (signature.args[0], args[0]), args[1], _FLOATS)
        return builder.load(pointer, align=4)

    return lanes(array, types.intp), generate


@intrinsic
def store(_, array, index, value):
    """Write into a 1-D array of float32 from ``index`` on; bounds are not checked.

    Into uint16 the bits of bf16 numbers are written, rounded to the nearest, or of two to the even
    one. Not for NaN.
    """

    def generate(context, builder, signature, args):
        halves = signature.args[0].dtype == types.uint16
        number = _to_bf16(builder, args[2]) if halves else args[2]
        pointer = _pointer(context, builder, (signature.args[0], args[0]), args[1], number.type)
        builder.store(number, pointer, align=2 if halves else 4)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), generate


@intrinsic
def store_bytes(_, array, index, value):
    """Write numbers of 0 to 255, truncated, into a 1-D uint8 array from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, (signature.args[0], args[0]), args[1], _BYTES)
        # By way of 32 bits, for which there is an instruction.
        whole = builder.trunc(builder.fptosi(args[2], _INTS), _BYTES)
        builder.store(whole, pointer, align=1)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), generate


@intrinsic
def splat(_, number):
    """Return 16 times the same float32."""
    return lanes(types.float32), lambda _, builder, signature, args: _repeated(builder, args[0])


@intrinsic
def repeat(_, array, index):
    """Return 16 times one number of a 1-D float32 array; bounds are not checked."""

    def generate(context, builder, signature, args):
        kind = ir.FloatType()
        number = builder.load(
            _pointer(context, builder, (signature.args[0], args[0]), args[1], kind)
        )
        return _repeated(builder, number)

    return lanes(array, types.intp), generate


@intrinsic
def add(_, a, b):
    """Return ``a + b``."""
    return lanes(a, b), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def subtract(_, a, b):
    """Return ``a - b``."""
    return lanes(a, b), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def multiply(_, a, b):
    """Return ``a * b``."""
    return lanes(a, b), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def divide(_, a, b):
    """Return ``a / b``."""
    return lanes(a, b), lambda context, builder, signature, args: builder.fdiv(*args)


@intrinsic
def multiply_add(_, a, b, c):
    """Return ``a * b + c``, rounded once where the processor can."""

    def generate(context, builder, signature, args):
        return _multiply_add(builder, *args)

    return lanes(a, b, c), generate


@intrinsic
def choose(_, a, b, if_greater, otherwise):
    """Return ``if_greater`` in the lanes where ``a > b``, elsewhere (NaN too) ``otherwise``."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return lanes(a, b, if_greater, otherwise), generate


@intrinsic
def greatest(_, value):
    """Return the greatest of the 16, a float32; NaN only if all may be."""

    def generate(context, builder, signature, args):
        (found,) = args
        for step in (8, 4, 2, 1):
            turned = [(i + step) % LANES for i in range(LANES)]
            other = builder.shuffle_vector(found, found, ir.Constant(_INTS, turned))
            found = builder.select(builder.fcmp_ordered(">", other, found), other, found)
        return builder.extract_element(found, ir.Constant(ir.IntType(32), 0))

    return types.float32(value), generate


@intrinsic
def exp2(_, exponent):
    """Return 2 to the power of numbers up to 0, within ``EXP2_ERROR`` of itself.

    Whole and broken part apart: the whole is added to the bits that hold a float's exponent, of
    the broken one there is a polynomial. Below -126, where floats become sparse, 2^-126.
    """

    def generate(context, builder, signature, args):
        lowest = _constant(-126)
        x = builder.select(builder.fcmp_ordered(">", args[0], lowest), args[0], lowest)
        whole = builder.fptosi(x, _INTS)  # towards 0
        rest = builder.fsub(x, builder.sitofp(whole, _FLOATS))
        power = _constant(_EXP2_TERMS[-1])
        for term in (*_EXP2_TERMS[-2::-1], 1):
            power = _multiply_add(builder, power, rest, _constant(term))
        shifted = builder.shl(whole, ir.Constant(_INTS, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(power, _INTS), shifted), _FLOATS)

    return lanes(exponent), generate
