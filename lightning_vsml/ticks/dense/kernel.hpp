// One LSTM tick of every synapse of dense cells, and the way back through it. After lanes.hpp, with N units.
// Lanes are inputs a, padded to A, a multiple of whole vectors, of which `inputs` exist: what comes from outputs (zb) is
// then a number, what comes from inputs (zf) a vector. States are (G, B, 2N, A), so that a synapse's lie close together.
// What is linear and not per synapse (messages into the cell, sums out of it) is torch's.

struct Sizes {
  long G, A, B, inputs;
  long shared, moves;  // whether all G have one state; whether the next one is wanted
  int threads;
};

constexpr int M = 4 * N;      // gates
constexpr long VECTORS = 32;  // of which gradients of the weights are summed at a time

// z += h w for one unit's gates; w is (units, h's units, gates of a unit)
INLINE void gates_of(int j, const F* w, const V* h, V* z) {
  const F* at = w + j * M;
  for (int k = 0; k < N; k++)
    for (int gate = 0; gate < 4; gate++) z[gate] += at[4 * k + gate] * h[k];
}

INLINE V all(const F* from) { return load(from, W); }
INLINE void put(F* to, V v) { store(to, v, W); }
INLINE V sigm(V z) { return half(z) + F(0.5); }

INLINE V existing(long n) {
  V mask = {};
  for (int lane = 0; lane < W; lane++) mask[lane] = lane < n ? F(1) : F(0);
  return mask;
}

// W (N, 4N) as gates_of wants it
static void arranged(const F* weights, F* w) {
  for (int j = 0; j < N; j++)
    for (int k = 0; k < N; k++)
      for (int gate = 0; gate < 4; gate++) w[j * M + 4 * k + gate] = weights[k * M + gate * N + j];
}

// zf (G, 4N, A), zb (G, B, 4N) -> the next state, sf (G, B, N): h' summed over inputs, sb (G, N, A), zero before: over outputs
extern "C" void tick(const Sizes& sizes, const F* weights, const F* state, const F* zf, const F* zb, F* next, F* sf, F* sb) {
  const long G = sizes.G, A = sizes.A, B = sizes.B;
  alignas(BYTES) F w[N * M];
  arranged(weights, w);
#pragma omp parallel num_threads(sizes.threads)
  {
    const Buffer sum(N * A);
    long current = -1;
    auto flush = [&] {
      if (current < 0) return;
      F* to = sb + current * N * A;
#pragma omp critical
      for (long i = 0; i < N * A; i++) to[i] += sum.at[i];
      for (long i = 0; i < N * A; i++) sum.at[i] = 0;
    };
#pragma omp for schedule(static) nowait
    for (long q = 0; q < G * B; q++) {
      const long g = q / B;
      if (g != current) flush(), current = g;
      V total_h[N] = {};
      const F *zq = zb + q * M, *zg = zf + g * M * A, *h = state + (sizes.shared ? q % B : q) * 2 * N * A, *c = h + N * A;
      F *h_ = next + q * 2 * N * A, *c_ = h_ + N * A;
      for (long a = 0; a < A; a += W) {
        const V real = existing(sizes.inputs - a);
        V hs[N];
        for (int k = 0; k < N; k++) hs[k] = all(h + k * A + a);
        for (int j = 0; j < N; j++) {
          V z[4];
          for (int gate = 0; gate < 4; gate++) z[gate] = all(zg + (gate * N + j) * A + a) + zq[gate * N + j];
          gates_of(j, w, hs, z);
          const V after = sigm(z[1]) * all(c + j * A + a) + sigm(z[0]) * tanh_(z[2]);
          const V out = sigm(z[3]) * tanh_(after) * real;
          if (sizes.moves) put(c_ + j * A + a, after), put(h_ + j * A + a, out);
          total_h[j] += out;
          put(sum.at + j * A + a, all(sum.at + j * A + a) + out);
        }
      }
      for (int j = 0; j < N; j++) sf[q * N + j] = total(total_h[j]);
    }
    flush();
  }
}

