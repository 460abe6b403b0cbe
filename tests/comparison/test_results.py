"""The first tensor of a Comparison that differs, and shapes in words."""
from vai_q_tf.comparison.results import Comparison, TensorComparison, shape_text


def test_the_first_that_departs():
    tensors = tuple(TensorComparison('x', 8, 2, 8, 2, (), (), departs) for departs in (False, True, True))
    comparison = Comparison('A', 'B', 1, 0.0, tensors, (), (), ())
    assert comparison.first is tensors[1] and comparison._replace(tensors=tensors[:1]).first is None


def test_shapes_as_text():
    assert (shape_text(()), shape_text((1, 8, 8, 3))) == ('[]', '[1,8,8,3]')
