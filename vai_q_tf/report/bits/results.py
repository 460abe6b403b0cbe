"""The result of `sensitivity`.

Tests: tests/notebook/test_results.py.
"""
from typing import NamedTuple, Optional, Tuple, Union

from vai_q_tf.notebook.html import block, html_table, html_text
from vai_q_tf.wording import some_of


class WeightChoice(NamedTuple):
    """Bits of weights within a budget, with the measured result of a calibration.

    Attributes:
      target_bits: the budget, mean bits of an element of a weight tensor.
      weight_bits: the mean that was chosen.
      nodes_bit: all entries for a QuantizeConfig or --nodes_bit.
      bits: ((name of a tensor, its bits), ...).
      db: dB of the outputs.
      uniform_bits: the largest width within the budget.
      uniform_db: dB of the outputs with all weights at `uniform_bits`.
    """
    target_bits: float
    weight_bits: float
    nodes_bit: Tuple[str, ...]
    bits: Tuple[Tuple[str, int], ...]
    db: float
    uniform_bits: int
    uniform_db: float


class WideChoice(NamedTuple):
    """Tensors that need 16 bits, with the measured result of a calibration.

    Attributes:
      target_db: the bound.
      reached: whether the outputs have it; if not, all tensors are at 16 bits.
      nodes_bit: all entries for a QuantizeConfig or --nodes_bit.
      bits: ((name of a tensor that needs 16 bits, 16), ...), the most costly first.
      db: dB of the outputs.
    """
    target_db: float
    reached: bool
    nodes_bit: Tuple[str, ...]
    bits: Tuple[Tuple[str, int], ...]
    db: float


Choice = Union[WeightChoice, WideChoice]


class TensorCost(NamedTuple):
    """The effect of a quantized tensor on the outputs.

    Attributes:
      name: name of the QuantTensor.
      role: its role, such as 'weight'.
      bits: its bits, sign included.
      position: fractional bits.
      db: dB of the outputs if it alone is quantized; inf if that changes nothing.
      gain: the dB that the outputs gain if it alone is left float and all others are quantized.
    """
    name: str
    role: str
    bits: int
    position: int
    db: float
    gain: float


class Sensitivity(NamedTuple):
    """The result of `sensitivity`.

    Attributes:
      db: dB of the outputs of the quantized network.
      weight_bits: mean number of bits of an element of a weight tensor.
      batches: the number of batches measured on.
      tensors: a TensorCost for each quantized tensor, the most costly first.
      choice: a WeightChoice or a WideChoice; None without a target.
    """
    db: float
    weight_bits: float
    batches: int
    tensors: Tuple[TensorCost, ...]
    choice: Optional[Choice] = None

    def _sentence(self) -> str:
        return 'the outputs have {:.1f} dB with all {} tensors quantized, on {} batches'.format(
            self.db, len(self.tensors), self.batches)

    def __repr__(self) -> str:
        return '<Sensitivity: {}; most costly: {}. All: .tensors, .choice>'.format(
            self._sentence(), some_of('{} ({:.1f} dB alone)'.format(cost.name, cost.db) for cost in self.tensors))

    def _repr_html_(self) -> str:
        return block(
            'Sensitivity', html_text('{}.'.format(self._sentence().capitalize())),
            html_table(('tensor', 'role', 'bits', 'position', 'dB alone', 'gain'), self.tensors),
            html_text('nodes_bit: ' + ', '.join(self.choice.nodes_bit)) if self.choice and self.choice.nodes_bit else '')
