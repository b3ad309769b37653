"""Loads of little-endian numbers from any byte position, as one machine instruction, for numba kernels.

Numba itself has no such load, only byte by byte. No bounds are checked here: the caller has.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _load(result: Any, element: ir.Type) -> Any:
    @intrinsic
    def load(typing_context: Any, buffer: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            first = builder.gep(array.data, [arguments[1]])
            return builder.load(builder.bitcast(first, element.as_pointer()), align=1)

        return result(buffer, types.int64), generate

    return load


float_at = _load(types.float32, ir.FloatType())
double_at = _load(types.float64, ir.DoubleType())
word_at = _load(types.uint64, ir.IntType(64))
