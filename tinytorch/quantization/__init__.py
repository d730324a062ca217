"""Module 17: quantization. Exported from `modules/source/17_quantization`; edit the notebooks, not these files.

Every public name is importable from here. `tinytorch.quantization.quantize` is therefore the *function*; the file that
holds it is imported as `from tinytorch.quantization.quantize import ...`, which always works.
"""

from .mixed_precision import *
from .qat import *
from .quantize import *
