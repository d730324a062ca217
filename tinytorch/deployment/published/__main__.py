"""`python -m tinytorch.deployment.published MODEL.onnx --calibrate DATA`, which is what `tito quantize` runs."""

import signal
import sys

from tinytorch.deployment.published.command import main

signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that nothing is left beside the file
sys.exit(main())
