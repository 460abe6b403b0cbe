"""The result of a comparison: how far each tensor of one side is from the same tensor of another side."""
from typing import NamedTuple, Optional, Sequence, Tuple


class TensorComparison(NamedTuple):
    """How far the tensor `name` of B is from that of A.

    a_bits, a_position, b_bits, b_position: bits with the sign, and fractional bits; None if that side is float, or if neither
      side has them.
    a_shape, b_shape: in the first batch. departs: whether B is farther from A than the tolerance, or has another shape.
    greatest, mean: of |A - B|, in steps of A, or of B if A is float; inf if a value is not finite.
    differing: share of the elements that are farther apart than the tolerance.
    batch, element, a_value, b_value: place of the greatest difference (batches from 0) and its values; None if nothing differs.
    If the shapes differ, all fields from `greatest` on are None.
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

    a, b: the sides, such as their paths. batches: how many were compared. tolerance: in steps.
    tensors: those that both sides have, in the order of the graph. only_a, only_b: names of the others. notes: sentences on
    assumptions and remarkable facts.
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
        """The first TensorComparison that departs; None if all are equal within the tolerance."""
        return next((tensor for tensor in self.tensors if tensor.departs), None)


def shape_text(shape: Sequence[int]) -> str:
    """A shape or an index as text, such as '[1,8,8,3]'."""
    return '[{}]'.format(','.join(map(str, shape)))
