"""Run the kernel neon_dotprod under an emulator: its micro-kernels and loops, cross-compiled, against plain C.

apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
python tests/acceleration/neon.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import llvmlite.binding as llvm

from tinytorch.acceleration.codegen import modules
from tinytorch.acceleration.codegen.ir import module

TRIPLE = "aarch64-unknown-linux-gnu"

CHECK = r"""
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int64_t i64;
typedef void tile(int8_t *, i64, int8_t *, i64, i64, int32_t *, i64, int32_t *, i64, int8_t *, i64);
#define TILE(r) extern tile tile_##r##_1;
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
extern i64 quantize(float *, i64, i64, i64, int8_t *, i64, float *, uint8_t *);
extern i64 extremes(float *, i64, i64, i64, float *, i64, void *, void *);
extern i64 to_float(int32_t *, i64, i64, i64, float *, i64, float *, float *);
extern i64 to_float_by_rows(int32_t *, i64, i64, i64, float *, i64, float *, float *);
typedef void taps(int8_t *, i64, i64, int8_t *, i64, i64, i64, i64, int32_t *, i64, int32_t *, i64);
extern taps taps_1, taps_2, taps_3, taps_4, taps_5, taps_6, taps_7;
extern void interleave(int8_t *, int8_t *, int8_t *, int8_t *, i64, int8_t *, i64);
static taps *columns_of_kernel[] = {taps_1, taps_2, taps_3, taps_4, taps_5, taps_6, taps_7};
static int8_t image[4][2048], interleaved[4 * 2048 + 64], filters[3 * 7 * 64];
static int32_t first[48], pixel_sums[9 * 48];
static tile *tiles[] = {
    tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1};
static int8_t a[6 * 4096], b[16 * 4096];
static int32_t c[6 * 16], start[16];
static float x[1000], y[1000], two[2];
static int8_t q[1000];
static float columns[4][3][16], of_rows[5][8], real[5 * 64];  /* of 16 columns their scales, biases, sums of weights */
static int32_t acc[5 * 64];

/* The epilogue of a product whose rows have a scale and zero point each; returns how many results are wrong. */
static long by_rows(void) {
    int rows = 1 + rand() % 5, n = 1 + rand() % 64;
    long wrong = 0;
    for (int j = 0; j < 64; j++) {
        int32_t sum = rand() % 200000 - 100000;
        columns[j / 16][0][j % 16] = rand() / (float)RAND_MAX;
        columns[j / 16][1][j % 16] = rand() / (float)RAND_MAX - 0.5f;
        memcpy(&columns[j / 16][2][j % 16], &sum, 4);
    }
    for (int i = 0; i < rows * 64; i++) acc[i] = rand() - rand();
    for (int r = 0; r < rows; r++) of_rows[r][0] = rand() % 256, of_rows[r][3] = rand() / (float)RAND_MAX;
    to_float_by_rows(acc, 256, rows, n, real, 256, &columns[0][0][0], &of_rows[0][0]);
    for (int r = 0; r < rows; r++) for (int j = 0; j < n; j++) {
        int32_t sum;
        memcpy(&sum, &columns[j / 16][2][j % 16], 4);
        uint32_t exact = (uint32_t)acc[r * 64 + j] - (uint32_t)((int32_t)of_rows[r][0] * sum);
        volatile float worth = of_rows[r][3] * columns[j / 16][0][j % 16], scaled = (float)(int32_t)exact * worth;
        wrong += real[r * 64 + j] != scaled + columns[j / 16][1][j % 16];
    }
    return wrong;
}

typedef void group(int8_t *, i64, uint8_t *, i64, i64, i64, float *, i64, int32_t *, float *, i64, i64, float *);
typedef void real_tile(float *, i64, float *, i64, i64, float *, i64, float *, i64, void *, i64);
#define FEW_BITS(r) extern group group_##r##_1; extern real_tile real_tile_##r##_1;
FEW_BITS(1) FEW_BITS(2) FEW_BITS(3) FEW_BITS(4) FEW_BITS(5) FEW_BITS(6)
extern void unpack_4(uint8_t *, i64, int8_t *, uint8_t *);
extern void real_4_with_zero_points(uint8_t *, i64, float *, float *, int8_t *, i64, i64);
static group *groups[] = {group_1_1, group_2_1, group_3_1, group_4_1, group_5_1, group_6_1};
static real_tile *real_tiles[] = {
    real_tile_1_1, real_tile_2_1, real_tile_3_1, real_tile_4_1, real_tile_5_1, real_tile_6_1};
