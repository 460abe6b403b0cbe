"""Small graphs for the tests of passes, and checks that hold for every pass."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded


def config(**fields):
    return QuantizeConfig(['x'], ['out'], **fields)


def frozen(build):
    """The GraphDef of the ops that `build()` creates, with `_output_shapes`."""
    graph = tf.Graph()
    with graph.as_default():
        build()
    return graph.as_graph_def(add_shapes=True)


def apply(a_pass, graph_def, protected, settings=None):
    """The result of the pass, after checks: its input is unchanged, its noted shapes are right, it is idempotent."""
    settings = settings or config()
    before = graph_def.SerializeToString(deterministic=True)
    result = a_pass(graph_def, frozenset(protected), settings)
    assert graph_def.SerializeToString(deterministic=True) == before
    assert_shapes(result)
    assert a_pass(result, frozenset(protected), settings) is result
    return result


def apply_and_run(a_pass, graph_def, x, protected=('out',), tolerance=0.0):
    """The result of the pass, after checks: it is idempotent, and the protected nodes compute the same from `x`."""
    keep = frozenset(('x',) + tuple(protected))
    result = a_pass(graph_def, keep, config())
    assert a_pass(result, keep, config()) is result
    for before, after in zip(run(graph_def, protected, {'x': x}), run(result, protected, {'x': x})):
        np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)
    return result


def value_of(graph_def, name):
    """The value of a Const."""
    return tf.make_ndarray(nodes(graph_def)[name].attr['value'].tensor)


def constant_of(graph_def, name, protected):
    """The value of the Const by which `evaluate_folded` replaces the node."""
    return value_of(evaluate_folded(graph_def, frozenset(protected), config()), name)


def assert_shapes(graph_def):
    """Every noted shape is the one that TensorFlow infers."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    for node in graph_def.node:
        noted = [tf.TensorShape(shape).as_list() if not shape.unknown_rank else None
                 for shape in node.attr['_output_shapes'].list.shape]
        inferred = [output.shape.as_list() if output.shape.dims is not None else None
                    for output in graph.get_operation_by_name(node.name).outputs]
        assert noted == inferred, node.name


def nodes(graph_def):
    return {node.name: node for node in graph_def.node}


def ops(graph_def, *without):
    """The sorted op types, except Const, Placeholder and those in `without`."""
    return sorted(node.op for node in graph_def.node if node.op not in ('Const', 'Placeholder') + without)


def values(*shape, seed=0, low=-1.0, high=1.0):
    return np.random.RandomState(seed).uniform(low, high, shape).astype(np.float32)
