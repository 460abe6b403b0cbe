"""What an analysis gives: how far each quantized tensor is from its float one."""
from typing import Dict, NamedTuple, Optional, Tuple


class Histogram(NamedTuple):
    """Counts in bins of one width from `low` to `high`: of the float values, and of the quantized ones."""
    low: float
    high: float
    float_counts: Tuple[int, ...]
    quantized_counts: Tuple[int, ...]


class TensorError(NamedTuple):
    """How far a quantized tensor is from its float one.

    name: of the FixNeuron, such as 'conv1/Relu/aquant'. layer: the op that users know it by, such as 'conv1/Conv2D'.
    role: 'input', 'weight', 'bias', 'constant' or 'activation'. bits: with the sign. position: fractional bits.
    low, high: the least and the greatest float value. saturated: share of the elements out of the range of its bits and
    position. zeroed: share of the elements that are not 0 and become 0.
    db: 10 log10(energy of the float tensor / energy of the difference), with all that is quantized before it; inf where nothing
    differs. alone_db: the same where what its layer reads is float, so it is what this layer adds. loss_db: how many dB it
    loses by a position that is not the best one that the hardware takes; weights also by a scale that is not the float one.
    """
    name: str
    layer: str
    role: str
    bits: int
    position: int
    low: float
    high: float
    saturated: float
    zeroed: float
    db: float
    alone_db: float
    histogram: Optional[Histogram] = None
    loss_db: float = 0.0


class Analysis(NamedTuple):
    """model, reference: what was compared, in words, such as the paths of the files. batches: how many were run.

    tensors: the worst one first. depth: the names of the activations from the inputs on. unpaired: {name: why it has no float
    tensor}.
    """
    model: str
    reference: str
    batches: int
    tensors: Tuple[TensorError, ...]
    depth: Tuple[str, ...]
    unpaired: Dict[str, str]
