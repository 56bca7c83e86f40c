// SPDX-License-Identifier: MIT
// Floating point without vectors: nbody in double, FFT, x87. No library functions, whose choice of
// instructions would depend on the processor; so the results are the same to the last bit.
#include "bench.h"

struct body {
    double at[3], speed[3], mass;
};

static double energy(const struct body *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++)
            sum += 0.5 * b[i].mass * b[i].speed[k] * b[i].speed[k];
        for (int j = i + 1; j < n; j++) {
            double square = 0;
            for (int k = 0; k < 3; k++)
                square += (b[i].at[k] - b[j].at[k]) * (b[i].at[k] - b[j].at[k]);
            sum -= b[i].mass * b[j].mass / __builtin_sqrt(square);
        }
    }
    return sum;
}

static void advance(struct body *b, int n, double dt)
{
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = b[i].at[k] - b[j].at[k];
                square += d[k] * d[k];
            }
            double force = dt / (square * __builtin_sqrt(square));
            for (int k = 0; k < 3; k++) {
                b[i].speed[k] -= d[k] * b[j].mass * force;
                b[j].speed[k] += d[k] * b[i].mass * force;
            }
        }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 3; k++)
            b[i].at[k] += dt * b[i].speed[k];
}

// A heavy body and four that go round it.
u64 bench_nbody(u64 count)
{
    struct body b[5] = {{{0, 0, 0}, {0, 0, 0}, 40}};
    for (int i = 1; i < 5; i++)
        b[i] = (struct body){
            {5.0 * i, 0.3 * i, -0.1 * i}, {0.1, __builtin_sqrt(40 / (5.0 * i)), 0.05}, 0.01 * i};
    double before = energy(b, 5);
    for (u64 i = 0; i < count * 1000; i++)
        advance(b, 5, 0.0005);
    double after = energy(b, 5);
    expect((after - before) / before < 1e-3 && (before - after) / before < 1e-3, "the energy");
    return hash_bytes(b, sizeof(b), HASH_START);
}

enum { FFT_BITS = 10, FFT_N = 1 << FFT_BITS };

// w[k] = e^(-2 pi i k / N), by repeated halving of the angle and products.
static void roots(double w[][2])
{
    double cosine = -1;
    for (int span = 1; span < FFT_N; span *= 2) {
        // cos and sin of pi / span.
        double sine = __builtin_sqrt((1 - cosine) * (1 + cosine));
        for (int k = 0; k < FFT_N; k += FFT_N / span) {
            int to = k + FFT_N / span / 2;
            if (span == 1) {
                w[0][0] = 1, w[0][1] = 0;
                w[FFT_N / 2][0] = -1, w[FFT_N / 2][1] = 0;
            } else {
                w[to][0] = w[k][0] * cosine + w[k][1] * sine;
                w[to][1] = w[k][1] * cosine - w[k][0] * sine;
            }
        }
        cosine = __builtin_sqrt((1 + cosine) / 2);
    }
}

static void fft(double x[][2], double w[][2], int inverse)
{
    for (int i = 0, j = 0; i < FFT_N; i++) {
        if (i < j)
            for (int k = 0; k < 2; k++) {
                double swap = x[i][k];
                x[i][k] = x[j][k];
                x[j][k] = swap;
            }
        int bit = FFT_N >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j |= bit;
    }
    for (int half = 1; half < FFT_N; half *= 2)
        for (int base = 0; base < FFT_N; base += 2 * half)
            for (int k = 0; k < half; k++) {
                const double *r = w[k * (FFT_N / 2 / half)];
                double *a = x[base + k], *b = x[base + k + half];
                double im = inverse ? -r[1] : r[1];
                double t0 = b[0] * r[0] - b[1] * im, t1 = b[0] * im + b[1] * r[0];
                b[0] = a[0] - t0;
                b[1] = a[1] - t1;
                a[0] += t0;
                a[1] += t1;
            }
}

u64 bench_fft(u64 count)
{
    static double x[FFT_N][2], start[FFT_N][2], w[FFT_N][2];
    u64 state = 5;
    roots(w);
    for (int i = 0; i < FFT_N; i++)
        for (int k = 0; k < 2; k++)
            x[i][k] = start[i][k] = (double)(random_next(&state) >> 44) / 1048576;
    for (u64 round = 0; round < count; round++) {
        fft(x, w, 0);
        fft(x, w, 1);
        for (int i = 0; i < FFT_N; i++)
            for (int k = 0; k < 2; k++) {
                x[i][k] /= FFT_N;
                double off = x[i][k] - start[i][k];
                expect(off < 1e-6 && off > -1e-6, "the inverse transform");
            }
    }
    return hash_bytes(x, sizeof(x), HASH_START);
}

// Points of the Mandelbrot set and square roots, in the x87's 80 bits.
u64 bench_x87(u64 count)
{
    u64 inside = 0;
    long double sum = 0;
    for (u64 round = 0; round < count; round++)
        for (int row = 0; row < 24; row++)
            for (int column = 0; column < 32; column++) {
                long double cx = column * 0.09375L - 2.25L, cy = row * 0.1L - 1.15L, x = 0, y = 0;
                int i = 0;
                for (; i < 60 && x * x + y * y < 4; i++) {
                    long double t = x * x - y * y + cx;
                    y = 2 * x * y + cy;
                    x = t;
                }
                inside += i == 60;
                sum += __builtin_sqrtl(x * x + y * y + (long double)(round & 7));
            }
    expect(inside % count == 0 && inside > 0, "each round has the same points");
    return hash_bytes(&sum, 10, inside);
}
