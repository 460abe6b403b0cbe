"""The order of the errors. How an Analysis looks in a notebook is in tests/notebook/test_results.py."""
import math

from vai_q_tf.analysis.results import TensorError, worst, worst_first


def test_the_worst_is_first():
    """The key is the dB of the layer's result alone, less twice the dB that the tensor loses."""
    def error(layer, role, alone_db, loss_db=0.0):
        return TensorError(layer + '/' + role, layer, role, 8, 4, -1.0, 1.0, 0.0, 0.0, 0.0, alone_db, None, loss_db)
    found = [
        error('good', 'activation', 40.0), error('good', 'weight', 45.0, 2.0), error('good', 'bias', math.inf),
        error('moved', 'activation', 30.0), error('moved', 'weight', 35.0, 9.0),
        error('hard', 'activation', 20.0), error('hard', 'weight', 19.0),
        error('two', 'activation', 28.0), error('two', 'activation', 16.0), error('two', 'weight', 60.0),
        error('nothing', 'activation', -math.inf), error('alone', 'weight', 25.0, 1.0), error('exact', 'input', math.inf)]
    ordered = [(tensor.layer, tensor.role, tensor.alone_db) for tensor in worst_first(found)]
    assert ordered == [
        ('nothing', 'activation', -math.inf),  # 0
        ('moved', 'weight', 35.0),  # 30 - 18
        ('two', 'activation', 16.0), ('two', 'weight', 60.0),  # 16, the less exact one first
        ('hard', 'weight', 19.0), ('hard', 'activation', 20.0),  # 20
        ('alone', 'weight', 25.0),  # 25 - 2
        ('two', 'activation', 28.0), ('moved', 'activation', 30.0),
        ('good', 'weight', 45.0),  # 40 - 4
        ('good', 'activation', 40.0), ('good', 'bias', math.inf), ('exact', 'input', math.inf)]


def test_the_worst_in_words():
    errors = [TensorError('a/aquant', 'a', 'activation', 8, 4, -1.0, 1.0, 0.0, 0.0, db=12.34, alone_db=-math.inf)]
    assert worst(errors) == 'a/aquant (12.3 dB, -inf alone)'
    assert worst([]) == 'none'
