"""Types that many rooms pass around."""
from typing import Callable, Dict, Mapping

import numpy as np

# A batch: {placeholder: value}.
Feed = Dict[str, np.ndarray]
# From the number of a step to its batch.
InputFn = Callable[[int], Feed]
# {quantized tensor: position}; a position counts fractional bits.
Positions = Mapping[str, int]
# {node or tensor: value}
Values = Mapping[str, np.ndarray]
