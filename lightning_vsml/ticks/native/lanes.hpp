// Vectors of W lanes, the functions of a gate on them, and the two ways to run a phase over a synapse grid.
// A phase is generated (source.py): a struct whose functions compute, from the parameters p,
//   once(p, s)                  s: what depends on nothing                          SCALARS numbers
//   synapse(p, s, h, c, n, ab)  what depends on input and output (a, b)              AB values
//   input(p, s, x, ra)          what depends on row and input (r, a)                 RA values
//   output(p, s, e, rb)         what depends on row and output (r, b)                RB values
//                               from the CARRIED values e: the feedback, and the neuron's own messages
//   spread(...)                 what depends on all three, from these:   MESSAGES + CHANGES values

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef F V __attribute__((vector_size(BYTES)));
constexpr int W = BYTES / sizeof(F);
#define INLINE_MEMBER inline __attribute__((always_inline))
#define INLINE static INLINE_MEMBER

INLINE V load(const F* from, long n) {
  V v = {};
  if (__builtin_expect(n >= W, 1)) __builtin_memcpy(&v, from, sizeof(V));
  else __builtin_memcpy(&v, from, n * sizeof(F));
  return v;
}

INLINE void store(F* to, V v, long n) {
  if (__builtin_expect(n >= W, 1)) __builtin_memcpy(to, &v, sizeof(V));
  else __builtin_memcpy(to, &v, n * sizeof(F));
}

INLINE F total(V v) {
  F sum = 0;
  for (int lane = 0; lane < W; lane++) sum += v[lane];
  return sum;
}

struct Change {
  int unit;
  bool of_c, less_start;
};

INLINE long least(long a, long b) { return a < b ? a : b; }

// tanh(z / inverse) / inverse: with u = z^2, tanh(z) = z P(u) / Q(u) up to a relative error of 5e-7, rounding included,
// and exactly 1 beyond 8. Own fit: weighted least squares, repeated until the largest error is smallest. NaN stays NaN.
template <int inverse> INLINE V tanh_scaled(V z, float) {
  constexpr float s = 1.0f / inverse, q = s * s;
  V u = z * z;
  u = u > 64.0f / q ? V{} + 64.0f / q : u;
  const V P = ((1.1428943818030996e-05f * q * q * q * q * u + 0.002951076964873066f * q * q * q) * u
               + 0.12925714578618513f * q * q) * u + 0.9999998546519212f * q;
  const V Q = (((2.459366208815887e-07f * q * q * q * q * u + 0.00023867637147670292f * q * q * q) * u
                + 0.02381577785833714f * q * q) * u + 0.4625893037700466f * q) * u + 1.0f;
  V y = z * P / Q;
  y = y > s ? V{} + s : y;
  return y < -s ? V{} - s : y;
}

template <int inverse> INLINE V tanh_scaled(V z, double) {
  for (int lane = 0; lane < W; lane++) z[lane] = __builtin_tanh(z[lane] / inverse) / inverse;
  return z;
}

INLINE V tanh_(V z) { return tanh_scaled<1>(z, F()); }
INLINE V half(V z) { return tanh_scaled<2>(z, F()); }  // sigm(z) - 1/2
INLINE F tanh_(F z) { return tanh_(V{} + z)[0]; }
INLINE F half(F z) { return half(V{} + z)[0]; }

// z = h w: n units, M sums (a multiple of 8), w stored (n, M).
template <int n, int M> INLINE void mix(const F* w, const V* h, V* z) {
  for (int m = 0; m < M; m += 8) {
    V sum[8] = {};
    for (int i = 0; i < n; i++)
      for (int k = 0; k < 8; k++) sum[k] += w[i * M + m + k] * h[i];
    for (int k = 0; k < 8; k++) z[m + k] = sum[k];
  }
}

struct Grid {
  long members, groups, A, B, R;  // groups: of each member of a population; R: rows, for `rows` padded to whole vectors
  long parameters;                // of one member
  int threads;
};

template <class T> struct BufferOf {
  T* at;
  explicit BufferOf(long size) : at(new T[size]()) {}
  ~BufferOf() { delete[] at; }
};
using Buffer = BufferOf<F>;

#ifdef _OPENMP
extern "C" int omp_get_thread_num();
#else
static int omp_get_thread_num() { return 0; }
#endif

// Where the k-th change of a phase goes: the sum over rows, less what the rows started from where it contains that.
template <class Phase>
INLINE void write(int k, V sum, F rows, const F* h, const F* c, F* dh, F* dc, long plane, long n) {
  const Change change = Phase::changes[k];
  const long at = change.unit * plane;
  if (change.less_start) sum -= rows * load((change.of_c ? c : h) + at, n);
  store((change.of_c ? dc : dh) + at, sum, n);
}