static uint8_t packed[64 * 32];
static int8_t unpacked[16 * 256], zeros[32 * 16];
static int32_t group_sums[32 * 16];
static float scales[32 * 16], weights[256 * 16], reals[6 * 256], before[6 * 16];

static int code(int k, int j) {  /* step k of column j of `packed` */
    int both = packed[(k / 8 * 16 + j) * 4 + k % 4], nibble = k % 8 < 4 ? both & 15 : both >> 4;
    return nibble < 8 ? nibble : nibble - 16;
}

/* Weights of 4 bits: in groups under codes, unpacked, and as floats; returns how many results are wrong. */
static long few_bits(void) {
    int rows = 1 + rand() % 6, eights = 1 + rand() % 32, k = 8 * eights, size = 8 * (1 + rand() % 8);
    i64 zero = rand() % 256;
    float step = 1 + rand() / (float)RAND_MAX;
    long wrong = 0;
    for (int i = 0; i < 64 * eights; i++) packed[i] = rand();
    for (int i = 0; i < rows * k; i++) a[i] = rand(), reals[i] = rand() / (float)RAND_MAX - 0.5f;
    for (int i = 0; i < 32 * 16; i++) {
        group_sums[i] = rand() % 2000 - 1000, zeros[i] = rand() % 16 - 8, scales[i] = rand() / (float)RAND_MAX;
    }
    for (int i = 0; i < rows * 16; i++) before[i] = real[i] = rand() / (float)RAND_MAX;
    groups[rows - 1](a, k, packed, 0, eights, size / 8, real, 64, group_sums, scales, 0, zero, &step);
    for (int r = 0; r < rows; r++) for (int j = 0; j < 16; j++) {
        volatile float y = before[r * 16 + j];
        for (int g = 0; g * size < k; g++) {
            int32_t sum = -(int32_t)zero * group_sums[g * 16 + j];
            for (int i = g * size; i < k && i < (g + 1) * size; i++) sum += a[r * k + i] * code(i, j);
            volatile float worth = scales[g * 16 + j] * step, scaled = sum * worth;
            y = y + scaled;
        }
        wrong += y != real[r * 16 + j];
    }
    unpack_4(packed, 64 * eights, unpacked, packed);
    real_4_with_zero_points(packed, 64 * eights, weights, scales, zeros, 8 * size, 8 * size);
    for (int i = 0; i < k; i++) for (int j = 0; j < 16; j++) {
        wrong += unpacked[(i / 4 * 16 + j) * 4 + i % 4] != code(i, j);
        volatile float w = (code(i, j) - zeros[i / size * 16 + j]) * scales[i / size * 16 + j];
        wrong += w != weights[i * 16 + j];
    }
    real_tiles[rows - 1](reals, 4 * k, weights, 0, k, real, 64, before, 64, 0, 0);
    for (int r = 0; r < rows; r++) for (int j = 0; j < 16; j++) {
        float sum = 0;
        for (int i = 0; i < k; i++) sum = fmaf(reals[r * k + i], weights[i * 16 + j], sum);
        wrong += sum + before[r * 16 + j] != real[r * 16 + j];
    }
    return wrong;
}

/* A depthwise convolution of up to four image rows; returns how many of its sums are wrong. */
static long depthwise(void) {
    int channels = 1 + rand() % 40, count = 1 + rand() % 7, pixels = 1 + rand() % 9, shift = rand() % 3;
    int step = 1 + rand() % 3, apart = 1 + rand() % 2, width = (pixels - 1) * step + (count - 1) * apart + 1;
    int flip = rand() % 2 ? 128 : 0, row = (channels + 15) / 16 * 16;
    long wrong = 0;
    for (int r = 0; r < 4; r++) for (int i = 0; i < width * channels; i++) image[r][i] = rand();
    for (int i = 0; i < (int)sizeof filters; i++) filters[i] = rand();
    for (int c = 0; c < row; c++) first[c] = rand();
    interleave(image[0], image[1], image[2], image[3], width * channels, interleaved, flip);
    columns_of_kernel[count - 1](interleaved, 4 * step * channels, 4 * apart * channels, filters, 64 * count, 8 * shift,
                                 pixels, channels, pixel_sums, 4 * row, first, 0);
    for (int p = 0; p < pixels; p++) for (int c = 0; c < channels; c++) {
        uint32_t sum = first[c];
        for (int t = 0; t < count; t++) for (int r = shift; r < 4; r++)
            sum += (int8_t)(image[r][(p * step + t * apart) * channels + c] ^ flip)
                 * filters[(c / 16 * count + t) * 64 + c % 16 * 4 + r - shift];
        wrong += (int32_t)sum != pixel_sums[p * row + c];
    }
    return wrong;
}

