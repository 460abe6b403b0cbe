"""FixNeuron nodes: where they are inserted, and notes on them."""
import tensorflow.compat.v1 as tf

from tests.analysis import small_model
from vai_q_tf import ops
from vai_q_tf.export.fix_neuron_nodes import CHANNEL_SCALES, fix_neuron, insert, note_scales
from vai_q_tf.plan.quant_plan import QuantTensor


def test_scales_are_noted_up_to_the_next_layer():
    ops.load_library()
    model = small_model.graph(True)
    scales = [1.0, 2.0, 0.5, 4.0, 1.0]
    noted = note_scales(model, {'mul1': scales})
    assert {node.name: list(node.attr[CHANNEL_SCALES].list.f) for node in noted.node if CHANNEL_SCALES in node.attr} == {
        'relu/aquant': scales}
    assert note_scales(model, {}) is model
    for node in model.node:
        if node.name == 'relu/aquant':
            node.attr['mode'].i = 0
    assert note_scales(model, {'mul1': scales}) is model, 'scales are those of activations'


_GRAPH = tf.GraphDef(node=[
    tf.NodeDef(name='x', op='Placeholder'), tf.NodeDef(name='parts', op='Unpack', input=['x']),
    tf.NodeDef(name='y', op='Mul', input=['parts:1', 'parts:1', '^x']), tf.NodeDef(name='z', op='Neg', input=['x'])])


def test_consumers_read_the_inserted_node_and_others_the_float_tensor():
    records = [QuantTensor('parts/output_1/aquant', 'activation', 1, 8, 1, 'parts:1', (('y', 1),)),
               QuantTensor('x/aquant', 'input', 1, 8, 1, 'x', (('z', 0),))]
    model = insert(_GRAPH, records, lambda record: [fix_neuron(record, record.tensor, 1, 5)] if record.role != 'input' else [])
    assert [(node.name, list(node.input)) for node in model.node] == [
        ('x', []), ('parts', ['x']), ('parts/output_1/aquant', ['parts:1']),
        ('y', ['parts:1', 'parts/output_1/aquant', '^x']), ('z', ['x'])]


def test_attrs_of_a_fix_neuron():
    record = QuantTensor('x/aquant', 'input', 1, 6, 2, 'x', (), narrow_range=True)
    attrs = {key: value for key, value in fix_neuron(record, 'x', 0).attr.items()}
    assert attrs.pop('T').type == tf.float32 and attrs.pop('output_dir').s == b'' and attrs.pop('_symmetric').b
    assert {key: value.i for key, value in attrs.items()} == {'bit_width': 6, 'method': 2, 'mode': 1, 'phase': 0}
    final = fix_neuron(record._replace(narrow_range=False), 'x', 1, -3)
    assert final.attr['quantize_pos'].i == -3 and '_symmetric' not in final.attr
