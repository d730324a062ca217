"""The C99 functions that a network's steps call. Each is written into a file only where a step calls it."""

from __future__ import annotations

HELPERS = {
    "clipped": """\
static int8_t clipped(int64_t code, int32_t lowest, int32_t highest) {
    return (int8_t)(code < lowest ? lowest : code > highest ? highest : code);
}
""",
    "nearest": """\
/* The nearest integer of |x| < 2^22, ties to even: the sum's last bit is worth 1. */
static int32_t nearest(float x) {
    volatile float shifted = x + 12582912.0f;
    return (int32_t)(shifted - 12582912.0f);
}
""",
    "within": """\
static float within(float x, float limit) {
    return x < -limit ? -limit : x > limit ? limit : x;
}
""",
    "floor_shift": """\
/* a / 2^n, rounded down, whatever >> does to negative numbers. */
static int64_t floor_shift(int64_t a, int n) {
    return a >= 0 ? a >> n : ~(~a >> n);
}
""",
}

MULTIPLIERS = {
    "float": """\
typedef float multiplier;

static int64_t rounded(int32_t sum, multiplier m) {
    volatile float scaled = (float)sum * m;
    return nearest(within(scaled, 1024.0f)); /* beyond every code */
}
""",
    "gemmlowp": """\
typedef struct { int32_t q31; int8_t exponent; } multiplier;

static int64_t rounded(int32_t sum, multiplier m) {
    const int left = m.exponent > 0 ? m.exponent : 0, right = m.exponent < 0 ? -m.exponent : 0;
    int64_t wide = (int64_t)sum * ((int64_t)1 << left);
    wide = wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : wide;
    const int64_t product = wide * m.q31;
    const int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
    const int64_t high = (product + nudge) / ((int64_t)1 << 31);
    const int64_t whole = floor_shift(high, right), rest = high - whole * ((int64_t)1 << right);
    return whole + (rest > ((((int64_t)1 << right) - 1) >> 1) + (high < 0));
}
""",
    "single": """\
typedef struct { int32_t q31; int8_t exponent; } multiplier;

static int64_t rounded(int32_t sum, multiplier m) {
    return floor_shift((int64_t)sum * m.q31 + ((int64_t)1 << (30 - m.exponent)), 31 - m.exponent);
}
""",
}

OUTPUT = """\
/* What becomes of a row's sums. Of m there is one for all rows, or (step 1) one for each. */
typedef struct {
    const multiplier *m;
    int32_t step, zero, lowest, highest;
} output_codes;

static int8_t as_code(int32_t sum, int32_t row, const output_codes *out) {
    return clipped(rounded(sum, out->m[row * out->step]) + out->zero, out->lowest, out->highest);
}
"""

PRODUCT = """\
typedef struct {
    const int8_t *weight;
    const int32_t *bias;
    int32_t rows, n_in, n_out, x_zero;
} product_step;

static int32_t product_sum(const int8_t *x, const product_step *s, int32_t o) {
    const int8_t *w = s->weight + (int32_t)o * s->n_in;
    int32_t sum = s->bias[o];
    for (int32_t k = 0; k < s->n_in; k++) sum += (x[k] - s->x_zero) * w[k];
    return sum;
}
"""

CONVOLUTION = """\
typedef struct {
    const int8_t *weight;
    const int32_t *bias;
    int32_t in, out, groups, height, width, rows, columns;
    int32_t kernel[2], stride[2], padding[2], dilation[2];
    int32_t x_zero;
} convolution_step;

/* Pixels beyond the edge are the zero point: they add nothing. */
static int32_t convolution_sum(const int8_t *x, const convolution_step *s, int32_t o, int32_t row, int32_t column) {
    const int32_t channels = s->in / s->groups, first = o / (s->out / s->groups) * channels;
    const int8_t *w = s->weight + o * channels * s->kernel[0] * s->kernel[1];
    int32_t sum = s->bias[o];
    for (int32_t c = 0; c < channels; c++) {
        for (int32_t i = 0; i < s->kernel[0]; i++) {
            const int32_t y = row * s->stride[0] - s->padding[0] + i * s->dilation[0];
            for (int32_t j = 0; j < s->kernel[1]; j++, w++) {
                const int32_t z = column * s->stride[1] - s->padding[1] + j * s->dilation[1];
                if (y >= 0 && y < s->height && z >= 0 && z < s->width)
                    sum += (x[((first + c) * s->height + y) * s->width + z] - s->x_zero) * *w;
            }
        }
    }
    return sum;
}
"""

