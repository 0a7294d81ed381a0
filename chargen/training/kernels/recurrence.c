/* The recurrences of the four cells, forward and backward, for one window of text.

   Each thread takes some of the batch rows through all time steps on its own: rows do not depend
   on each other, so no thread waits until the end. Per step there is one product of the
   previous hidden states with the recurrent matrix and one pass of plain arithmetic.

   Shape letters: T steps, B batch rows, H units, G gates, K length of a product, N its columns.
   Arrays are C-contiguous, (T, B, ...) as in torch. "Operand" is what a product reads: bfloat16
   (bf16 = 1; sums stay float32) or float32. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__SSE__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 16
#define ROWS 8
#else
#define WIDTH 8
#define ROWS 4
#endif
#define PANEL (2 * WIDTH)

/* Read from and written to arrays of float, in any alignment: so it may alias them. */
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint16_t bfloat;

enum cell { RNN, RNN_RELU, LSTM, GRU };

static inline bfloat to_bfloat(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* exp to about one unit in the last place: x = n ln 2 + r, a polynomial for r. */
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return y * scale;
}
static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
static inline float tangent(float x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

/* ---- products ---- */

int64_t packed_elements(int64_t n, int64_t k, int bf16) {
    int64_t depth = bf16 ? (k + 1) / 2 * 2 : k;
    return (n + PANEL - 1) / PANEL * PANEL * depth;
}

/* Rows of a matrix as one panel: k runs slowest, and bfloat16 keeps two neighbours in k together,
   as the dot instruction wants them. Inlined for matrices whose rows, or columns, lie together:
   then most of it is vector arithmetic. */
static inline __attribute__((always_inline)) void pack_panel(int64_t rows, int64_t k, const float *w,
        int64_t stride_n, int64_t stride_k, void *panel, int bf16) {
    if (!bf16) {
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < rows; j++)
                ((float *)panel)[i * PANEL + j] = w[j * stride_n + i * stride_k];
        return;
    }
    uint32_t *out = panel;
    for (int64_t i = 0; i < k / 2; i++)
        for (int64_t j = 0; j < rows; j++) {
            const float *at = w + j * stride_n + 2 * i * stride_k;
            out[i * PANEL + j] = to_bfloat(at[0]) | (uint32_t)to_bfloat(at[stride_k]) << 16;
        }
    for (int64_t j = 0; j < rows && k % 2; j++)
        out[k / 2 * PANEL + j] = to_bfloat(w[j * stride_n + (k - 1) * stride_k]);
}

/* A matrix of N rows and K columns (any strides) as panels of PANEL rows, the last one padded. */
void pack(int64_t n, int64_t k, const float *w, int64_t stride_n, int64_t stride_k, void *out, int bf16,
          int threads) {
    int64_t bytes = PANEL * (bf16 ? (k + 1) / 2 * 4 : k * 4);
#pragma omp parallel for num_threads(threads)
    for (int64_t first = 0; first < n; first += PANEL) {
        const float *from = w + first * stride_n;
        void *panel = (char *)out + first / PANEL * bytes;
        if (n - first >= PANEL && stride_n == 1)
            pack_panel(PANEL, k, from, 1, stride_k, panel, bf16);
        else if (n - first >= PANEL && stride_k == 1)
            pack_panel(PANEL, k, from, stride_n, 1, panel, bf16);
        else {
            int64_t rows = n - first < PANEL ? n - first : PANEL;
            memset(panel, 0, bytes);
            pack_panel(rows, k, from, stride_n, stride_k, panel, bf16);
        }
    }
}

/* out (R, PANEL) += x (R, K) times one panel. R is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void block(const int R, const char *x, int64_t stride,
        const char *panel, int64_t k, float *out, int64_t out_stride, int bf16) {
    vector a[ROWS], b[ROWS];
    for (int r = 0; r < R; r++) {
        a[r] = *(vector *)(out + r * out_stride);
        b[r] = *(vector *)(out + r * out_stride + WIDTH);
    }
#ifdef __AVX512BF16__
    if (bf16) {
        for (int64_t i = 0; i < (k + 1) / 2; i++) {
            __m512bh u = (__m512bh)_mm512_loadu_si512(panel + i * 128);
            __m512bh v = (__m512bh)_mm512_loadu_si512(panel + i * 128 + 64);
            for (int r = 0; r < R; r++) {
                int32_t pair; /* two bfloat16 */
                memcpy(&pair, x + r * stride + 4 * i, 4);
                __m512bh h = (__m512bh)_mm512_set1_epi32(pair);
                a[r] = (vector)_mm512_dpbf16_ps((__m512)a[r], h, u);
                b[r] = (vector)_mm512_dpbf16_ps((__m512)b[r], h, v);
            }
        }
    } else