// dW (N, 4N), in vectors: += h dz over lanes
INLINE void outer(const V* hs, const V* dz, long vectors, V* dw) {
  for (int k = 0; k < N; k += 4)
    for (int m = 0; m < M; m += 4) {
      V sum[16];
      for (int i = 0; i < 16; i++) sum[i] = dw[(k + i / 4) * M + m + i % 4];
      for (long v = 0; v < vectors; v++)
        for (int i = 0; i < 16; i++) sum[i] += hs[v * N + k + i / 4] * dz[v * M + m + i % 4];
      for (int i = 0; i < 16; i++) dw[(k + i / 4) * M + m + i % 4] = sum[i];
    }
}

// Gradients of what tick gives: gstate, gsf (G, B, N), gsb (G, N, A) -> of what it takes: dstate, dzf (G, 4N, A), zero
// before, dzb (G, B, 4N), dW (threads, N, 4N).
extern "C" void back(const Sizes& sizes, const F* weights, const F* state, const F* zf, const F* zb, const F* gstate,
                     const F* gsf, const F* gsb, F* dstate, F* dzf, F* dzb, F* dW) {
  const long G = sizes.G, A = sizes.A, B = sizes.B;
  alignas(BYTES) F w[N * M], across[M * N];
  arranged(weights, w);
  for (int k = 0; k < N; k++)
    for (int m = 0; m < M; m++) across[m * N + k] = weights[k * M + m];
#pragma omp parallel num_threads(sizes.threads)
  {
    const Buffer sum(M * A);
    V some_h[VECTORS * N], some_dz[VECTORS * M], dw[N * M] = {};
    long current = -1, vectors = 0;
    auto flush = [&] {
      if (current < 0) return;
      F* to = dzf + current * M * A;
#pragma omp critical
      for (long i = 0; i < M * A; i++) to[i] += sum.at[i];
      for (long i = 0; i < M * A; i++) sum.at[i] = 0;
    };
#pragma omp for schedule(static) nowait
    for (long q = 0; q < G * B; q++) {
      const long g = q / B;
      if (g != current) flush(), current = g;
      V total_dz[M] = {};
      const F *zq = zb + q * M, *zg = zf + g * M * A, *h = state + q * 2 * N * A, *c = h + N * A;
      const F *gh = gstate + q * 2 * N * A, *gc = gh + N * A, *from_f = gsf + q * N, *from_b = gsb + g * N * A;
      F *dh = dstate + q * 2 * N * A, *dc = dh + N * A;
      for (long a = 0; a < A; a += W) {
        const V real = existing(sizes.inputs - a);
        V *hs = some_h + vectors * N, *dz = some_dz + vectors * M, dhs[N] = {};
        for (int k = 0; k < N; k++) hs[k] = all(h + k * A + a);
        for (int j = 0; j < N; j++) {
          V z[4];
          for (int gate = 0; gate < 4; gate++) z[gate] = all(zg + (gate * N + j) * A + a) + zq[gate * N + j];
          gates_of(j, w, hs, z);
          const V i = sigm(z[0]), f = sigm(z[1]), v = tanh_(z[2]), o = sigm(z[3]), before = all(c + j * A + a);
          const V t = tanh_(f * before + i * v);
          const V out = (all(gh + j * A + a) + from_f[j] + all(from_b + j * A + a)) * real;
          const V memory = out * o * (1 - t * t) + all(gc + j * A + a) * real;
          dz[j] = memory * v * i * (1 - i);
          dz[N + j] = memory * before * f * (1 - f);
          dz[2 * N + j] = memory * i * (1 - v * v);
          dz[3 * N + j] = out * t * o * (1 - o);
          put(dc + j * A + a, memory * f);
        }
        for (int m = 0; m < M; m++) {
          for (int k = 0; k < N; k++) dhs[k] += across[m * N + k] * dz[m];
          total_dz[m] += dz[m];
          put(sum.at + m * A + a, all(sum.at + m * A + a) + dz[m]);
        }
        for (int k = 0; k < N; k++) put(dh + k * A + a, dhs[k]);
        if (++vectors == VECTORS) outer(some_h, some_dz, vectors, dw), vectors = 0;
      }
      for (int m = 0; m < M; m++) dzb[q * M + m] = total(total_dz[m]);
    }
    flush();
    outer(some_h, some_dz, vectors, dw);
    for (int i = 0; i < N * M; i++) dW[omp_get_thread_num() * N * M + i] = total(dw[i]);
  }
}
