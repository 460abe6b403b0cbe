"""The result of a comparison: how far each tensor of one side is from the same tensor of another side."""
from typing import NamedTuple, Optional, Sequence, Tuple


class TensorComparison(NamedTuple):
    """How far the tensor `name` of B is from that of A.

    The bits and the position of a side are None if that side is float, or if neither side has them. If the shapes differ, all
    fields from `greatest` on are None; if nothing differs, all from `batch` on.

    Attributes:
      name: the tensor.
      a_bits: bits in A, sign included.
      a_position: fractional bits in A.
      b_bits: bits in B, sign included.
      b_position: fractional bits in B.
      a_shape: shape in the first batch of A.
      b_shape: shape in the first batch of B.
      departs: whether B is farther from A than the tolerance, or has another shape.
      greatest: the greatest |A - B|, in steps of A, or of B if A is float; inf if a value is not finite.
      mean: the mean of |A - B|, in the same steps.
      differing: share of the elements that are farther apart than the tolerance.
      batch: the batch with the greatest difference, from 0.
      element: the index of that difference in its batch.
      a_value: the value in A there.
      b_value: the value in B there.
    """
    name: str
    a_bits: Optional[int]
    a_position: Optional[int]
    b_bits: Optional[int]
    b_position: Optional[int]
    a_shape: Tuple[int, ...]
    b_shape: Tuple[int, ...]
    departs: bool
    greatest: Optional[float] = None
    mean: Optional[float] = None
    differing: Optional[float] = None
    batch: Optional[int] = None
    element: Optional[Tuple[int, ...]] = None
    a_value: Optional[float] = None
    b_value: Optional[float] = None


class Comparison(NamedTuple):
    """The result of `compare`.

    Attributes:
      a: the side A, such as its path.
      b: the side B, such as its path.
      batches: how many were compared.
      tolerance: in steps.
      tensors: a TensorComparison for each tensor that both sides have, in the order of the graph.
      only_a: names of the tensors that only A has.
      only_b: names of the tensors that only B has.
      notes: sentences on assumptions and remarkable facts.
    """
    a: str
    b: str
    batches: int
    tolerance: float
    tensors: Tuple[TensorComparison, ...]
    only_a: Tuple[str, ...]
    only_b: Tuple[str, ...]
    notes: Tuple[str, ...]

    @property
    def first(self) -> Optional[TensorComparison]:
        """The first TensorComparison that differs; None if all are equal within the tolerance."""
        return next((tensor for tensor in self.tensors if tensor.departs), None)


def shape_text(shape: Sequence[int]) -> str:
    """A shape or an index as text, such as '[1,8,8,3]'."""
    return '[{}]'.format(','.join(map(str, shape)))