#endif
        for (int64_t i = 0; i < k; i++) {
            vector u = *(const vector *)(panel + i * 4 * PANEL);
            vector v = *(const vector *)(panel + i * 4 * PANEL + 4 * WIDTH);
            for (int r = 0; r < R; r++) {
                float h = *(const float *)(x + r * stride + 4 * i);
                a[r] += h * u;
                b[r] += h * v;
            }
        }
    for (int r = 0; r < R; r++) {
        *(vector *)(out + r * out_stride) = a[r];
        *(vector *)(out + r * out_stride + WIDTH) = b[r];
    }
}

static inline __attribute__((always_inline)) void rows_of(int64_t rows, const char *x, int64_t stride,
        const char *panel, int64_t k, float *out, int64_t out_stride, int bf16) {
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * stride, out += ROWS * out_stride)
        block(ROWS, x, stride, panel, k, out, out_stride, bf16);
    if (rows >= 4) {
        block(4, x, stride, panel, k, out, out_stride, bf16);
        rows -= 4, x += 4 * stride, out += 4 * out_stride;
    }
    for (; rows > 0; rows--, x += stride, out += out_stride)
        block(1, x, stride, panel, k, out, out_stride, bf16);
}

/* out (rows, N) += x (rows, K) times the packed matrix. Strides: of x in bytes, of out in floats. */
static void multiply(int64_t rows, const void *x, int64_t stride, const void *packed, int64_t n, int64_t k,
                     float *out, int64_t out_stride, int bf16) {
    int64_t bytes = PANEL * (bf16 ? (k + 1) / 2 * 2 * 2 : k * 4);
    for (int64_t p = 0; p * PANEL < n; p++) {
        const char *panel = (const char *)packed + p * bytes;
        int64_t columns = n - p * PANEL;
        if (columns >= PANEL) {
            if (bf16)
                rows_of(rows, x, stride, panel, k, out + p * PANEL, out_stride, 1);
            else
                rows_of(rows, x, stride, panel, k, out + p * PANEL, out_stride, 0);
            continue;
        }
        for (int64_t r = 0, some; r < rows; r += some) {
            some = rows - r < ROWS ? rows - r : ROWS;
            float edge[ROWS * PANEL] = {0};
            for (int64_t i = 0; i < some; i++)
                memcpy(edge + i * PANEL, out + (r + i) * out_stride + p * PANEL, 4 * columns);
            rows_of(some, (const char *)x + r * stride, stride, panel, k, edge, PANEL, bf16);
            for (int64_t i = 0; i < some; i++)
                memcpy(out + (r + i) * out_stride + p * PANEL, edge + i * PANEL, 4 * columns);
        }
    }
}

/* out (M, N) = bias (N) + x (M, K) times the packed matrix, rows shared out among threads. */
void product(int64_t m, int64_t n, int64_t k, const void *x, const void *packed, const float *bias,
             float *out, int bf16, int threads) {
    int64_t stride = bf16 ? (k + 1) / 2 * 4 : k * 4, chunk = 8 * ROWS;
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < m; row += chunk) {
        int64_t rows = m - row < chunk ? m - row : chunk;
        for (int64_t r = row; r < row + rows; r++)
            if (bias)
                memcpy(out + r * n, bias, 4 * n);
            else
                memset(out + r * n, 0, 4 * n);
        multiply(rows, (const char *)x + row * stride, stride, packed, n, k, out + row * n, n, bf16);
    }
}

/* Rows of floats as operands; each row padded to an even length. */
void to_operand(int64_t rows, int64_t k, const float *x, void *out, int bf16, int threads) {
    int64_t depth = bf16 ? (k + 1) / 2 * 2 : k;
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        if (!bf16) {
            memcpy((float *)out + r * k, x + r * k, 4 * k);
            continue;
        }
        bfloat *y = (bfloat *)out + r * depth;
        for (int64_t i = 0; i < k; i++)
            y[i] = to_bfloat(x[r * k + i]);
        if (depth > k)
            y[k] = 0;
    }
}

/* ---- the walk through time ---- */

