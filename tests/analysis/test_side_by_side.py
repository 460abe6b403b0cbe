"""Three networks in one graph. Their values are tested in tests/analysis/test_measure.py."""
import numpy as np

from tests.analysis import small_model
from tests.support import run
from vai_q_tf import ops
from vai_q_tf.analysis.side_by_side import side_by_side, without_fix_neurons


def _run(graph_def, tensors):
    ops.load_library()
    return run(graph_def, tensors, small_model.batch(0))


def test_a_model_without_fix_neurons_is_the_float_network():
    without = without_fix_neurons(small_model.graph(True))
    assert not [node.name for node in without.node if node.op == 'FixNeuron']
    np.testing.assert_array_equal(_run(without, ['out']), _run(small_model.graph(False), ['out']))


def test_a_layer_alone_reads_float_tensors():
    sides = side_by_side(small_model.graph(True), small_model.graph(False), {'relu/aquant': 'relu', 'out/aquant': 'out'},
                         {'relu/aquant': None})
    expected = small_model.tensors(small_model.batch(0)['x'])
    for name in ('relu/aquant', 'out/aquant'):
        values = _run(sides.graph, [sides.float_of[name], name, sides.alone_of[name]])
        value, changed, alone = expected[name]
        np.testing.assert_allclose(values[0], value, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(values[1], changed, atol=1e-6)
        np.testing.assert_allclose(values[2], changed if name == 'relu/aquant' else alone, atol=1e-6)


def test_common_nodes_are_there_once():
    sides = side_by_side(small_model.graph(True), small_model.graph(False), {'out/aquant': 'out'}, {})
    names = [node.name for node in sides.graph.node]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.endswith('/float/w1')], 'a constant of both networks'
    assert sides.prefix + '/float/mul1' in names