// Lanes are rows. x (G, A, R), e (G, B, CARRIED, R), real (R): 1 for rows that exist, else 0; states are units
// x (G, A, B).
// message, zero before: (MESSAGES, G, A, R) backward; (threads, MESSAGES, G, B, R) forward, to be summed over threads.
template <class Phase>
void rows(const Grid& grid, const F* parameters, const F* h, const F* c, const F* x, const F* e, const F* real, F* dh,
          F* dc, F* message) {
  constexpr int M = Phase::MESSAGES, C = Phase::CHANGES, E = Phase::CARRIED;
  const long A = grid.A, B = grid.B, R = grid.R, G = grid.members * grid.groups, plane = G * A * B;
  const long block = B < 64 ? (64 + B - 1) / B : 1, blocks = (A + block - 1) / block;  // inputs at a time
  const long padded = (block * B + W - 1) / W * W, few = 8 * W;                         // synapses, rows at a time
  F count = 0;
  for (long r = 0; r < R; r++) count += real[r];
  const Buffer outputs(G * B * Phase::RB * R);
#pragma omp parallel num_threads(grid.threads)
  {
    const Buffer synapses(Phase::AB * padded), inputs(Phase::RA * few), change(C * padded);
    const long thread = omp_get_thread_num();
    F s[Phase::SCALARS + 1];
#pragma omp for schedule(static)
    for (long at = 0; at < G * B; at++) {
      const F* p = parameters + at / B / grid.groups * grid.parameters;
      Phase::once(p, s);
      for (long r = 0; r < R; r += W) {
        V e_r[E], values[Phase::RB + 1];
        for (int k = 0; k < E; k++) e_r[k] = load(e + (at * E + k) * R + r, W);
        Phase::output(p, s, e_r, values);
        for (int k = 0; k < Phase::RB; k++) store(outputs.at + (at * Phase::RB + k) * R + r, values[k], W);
      }
    }
#pragma omp for schedule(static)
    for (long item = 0; item < G * blocks; item++) {
      const long g = item / blocks, first = item % blocks * block, last = least(A, first + block);
      const long base = (g * A + first) * B, size = (last - first) * B;
      const F* p = parameters + g / grid.groups * grid.parameters;
      Phase::once(p, s);
      for (long q = 0; q < size; q += W) {
        V values[Phase::AB + 1];
        Phase::synapse(p, s, h + base + q, c + base + q, plane, size - q, values);
        for (int k = 0; k < Phase::AB; k++) store(synapses.at + k * padded + q, values[k], W);
      }
      for (long q = 0; q < C * padded; q++) change.at[q] = 0;
      for (long start = 0; start < R; start += few) {
        const long stop = least(R, start + few);
        for (long a = first; a < last; a++) {
          const F* x_a = x + (g * A + a) * R;
          for (long r = start; r < stop; r += W) {
            V values[Phase::RA + 1];
            Phase::input(p, s, load(x_a + r, W), values);
            for (int k = 0; k < Phase::RA; k++) store(inputs.at + k * few + r - start, values[k], W);
          }
          for (long b = 0; b < B; b++) {
            const long q = (a - first) * B + b;
            const F* e_b = e + (g * B + b) * E * R;
            const F* outputs_b = outputs.at + (g * B + b) * Phase::RB * R;
            F ab[Phase::AB + 1];
            for (int k = 0; k < Phase::AB; k++) ab[k] = synapses.at[k * padded + q];
            V sums[C + 1] = {};
            for (long r = start; r < stop; r += W) {
              V e_r[E], ra[Phase::RA + 1], rb[Phase::RB + 1], out[M + C + 1];
              for (int k = 0; k < E; k++) e_r[k] = load(e_b + k * R + r, W);
              for (int k = 0; k < Phase::RA; k++) ra[k] = load(inputs.at + k * few + r - start, W);
              for (int k = 0; k < Phase::RB; k++) rb[k] = load(outputs_b + k * R + r, W);
              Phase::spread(p, s, ab, load(x_a + r, W), ra, e_r, rb, out);
              for (int m = 0; m < M; m++) {
                F* to = Phase::BACKWARD ? message + ((m * G + g) * A + a) * R + r
                                        : message + (((thread * M + m) * G + g) * B + b) * R + r;
                store(to, load(to, W) + out[m], W);
              }
              const V exists = load(real + r, W);
              for (int k = 0; k < C; k++) sums[k] += exists * out[M + k];
            }
            for (int k = 0; k < C; k++) change.at[k * padded + q] += total(sums[k]);
          }
        }
      }
      for (long q = 0; q < size; q += W)
        for (int k = 0; k < C; k++) {
          const V sum = load(change.at + k * padded + q, W);
          write<Phase>(k, sum, count, h + base + q, c + base + q, dh + base + q, dc + base + q, plane, size - q);
        }
    }
  }
}

// Lanes are synapses, for few rows: x expanded to (R, G, A, B), e to (R, CARRIED, G, A, B); message
// (MESSAGES, R, G, A, B), not summed.
template <class Phase>
void synapses(const Grid& grid, const F* parameters, const F* h, const F* c, const F* x, const F* e, F* dh, F* dc,
              F* message) {
  constexpr int M = Phase::MESSAGES, C = Phase::CHANGES, E = Phase::CARRIED;
  const long size = grid.groups * grid.A * grid.B, plane = grid.members * size, blocks = (size + W - 1) / W;
#pragma omp parallel for num_threads(grid.threads) schedule(static)
  for (long item = 0; item < grid.members * blocks; item++) {
    const long member = item / blocks, q = item % blocks * W, base = member * size + q, n = size - q;
    const F* p = parameters + member * grid.parameters;
    F s[Phase::SCALARS + 1];
    V ab[Phase::AB + 1], e_r[E], ra[Phase::RA + 1], rb[Phase::RB + 1], out[M + C + 1], sums[C + 1] = {};
    Phase::once(p, s);
    Phase::synapse(p, s, h + base, c + base, plane, n, ab);
    for (long r = 0; r < grid.R; r++) {
      const V x_r = load(x + r * plane + base, n);
      for (int k = 0; k < E; k++) e_r[k] = load(e + (r * E + k) * plane + base, n);
      Phase::input(p, s, x_r, ra);
      Phase::output(p, s, e_r, rb);
      Phase::spread(p, s, ab, x_r, ra, e_r, rb, out);
      for (int m = 0; m < M; m++) store(message + (m * grid.R + r) * plane + base, out[m], n);
      for (int k = 0; k < C; k++) sums[k] += out[M + k];
    }
    for (int k = 0; k < C; k++)
      write<Phase>(k, sums[k], grid.R, h + base, c + base, dh + base, dc + base, plane, n);
  }
}
