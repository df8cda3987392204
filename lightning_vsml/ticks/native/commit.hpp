// Commit ticks: passes over all synapses of a grid, in which neurons gather what they tell these, and the last of which
// writes. The passes are generated (commit/source.py): a struct Pass<flat> with
//   SUMS, COLUMNS, STORES     how many numbers of a synapse are summed over inputs, over outputs, or written
//   Pass(call, g, row)        loads what is the same in a row
//   at<full>(q, left, out)    computes them for synapses q, q + 1, ... of the row, of which `left` exist
// A grid lies in memory as (G, B, A): rows are outputs, inputs lie next to each other. Where there is a single input and
// a single output it is flat, one row of all groups, and there is nothing to sum.

constexpr long ROWS = 32;      // of a piece of work, so that sums do not depend on how many threads there are
constexpr long TOGETHER = 64;  // vectors that are summed in F, before the sum goes on in double

struct Call {
  long G, B, A;
  const F* const* planes;
  const long* apart;  // rows of planes
  F* out;             // (STORES, G, B, A)
  long out_plane, out_row;
  double* exact;  // what neurons know: each number of an input (G, A), or of an output (G, B)
  F* rounded;     // the same in F
  double* sums;   // what a pass gathers: each (G, B), then each (G, A)
  int threads;
};

INLINE double sigm(double z) {
  const double e = __builtin_exp(z < 0 ? z : -z);
  return z < 0 ? e / (1 + e) : 1 / (1 + e);
}

// A number that an input or an output knows, as it is and as synapses load it.
INLINE void keep(const Call& call, long at, double value) {
  call.exact[at] = value;
  call.rounded[at] = F(value);
}

static void told_number(const Call& call, long at, const double* told) {
  for (long i = 0; i < call.G * call.A; i++) keep(call, at + i, told[i % call.A]);
}

static void hear(const Call& call, long at, const double* sums, long count) {
  for (long i = 0; i < count; i++) keep(call, at + i, __builtin_asinh(sums[i]));
}

INLINE V whole(V v, long n) {
  for (long lane = n; lane < W; lane++) v[lane] = 0;
  return v;
}

template <class Pass, bool full>
INLINE void synapses_at(const Call& call, const Pass& pass, long row, long q, long left, V* sums, F* columns) {
  constexpr int S = Pass::SUMS, C = Pass::COLUMNS;
  V out[S + C + Pass::STORES + 1];
  pass.template at<full>(q, left, out);
  for (int k = 0; k < S; k++) sums[k] += full ? out[k] : whole(out[k], left);
  for (int k = 0; k < C; k++) {
    F* const to = columns + k * call.A + q;
    store(to, load(to, left) + out[S + k], left);
  }
  for (int k = 0; k < Pass::STORES; k++)
    store(call.out + k * call.out_plane + row * call.out_row + q, out[S + C + k], left);
}

template <class Pass> static void by_rows(const Call& call) {
  constexpr int S = Pass::SUMS, C = Pass::COLUMNS;
  const long A = call.A, parts = (call.B + ROWS - 1) / ROWS;
  const Buffer columns(C * call.G * parts * A);
#pragma omp parallel for num_threads(call.threads) schedule(static) if (call.threads > 1)
  for (long piece = 0; piece < call.G * parts; piece++) {
    FlushToZero mode;
    const long g = piece / parts, first = piece % parts * ROWS;
    F* const own = columns.at + piece * C * A;
    for (long row = g * call.B + first; row < g * call.B + least(call.B, first + ROWS); row++) {
      const Pass pass(call, g, row);
      double totals[S + 1] = {};
      for (long start = 0; start < A; start += TOGETHER * W) {
        V sums[S + 1] = {};
        const long stop = least(A, start + TOGETHER * W);
        long q = start;
        for (; q + W <= stop; q += W) synapses_at<Pass, true>(call, pass, row, q, W, sums, own);
        if (q < stop) synapses_at<Pass, false>(call, pass, row, q, stop - q, sums, own);
        for (int k = 0; k < S; k++) totals[k] += total(sums[k]);
      }
      for (int k = 0; k < S; k++) call.sums[k * call.G * call.B + row] = totals[k];
    }
  }
  for (int k = 0; k < C; k++)
    for (long g = 0; g < call.G; g++) {
      double* const to = call.sums + S * call.G * call.B + (k * call.G + g) * A;
      for (long a = 0; a < A; a++) to[a] = 0;
      for (long part = 0; part < parts; part++)
        for (long a = 0; a < A; a++) to[a] += columns.at[((g * parts + part) * C + k) * A + a];
    }
}

template <class Pass> static void by_groups(const Call& call) {
  constexpr int S = Pass::SUMS, C = Pass::COLUMNS;
  const Pass pass(call, 0, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static) if (call.threads > 1)
  for (long q = 0; q < call.G; q += W) {
    FlushToZero mode;
    const long left = least(W, call.G - q);
    V out[S + C + Pass::STORES + 1];
    pass.template at<false>(q, left, out);
    for (int k = 0; k < S + C; k++)
      for (long lane = 0; lane < left; lane++) call.sums[k * call.G + q + lane] = out[k][lane];
    for (int k = 0; k < Pass::STORES; k++) store(call.out + k * call.out_plane + q, out[S + C + k], left);
  }
}

template <class Pass, bool flat> static void pass_over(const Call& call) {
  if constexpr (flat) by_groups<Pass>(call);
  else by_rows<Pass>(call);
}
