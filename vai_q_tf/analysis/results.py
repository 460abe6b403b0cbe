"""What an analysis gives: how far each quantized tensor is from its float one."""
from typing import Dict, NamedTuple, Optional, Tuple

from vai_q_tf.notebook.html import block, folded, html_table, html_text
from vai_q_tf.wording import some_of


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

    def _sentence(self):
        return '{} against {}: {} tensors on {} batches'.format(self.model, self.reference, len(self.tensors), self.batches)

    def __repr__(self):
        return '<Analysis of {}; worst: {}; {} without a float tensor. All: .tensors, .unpaired>'.format(
            self._sentence(), worst(self.tensors), len(self.unpaired))

    def _repr_html_(self):
        return block('Analysis', html_text('{}, the worst first.'.format(self._sentence())), error_table(self.tensors),
                     folded('without a float tensor', html_table(('tensor', 'why'), self.unpaired.items())))


def worst(tensors):
    """The first of some TensorErrors in words."""
    found = ('{} ({:.1f} dB, {:.1f} alone)'.format(tensor.name, tensor.db, tensor.alone_db) for tensor in tensors)
    return some_of(found) or 'none'


def error_table(tensors):
    """TensorErrors as a table of HTML."""
    return html_table(('tensor', 'layer', 'role', 'bits', 'position', 'low', 'high', 'saturated', 'zeroed', 'dB', 'dB alone',
                       'dB lost'), [tensor[:-2] + tensor[-1:] for tensor in tensors])
