"""LLVM IR as text: everything of a kernel that must be a certain instruction, or a vector of a certain width.

`modules` says what is compiled together. What it puts together is written here, from small to large:

    ir               lines of IR, vector types, constants, pieces of a loop's body, one module of many functions
    matrix_loop      for each row, vector by vector: y = f(x)
      prologues        f on the way into a product: copy codes, find the range; unpack weights of few bits
      quantize         f between floats and codes
      epilogues        f on the way out: int32 sums to int32, floats or codes
    dot_products     what one instruction set multiplies at once
    micro_kernels    what a micro-kernel computes, how it is called, and those whose sums lie in vector registers
    amx_kernels      those whose sums lie in AMX tiles
    bf16_blocks      float32 -> bfloat16, into the order that micro-kernels read
    int4             INT4 weights in groups of K, which have scales of their own
    depthwise        the sums of depthwise convolutions, where each channel has a kernel of its own

A word on the language: `%x` is a value, made once; a label begins a block, which a `br` ends; `phi` takes one of two
values, by the block that the processor came from; `getelementptr` adds to an address; `;` begins a comment.
"""
