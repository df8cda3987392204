// Runs a program of elementwise operations on blocks that stay in the cache: what a chain of passes over memory would be.
// Compiled once; programs are data.

struct Op {
  int code, to, a, b;
  double c;
};

enum { LOAD, NUMBER, ADD, MUL, PLUS, TIMES, HORNER, TANH, SIGM, EXP, STORE };

constexpr int VECTORS = 8, REGISTERS = 64;

// One block of a row. A full one has a number of vectors that the compiler knows.
template <bool full>
static void block(const Op* ops, int count, const F* const* in, const long* in_stride, F* const* out, const long* out_stride,
                  long row, long first, long left) {
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
    }
#undef EVERY
  }
}

// in, out: rows of `inner` numbers, `stride` apart.
extern "C" void pointwise(const Op* ops, int count, const F* const* in, const long* in_stride, F* const* out,
                          const long* out_stride, long rows, long inner, int threads) {
  const long width = VECTORS * W, blocks = (inner + width - 1) / width;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long task = 0; task < rows * blocks; task++) {
    FlushToZero mode;
    const long row = task / blocks, first = (task % blocks) * width, left = least(width, inner - first);
    (left == width ? block<true> : block<false>)(ops, count, in, in_stride, out, out_stride, row, first, left);
  }
}
