"""Loads of little-endian numbers from any byte of memory, as one machine instruction, and copies, for numba kernels.

`memory` is an address (an array's `ctypes.data`), not an array: numba counts references to the arrays that a function
is called with, which costs more than reading a few bytes does. No bounds are checked here: the caller has, and keeps
the memory alive.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import raw_memcpy
from numba.extending import intrinsic


def _load(result: Any, element: ir.Type) -> Any:
    @intrinsic
    def load(typing_context: Any, memory: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(builder.add(arguments[0], arguments[1]), element.as_pointer())
            return builder.load(place, align=1)

        return result(types.int64, types.int64), generate

    return load


byte_at = _load(types.uint8, ir.IntType(8))
float_at = _load(types.float32, ir.FloatType())
double_at = _load(types.float64, ir.DoubleType())
word_at = _load(types.uint64, ir.IntType(64))


def _copy(typing_context: Any, memory: Any, to: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (builder.inttoptr(one, ir.IntType(8).as_pointer()) for one in arguments[:2])
        raw_memcpy(builder, target, source, arguments[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


# From one address to another, so many bytes.
copy: Any = intrinsic(_copy)
