// Runs a program of elementwise operations on blocks that stay in the cache: what a chain of passes over memory would be.
// Compiled once; programs are data.

INLINE V exp_(V z) {
  if constexpr (sizeof(F) == 8) {
    for (int lane = 0; lane < W; lane++) z[lane] = __builtin_exp(z[lane]);
    return z;
  } else {
    // 2^n 2^f, |f| <= 1/2; the second factor by its series, relative error 1e-7
    z = z < F(-87) ? V{} - F(87) : z;
    z = z > F(88) ? V{} + F(88) : z;
    typedef int I __attribute__((vector_size(BYTES)));
    const V scaled = z * F(1.44269504088896341);
    const I n = __builtin_convertvector(scaled + (scaled < F(0) ? V{} - F(0.5) : V{} + F(0.5)), I);
    const V f = __builtin_convertvector(n, V);
    const V r = (z - f * F(0.693359375)) + f * F(2.12194440e-4);
    V p = V{} + F(1.3981999507e-3);
    p = p * r + F(8.3334519073e-3);
    p = p * r + F(4.1665795894e-2);
    p = p * r + F(1.6666665459e-1);
    p = p * r + F(5.0000001201e-1);
    p = p * r * r + r + F(1);
    const I bits = (n + 127) << 23;
    V power;
    __builtin_memcpy(&power, &bits, sizeof(V));
    return p * power;
  }
}

// e^-|z| / (1 + e^-|z|): relative precision far below 0, too
INLINE V sigm_(V z) {
  const V e = exp_(z < F(0) ? z : -z), s = e / (F(1) + e);
  return z < F(0) ? s : F(1) / (F(1) + e);
}

struct Op {
  int code, to, a, b;
  double c;
};

enum { LOAD, EACH, NUMBER, ADD, MUL, PLUS, TIMES, HORNER, TANH, SIGM, EXP, STORE, SUM };
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

constexpr int VECTORS = 8, REGISTERS = 64;

// One block of a row. A full one has a number of vectors that the compiler knows.
template <bool full>
static void block(const Op* ops, int count, const F* const* in, const long* in_stride, F* const* out, const long* out_stride,
                  F* sums, long row, long first, long left) {
  const int used = full ? VECTORS : (left + W - 1) / W;
  V r[REGISTERS][VECTORS];
  for (int step = 0; step < count; step++) {
    const Op& op = ops[step];
    V* const to = r[op.to];
    const V *a = r[op.a], *b = r[op.b];
    const F c = F(op.c);
#define EVERY for (int k = 0; k < (full ? VECTORS : used); k++)
    switch (op.code) {
      case LOAD: {
        const F* from = in[op.a] + row * in_stride[op.a] + first;
        EVERY to[k] = load(from + k * W, full ? W : left - k * W);
        break;
      }
      case EACH: EVERY to[k] = V{} + in[op.a][row]; break;
      case NUMBER: EVERY to[k] = V{} + c; break;
      case ADD: EVERY to[k] = a[k] + b[k]; break;
      case MUL: EVERY to[k] = a[k] * b[k]; break;
      case PLUS: EVERY to[k] = a[k] + c; break;
      case TIMES: EVERY to[k] = a[k] * c; break;
      case HORNER: EVERY to[k] = a[k] * b[k] + c; break;
      case TANH: EVERY to[k] = tanh_(a[k]); break;
      case SIGM: EVERY to[k] = sigm_(a[k]); break;
      case EXP: EVERY to[k] = exp_(a[k]); break;
      case STORE: {
        F* into = out[op.b] + row * out_stride[op.b] + first;
        EVERY store(into + k * W, a[k], full ? W : left - k * W);
        break;
      }
      case SUM: {
        F total = 0;
        if constexpr (full) {
          V lanes = a[0];
          for (int k = 1; k < VECTORS; k++) lanes += a[k];
          for (int lane = 0; lane < W; lane++) total += lanes[lane];
        } else {
          for (int k = 0; k < used; k++)
            for (int lane = 0; lane < W && k * W + lane < left; lane++) total += a[k][lane];
        }
        sums[op.b] = total;
        break;
      }
    }
#undef EVERY
  }
}

extern "C" long width() { return VECTORS * W; }

// in, out: rows of `inner` numbers, `stride` apart; EACH takes one number for each row. sums: of each block of each row,
// (rows, blocks, summed).
extern "C" void pointwise(const Op* ops, int count, const F* const* in, const long* in_stride, F* const* out,
                          const long* out_stride, F* sums, long summed, long rows, long inner, int threads) {
  const long width = VECTORS * W, blocks = (inner + width - 1) / width;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long task = 0; task < rows * blocks; task++) {
    FlushToZero mode;
    const long row = task / blocks, first = (task % blocks) * width, left = least(width, inner - first);
    (left == width ? block<true> : block<false>)(ops, count, in, in_stride, out, out_stride, sums + task * summed,
                                                      row, first, left);
  }
}
