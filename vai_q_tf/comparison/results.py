"""What a comparison gives: how far each tensor of one side is from the same tensor of another side."""
from typing import NamedTuple, Optional, Tuple


class TensorComparison(NamedTuple):
    """How far the tensor `name` of B is from that of A.

    a_bits, a_position, b_bits, b_position: bits with the sign, and fractional bits; None where that side is float, and where
    neither side tells them. a_shape, b_shape: in the first batch. departs: whether B is farther from A than the tolerance, or
    has another shape. greatest, mean: of |A - B|, in steps of A, of B where A is float; inf where one of them is not finite.
    differing: share of the elements that are farther apart than the tolerance. batch, element, a_value, b_value: where the
    greatest is (batches from 0), and what is there; None where nothing differs. Where the shapes differ all of these are None.
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
    """a, b: the two sides, in words, such as paths. batches: how many were compared. tolerance: in steps.

    tensors: those that both sides have, in the order of the graph. only_a, only_b: names of the others. notes: sentences on
    what was assumed, and what stands out.
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
    def first(self):
        """The first TensorComparison that departs; None where all are equal up to the tolerance."""
        return next((tensor for tensor in self.tensors if tensor.departs), None)


def shape_text(shape):
    """'[1,8,8,3]' for a shape or an index."""
    return '[{}]'.format(','.join(map(str, shape)))