KERNELS = {
    "product": """\
static void product(const int8_t *x, int8_t *y, const product_step *s, const output_codes *out) {
    for (int32_t r = 0; r < s->rows; r++, x += s->n_in)
        for (int32_t o = 0; o < s->n_out; o++) *y++ = as_code(product_sum(x, s, o), o, out);
}
""",
    "product_to_float": """\
static void product_to_float(const int8_t *x, float *y, const product_step *s, const float *unit, int32_t step) {
    for (int32_t r = 0; r < s->rows; r++, x += s->n_in)
        for (int32_t o = 0; o < s->n_out; o++) *y++ = (float)product_sum(x, s, o) * unit[o * step];
}
""",
    "convolution": """\
static void convolution(const int8_t *x, int8_t *y, const convolution_step *s, const output_codes *out) {
    for (int32_t o = 0; o < s->out; o++)
        for (int32_t row = 0; row < s->rows; row++)
            for (int32_t column = 0; column < s->columns; column++)
                *y++ = as_code(convolution_sum(x, s, o, row, column), o, out);
}
""",
    "convolution_to_float": """\
static void convolution_to_float(
    const int8_t *x, float *y, const convolution_step *s, const float *unit, int32_t step) {
    for (int32_t o = 0; o < s->out; o++)
        for (int32_t row = 0; row < s->rows; row++)
            for (int32_t column = 0; column < s->columns; column++)
                *y++ = (float)convolution_sum(x, s, o, row, column) * unit[o * step];
}
""",
    "max_pool": """\
typedef struct {
    int32_t channels, height, width, rows, columns;
    int32_t size[2], stride[2], padding[2];
} pool_step;

static void max_pool(const int8_t *x, int8_t *y, const pool_step *s) {
    for (int32_t c = 0; c < s->channels; c++, x += s->height * s->width) {
        for (int32_t row = 0; row < s->rows; row++) {
            for (int32_t column = 0; column < s->columns; column++) {
                int8_t largest = INT8_MIN;
                for (int32_t i = 0; i < s->size[0]; i++) {
                    const int32_t r = row * s->stride[0] - s->padding[0] + i;
                    for (int32_t j = 0; j < s->size[1]; j++) {
                        const int32_t k = column * s->stride[1] - s->padding[1] + j;
                        if (r < 0 || r >= s->height || k < 0 || k >= s->width) continue;
                        if (x[r * s->width + k] > largest) largest = x[r * s->width + k];
                    }
                }
                *y++ = largest;
            }
        }
    }
}
""",
    "relu": """\
static void relu(const int8_t *x, int8_t *y, int32_t n, int8_t zero) {
    for (int32_t i = 0; i < n; i++) y[i] = x[i] < zero ? zero : x[i];
}
""",
    "table": """\
static void table(const int8_t *x, int8_t *y, int32_t n, const int8_t *answers, int32_t lowest) {
    for (int32_t i = 0; i < n; i++) y[i] = answers[x[i] - lowest];
}
""",
    "table_to_float": """\
static void table_to_float(const int8_t *x, float *y, int32_t n, const float *answers, int32_t lowest) {
    for (int32_t i = 0; i < n; i++) y[i] = answers[x[i] - lowest];
}
""",
    "add": """\
typedef struct {
    float x_ratio, other_ratio;
    int32_t n, x_zero, other_zero, zero, lowest, highest;
} add_step;

/* Both in steps of the result, added, rounded once. */
static void add(const int8_t *x, const int8_t *other, int8_t *y, const add_step *s) {
    for (int32_t i = 0; i < s->n; i++) {
        volatile float a = (float)(x[i] - s->x_zero) * s->x_ratio;
        volatile float b = (float)(other[i] - s->other_zero) * s->other_ratio;
        y[i] = clipped(nearest(within(a + b, 1024.0f)) + s->zero, s->lowest, s->highest);
    }
}
""",
}

QUANTIZE = """\
void {name}_quantize(const float *x, int8_t *input) {{
    for (int32_t i = 0; i < {size}; i++)
        input[i] = clipped(nearest(within(x[i] / {scale}f, 1024.0f)) + ({zero}), {lowest}, {highest});
}}
"""

DEQUANTIZE = """\
void {name}_dequantize(const int8_t *output, float *y) {{
    for (int32_t i = 0; i < {size}; i++) y[i] = (float)(output[i] - ({zero})) * {scale}f;
}}
"""

NEEDS = {  # what a kernel calls, in the order of writing
    "product": ("clipped", "multiplier", "output", "product_sum"),
    "product_to_float": ("product_sum",),
    "convolution": ("clipped", "multiplier", "output", "convolution_sum"),
    "convolution_to_float": ("convolution_sum",),
    "add": ("clipped", "nearest", "within"),
}
OF_MULTIPLIER = {"float": ("nearest", "within"), "gemmlowp": ("floor_shift",), "single": ("floor_shift",)}


def kernels(called: set[str], rounding: str) -> str:
    """The text of all that these kernels need, and of themselves."""
    needed = {part for kernel in called for part in NEEDS.get(kernel, ())} | {"clipped", "nearest", "within"}
    if "multiplier" in needed:
        needed |= set(OF_MULTIPLIER[rounding])
    parts = HELPERS | {
        "multiplier": MULTIPLIERS[rounding],
        "output": OUTPUT,
        "product_sum": PRODUCT,
        "convolution_sum": CONVOLUTION,
    }
    texts = [text for name, text in parts.items() if name in needed]
    return "\n".join(texts + [text for name, text in KERNELS.items() if name in called])