struct window {
    int64_t cell, bf16, threads, steps, batch, size, vocab;
    const int64_t *tokens;  /* (T, B), or NULL: then gates hold the input's share already */
    const float *table;     /* (V, G H): the input's share for every token, biases included */
    const void *packed;     /* recurrent matrix: forward (G H, H), backward its transpose */
    const float *bias;      /* (G H): the GRU's recurrent bias */
    float *gates;           /* (T, B, G H): forward: in the input's share, out gate values */
    float *products;        /* (T, B, H): GRU: recurrent share of the candidate */
    float *hidden;          /* (T + 1, B, H): first the state before */
    float *cells;           /* (T + 1, B, H): LSTM: first the state before */
    void *operands;         /* (T + 1, B, H): hidden as operands, rows of even length */
    const float *d_hidden;  /* (T, B, H) */
    float *d_state;         /* (B, H): in: of the last hidden state; out: of the first */
    float *d_cell;          /* (B, H): the same for the cell state */
    void *d_gates;          /* (T, B, G H): operands: gradient of the recurrent product */
    void *d_inputs;         /* (T, B, G H): operands: GRU: gradient of the input's share */
    float *d_table;         /* (threads, V, G H), zeros; or NULL */
    float *d_bias;          /* (threads, 2, G H), zeros: of input's and recurrent share */
};

static void forward_row(const struct window *w, int64_t t, int64_t b, float *scratch) {
    const int64_t H = w->size, at = t * w->batch + b;
    const float *restrict before = w->hidden + at * H;
    float *restrict after = w->hidden + (at + w->batch) * H;
    if (w->cell == LSTM) {
        float *restrict i = w->gates + at * 4 * H, *restrict f = i + H, *restrict g = f + H;
        float *restrict o = g + H;
        const float *restrict old = w->cells + at * H;
        float *restrict now = w->cells + (at + w->batch) * H;
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            i[u] = sigmoid(i[u]);
            f[u] = sigmoid(f[u]);
            g[u] = tangent(g[u]);
            o[u] = sigmoid(o[u]);
            now[u] = f[u] * old[u] + i[u] * g[u];
            after[u] = o[u] * tangent(now[u]);
        }
    } else if (w->cell == GRU) {
        float *restrict r = w->gates + at * 3 * H, *restrict z = r + H, *restrict n = z + H;
        float *restrict candidate = w->products + at * H;
        const float *restrict p = scratch;
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            r[u] = sigmoid(r[u] + p[u]);
            z[u] = sigmoid(z[u] + p[u + H]);
            candidate[u] = p[u + 2 * H];
            n[u] = tangent(n[u] + r[u] * candidate[u]);
            after[u] = n[u] + z[u] * (before[u] - n[u]);
        }
    } else {
        const float *restrict a = w->gates + at * H;
        if (w->cell == RNN)
#pragma omp simd
            for (int64_t u = 0; u < H; u++)
                after[u] = tangent(a[u]);
        else
#pragma omp simd
            for (int64_t u = 0; u < H; u++)
                after[u] = a[u] > 0 ? a[u] : 0;
    }
}

static int64_t gates_of(int64_t cell) { return cell == LSTM ? 4 : cell == GRU ? 3 : 1; }

static void operand_row(const struct window *w, const float *restrict x, void *operands, int64_t row, int64_t k) {
    if (!w->bf16)
        memcpy((float *)operands + row * k, x, 4 * k);
    else {
        int64_t depth = (k + 1) / 2 * 2;
        bfloat *restrict y = (bfloat *)operands + row * depth;
#pragma omp simd
        for (int64_t u = 0; u < k; u++)
            y[u] = to_bfloat(x[u]);
        if (depth > k)
            y[k] = 0;
    }
}

static int64_t operand_bytes(const struct window *w, int64_t k) {
    return w->bf16 ? (k + 1) / 2 * 4 : 4 * k;
}

/* Both walks return 0, or 1 when memory ran out; then the window's results are not complete. */
static int forward_rows(const struct window *w, int64_t low, int64_t high) {
    const int64_t H = w->size, N = gates_of(w->cell) * H, stride = operand_bytes(w, H);
    float *scratch = w->cell == GRU ? malloc(4 * N * (high - low)) : NULL;
    if (w->cell == GRU && !scratch)
        return 1;
    for (int64_t b = low; b < high; b++)
        operand_row(w, w->hidden + b * H, w->operands, b, H);
    for (int64_t t = 0; t < w->steps; t++) {
        int64_t first = t * w->batch + low;
        float *out = scratch ? scratch : w->gates + first * N;
        for (int64_t b = low; b < high; b++) {
            if (w->tokens)
                memcpy(w->gates + (t * w->batch + b) * N,
                       w->table + w->tokens[t * w->batch + b] * N, 4 * N);
            if (scratch)
                memcpy(scratch + (b - low) * N, w->bias, 4 * N);
        }
        multiply(high - low, (char *)w->operands + first * stride, stride, w->packed, N, H, out, N,
                 w->bf16);
        for (int64_t b = low; b < high; b++) {
            forward_row(w, t, b, scratch ? scratch + (b - low) * N : NULL);
            int64_t after = (t + 1) * w->batch + b;
            operand_row(w, w->hidden + after * H, w->operands, after, H);
        }
    }
    free(scratch);
    return 0;
}

