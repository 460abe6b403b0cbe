"""Notes on FixNeurons."""
from tests.analysis import small_model
from vai_q_tf import ops
from vai_q_tf.export.fix_neuron_nodes import CHANNEL_SCALES, note_scales


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
