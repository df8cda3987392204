"""tanh for Triton kernels: by the rational function of the native ones (``lanes.hpp``), or by the hardware."""

import triton
import triton.language as tl


@triton.jit
def tanh_(z: tl.tensor, FAST: tl.constexpr) -> tl.tensor:
    """tanh; with FAST by one instruction, up to a relative error of 2^-11 (PTX ISA, tanh.approx.f32)."""
    if FAST:
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [z], tl.float32, is_pure=True, pack=1)
    else:
        u = tl.minimum(z * z, 64.0, propagate_nan=tl.PropagateNan.ALL)
        P = (1.1428943818030996e-05 * u + 0.002951076964873066) * u + 0.12925714578618513
        Q = (2.459366208815887e-07 * u + 0.00023867637147670292) * u + 0.02381577785833714
        y = z * (P * u + 0.9999998546519212) / ((Q * u + 0.4625893037700466) * u + 1.0)
        y = tl.minimum(y, 1.0, propagate_nan=tl.PropagateNan.ALL)
        return tl.maximum(y, -1.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def half(z: tl.tensor, FAST: tl.constexpr) -> tl.tensor:
    """sigm(z) - 1/2 = tanh(z / 2) / 2."""
    return 0.5 * tanh_(0.5 * z, FAST)
