"""Types that many rooms pass around."""
from typing import Callable, Dict, Mapping, Sequence, Tuple

import numpy as np
from google.protobuf.message import Message

# A batch: {placeholder: value}.
Feed = Dict[str, np.ndarray]
# From the number of a step to its batch.
InputFn = Callable[[int], Feed]
# {quantized tensor: position}; a position counts fractional bits.
Positions = Mapping[str, int]
# {node or tensor: value}
Values = Mapping[str, np.ndarray]
# (node, index of one of its inputs)
NodeInput = Tuple[str, int]
# Protos without a public name in TensorFlow.
FunctionDefLibrary = Message
OpDef = Message
TensorProto = Message
TensorShapeProto = Message
# {node: the TensorShapeProto of each output}
OutputShapes = Mapping[str, Sequence[Message]]
