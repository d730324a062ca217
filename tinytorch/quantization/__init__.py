"""Module 17: quantization. Every public name is importable from here.

`quantize`, `networks`, `qat` and `mixed_precision` are exported from the notebooks in `modules/source/17_quantization`:
edit those. The other files are written by hand and given to students, whose functions do the arithmetic in them.
`tinytorch.quantization.quantize` is the *function*; the file that holds it is imported as
`from tinytorch.quantization.quantize import ...`, which always works.
"""

from .histogram import *
from .layers import *
from .mixed_precision import *
from .networks import *
from .packing import *
from .qat import *
from .qparams import *
from .quantize import *
from .tensors import *
from .trees import *
