// Functions of gates beyond lanes.hpp's tanh, with relative precision far below 0, too.

INLINE V exp_of(V z, float) {
  // 2^n 2^f, |f| <= 1/2; the second factor by its series, relative error 1e-7
  z = z < -87.0f ? V{} - 87.0f : z;
  z = z > 88.0f ? V{} + 88.0f : z;
  typedef int I __attribute__((vector_size(W * sizeof(int))));
  const V scaled = z * F(1.44269504088896341);
  const I n = __builtin_convertvector(scaled + (scaled < 0.0f ? V{} - 0.5f : V{} + 0.5f), I);
  const V f = __builtin_convertvector(n, V);
  const V r = (z - f * 0.693359375f) + f * 2.12194440e-4f;
  V p = V{} + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const I bits = (n + 127) << 23;
  V power = {};
  __builtin_memcpy(&power, &bits, sizeof(bits));
  return p * power;
}

INLINE V exp_of(V z, double) {
  for (int lane = 0; lane < W; lane++) z[lane] = __builtin_exp(z[lane]);
  return z;
}

INLINE V exp_(V z) { return exp_of(z, F()); }

// e^-|z| / (1 + e^-|z|) below 0, 1 / (1 + e^-|z|) above
INLINE V sigm_(V z) {
  const V e = exp_(z < F(0) ? z : -z), s = F(1) / (F(1) + e);
  return z < F(0) ? e * s : s;
}

#if defined(__SSE2__)
#include <xmmintrin.h>
struct FlushToZero {  // numbers below 1e-38 cost a hundred times as much as others
  unsigned before = _mm_getcsr();
  FlushToZero() { _mm_setcsr(before | 0x8040); }
  ~FlushToZero() { _mm_setcsr(before); }
};
#else
struct FlushToZero {};
#endif