int main(void) {
    long sums = 0, codes = 0, wrong = 0;
    uint8_t flip = 0;
    for (int round = 0; round < 2000; round++) {
        int rows = 1 + rand() % 6, steps = 1 + rand() % 60, k = 4 * steps, extreme = rand() % 4 == 0;
        int lda = rand() % 2 ? k : 1 + rand() % k; /* rows overlap, as those of a convolution may */
        for (int i = 0; i < rows * k; i++) a[i] = extreme ? -128 : rand();
        for (int i = 0; i < 16 * k; i++) b[i] = extreme ? -128 : rand();
        for (int i = 0; i < 16; i++) start[i] = rand();
        tiles[rows - 1](a, lda, b, 16 * k, steps, c, 64, start, 0, 0, 0);
        for (int r = 0; r < rows; r++) for (int j = 0; j < 16; j++, sums++) {
            uint32_t sum = start[j];
            for (int i = 0; i < k; i++) sum += (int32_t)a[r * lda + i] * b[(i / 4 * 16 + j) * 4 + i % 4];
            wrong += (int32_t)sum != c[r * 16 + j];
        }
        wrong += by_rows() + few_bits() + depthwise();
        int n = rand() % 1000;
        float scale = ldexpf(1 + rand() / (float)RAND_MAX, rand() % 60 - 30), zero = rand() % 256 - 128;
        float qparams[] = {zero, -128, 127, scale};
        for (int i = 0; i < n; i++) x[i] = (rand() % 1200 - 600) * (rand() % 2 ? 0.5f : 0.37f) * scale;
        float lo = 0, hi = 0;
        wrong += quantize(x, 0, 1, n, q, 0, qparams, &flip) != 0 || extremes(x, 0, 1, n, two, 0, 0, 0) != 0;
        for (int i = 0; i < n; i++, codes++) {
            float code = rintf(x[i] / scale) + zero;
            wrong += q[i] != (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
            lo = fminf(lo, x[i]), hi = fmaxf(hi, x[i]);
        }
        wrong += n && (two[0] != lo || two[1] != hi);
        if (n == 0) continue;
        x[n / 2] = NAN;
        wrong += !quantize(x, 0, 1, n, q, 0, qparams, &flip) || !extremes(x, 0, 1, n, two, 0, 0, 0);
    }
    printf("neon_dotprod: %ld sums and %ld codes, %ld wrong\n", sums, codes, wrong);
    return wrong != 0;
}
"""


def main() -> int:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    parts = modules.micro_kernels("neon_dotprod").ir, modules.matrix_loops(), modules.epilogues_by_rows()
    depthwise = modules.depthwise_loops("neon_dotprod")
    floats = modules.float_micro_kernels("neon_dotprod").ir.partition("define void @tile_")
    few_bits = modules.int4_groups("neon_dotprod").ir, modules.unpack_loops(), modules.real_weights(4, True)[0]
    real_tiles = (floats[1] + floats[2]).replace("@tile_", "@real_tile_")
    declared = "\n".join(line for line in floats[0].split("\n") if line.startswith("declare "))
    parsed = llvm.parse_assembly(module(*parts, depthwise, *few_bits, declared, real_tiles))
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(features="+dotprod", opt=3, reloc="static")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kernel.o").write_bytes(machine.emit_object(parsed))
        (folder / "check.c").write_text(CHECK, encoding="utf-8")
        compiler = ["aarch64-linux-gnu-gcc", "-O1", "-static", "check.c", "kernel.o", "-lm", "-o", "check"]
        subprocess.run(compiler, cwd=folder, check=True)
        return subprocess.run(["qemu-aarch64", "-cpu", "max", "./check"], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
