"""The result of an analysis: how far each quantized tensor is from its float one."""
import math
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from vai_q_tf.notebook.html import block, folded, html_table, html_text
from vai_q_tf.wording import some_of


class Histogram(NamedTuple):
    """Counts of the values of a tensor in bins of equal width.

    Attributes:
      low: where the first bin begins.
      high: where the last bin ends.
      float_counts: of the float values.
      quantized_counts: of the quantized values.
    """
    low: float
    high: float
    float_counts: Tuple[int, ...]
    quantized_counts: Tuple[int, ...]


class TensorError(NamedTuple):
    """How far a quantized tensor is from its float one.

    Attributes:
      name: name of the FixNeuron, such as 'conv1/Relu/aquant'.
      layer: the op that users know it by, such as 'conv1/Conv2D'.
      role: 'input', 'weight', 'bias', 'constant' or 'activation'.
      bits: sign included.
      position: fractional bits.
      low: the least float value.
      high: the greatest float value.
      saturated: share of the elements outside the range of bits and position.
      zeroed: share of the elements that are not 0 and become 0.
      db: 10 log10(energy of the float tensor / energy of the difference), with everything before it quantized; inf if there is
        no difference.
      alone_db: the same with float inputs of its layer, so it is the error that this layer adds.
      histogram: its values; None if they were not counted.
      loss_db: dB lost to the best position that the hardware supports; for weights, also to a scale that differs from the float
        one.
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

    @property
    def is_activation(self) -> bool:
        """Whether it depends on data: an input of the network or the result of a layer."""
        return self.role in ('input', 'activation')


class Analysis(NamedTuple):
    """The errors of the tensors of a model, the worst first.

    Attributes:
      model: the model, in words or as a path.
      reference: the float network, likewise.
      batches: number of batches that were run.
      tensors: a TensorError for each quantized tensor, the worst first.
      depth: names of the activations, from the inputs on.
      unpaired: {name: reason} of the tensors without a float one.
    """
    model: str
    reference: str
    batches: int
    tensors: Tuple[TensorError, ...]
    depth: Tuple[str, ...]
    unpaired: Dict[str, str]

    def _sentence(self) -> str:
        return '{} against {}: {} tensors on {} batches'.format(self.model, self.reference, len(self.tensors), self.batches)

    def __repr__(self) -> str:
        return '<Analysis of {}; worst: {}; {} without a float tensor. All: .tensors, .unpaired>'.format(
            self._sentence(), worst(self.tensors), len(self.unpaired))

    def _repr_html_(self) -> str:
        return block('Analysis', html_text('{}, the worst first.'.format(self._sentence())), error_table(self.tensors),
                     folded('without a float tensor', html_table(('tensor', 'why'), self.unpaired.items())))


def worst_first(tensors: Sequence[TensorError]) -> List[TensorError]:
    """Sorted by the dB that the result of the layer has alone, less twice the dB that the tensor loses, then by its own dB."""
    results: Dict[str, float] = {}
    for tensor in tensors:
        if tensor.is_activation:
            results[tensor.layer] = min(_sortable(tensor.alone_db), results.get(tensor.layer, math.inf))

    def key(tensor: TensorError) -> Tuple[float, float]:
        own = _sortable(tensor.alone_db)
        result = own if tensor.is_activation else results.get(tensor.layer, own)
        return result - 2 * tensor.loss_db, own
    return sorted(tensors, key=key)


def _sortable(db: float) -> float:
    """dB to sort by: an error in a tensor of zeros counts as one of 0 dB."""
    return 0.0 if db == -math.inf else db


def worst(tensors: Iterable[TensorError]) -> str:
    """The first of some TensorErrors in words."""
    found = ('{} ({:.1f} dB, {:.1f} alone)'.format(tensor.name, tensor.db, tensor.alone_db) for tensor in tensors)
    return some_of(found) or 'none'


def error_table(tensors: Iterable[TensorError]) -> str:
    """TensorErrors as an HTML table."""
    return html_table(('tensor', 'layer', 'role', 'bits', 'position', 'low', 'high', 'saturated', 'zeroed', 'dB', 'dB alone',
                       'dB lost'), [tensor[:-2] + tensor[-1:] for tensor in tensors])