/* Gradients of one row's gates at step t from dh and dc; dh keeps what bypasses the product. */
static void backward_row(const struct window *w, int64_t t, int64_t b, float *restrict dh, float *restrict d,
                         float *restrict di) {
    const int64_t H = w->size, at = t * w->batch + b;
    const float *restrict before = w->hidden + at * H, *restrict after = w->hidden + (at + w->batch) * H;
    if (w->cell == LSTM) {
        const float *restrict i = w->gates + at * 4 * H, *restrict f = i + H, *restrict g = f + H;
        const float *restrict o = g + H, *restrict old = w->cells + at * H;
        const float *restrict now = w->cells + (at + w->batch) * H;
        float *restrict dc = w->d_cell + b * H;
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            float squashed = tangent(now[u]);
            float c = dc[u] + dh[u] * o[u] * (1 - squashed * squashed);
            d[u] = c * g[u] * i[u] * (1 - i[u]);
            d[u + H] = c * old[u] * f[u] * (1 - f[u]);
            d[u + 2 * H] = c * i[u] * (1 - g[u] * g[u]);
            d[u + 3 * H] = dh[u] * squashed * o[u] * (1 - o[u]);
            dc[u] = c * f[u];
            dh[u] = 0;
        }
    } else if (w->cell == GRU) {
        const float *restrict r = w->gates + at * 3 * H, *restrict z = r + H, *restrict n = z + H;
        const float *restrict candidate = w->products + at * H;
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            float dn = dh[u] * (1 - z[u]) * (1 - n[u] * n[u]);
            float dr = dn * candidate[u] * r[u] * (1 - r[u]);
            float dz = dh[u] * (before[u] - n[u]) * z[u] * (1 - z[u]);
            d[u] = dr;
            d[u + H] = dz;
            d[u + 2 * H] = dn * r[u];
            di[u] = dr;
            di[u + H] = dz;
            di[u + 2 * H] = dn;
            dh[u] *= z[u];
        }
    } else if (w->cell == RNN)
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            d[u] = dh[u] * (1 - after[u] * after[u]);
            dh[u] = 0;
        }
    else
#pragma omp simd
        for (int64_t u = 0; u < H; u++) {
            d[u] = after[u] > 0 ? dh[u] : 0;
            dh[u] = 0;
        }
}

static void add_to(float *restrict sum, const float *restrict x, int64_t n) {
#pragma omp simd
    for (int64_t u = 0; u < n; u++)
        sum[u] += x[u];
}

static int backward_rows(const struct window *w, int64_t low, int64_t high, int64_t thread) {
    const int64_t H = w->size, N = gates_of(w->cell) * H, stride = operand_bytes(w, N);
    float *row = malloc(8 * N);
    if (!row)
        return 1;
    for (int64_t t = w->steps - 1; t >= 0; t--) {
        for (int64_t b = low; b < high; b++) {
            int64_t at = t * w->batch + b;
            float *d = row, *di = w->cell == GRU ? row + N : row;
            float *dh = w->d_state + b * H;
            add_to(dh, w->d_hidden + at * H, H);
            backward_row(w, t, b, dh, d, di);
            operand_row(w, d, w->d_gates, at, N);
            if (w->cell == GRU) {
                operand_row(w, di, w->d_inputs, at, N);
                add_to(w->d_bias + (thread * 2 + 1) * N, d, N);
            }
            if (w->d_table)
                add_to(w->d_table + (thread * w->vocab + w->tokens[at]) * N, di, N);
            else
                add_to(w->d_bias + thread * 2 * N, di, N);
        }
        multiply(high - low, (char *)w->d_gates + (t * w->batch + low) * stride, stride, w->packed,
                 H, N, w->d_state + low * H, H, w->bf16);
    }
    free(row);
    return 0;
}

static int walk(const struct window *w, int backward) {
    int failed = 0;
    int64_t threads = w->threads < w->batch ? w->threads : w->batch;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : failed)
    for (int64_t n = 0; n < threads; n++) {
#if defined(__SSE__)
        unsigned kept = _mm_getcsr();
        _mm_setcsr(kept | 0x8040); /* subnormal numbers are zero */
#endif
        int64_t low = n * w->batch / threads, high = (n + 1) * w->batch / threads;
        failed |= backward ? backward_rows(w, low, high, n) : forward_rows(w, low, high);
#if defined(__SSE__)
        _mm_setcsr(kept);
#endif
    }
    return failed;
}

int forward(const struct window *w) { return walk(w, 0); }
int backward(const struct window *w) { return walk(w, 1); }
int is_parallel(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
int has_bf16(void) {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}
