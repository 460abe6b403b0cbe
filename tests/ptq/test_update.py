"""The FixNeurons of old models get their missing attrs, and nothing else changes."""
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from google.protobuf import text_format

from tests.support import read_graph
from vai_q_tf import errors, ops
from vai_q_tf.errors import QuantizeError
from vai_q_tf.ptq.update import update


def old_model():
    """Const w -> FixNeuron -> Mul with x, as the op of the first releases was: without T."""
    ops.load_library()
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [2], name='x')
        quantized = ops.fix_neuron(tf.constant([0.3, -1.7], name='w'), mode=0, phase=1, quantize_pos=5, name='w/wquant')
        ops.fix_neuron(x * quantized, mode=1, phase=1, bit_width=4, quantize_pos=3, output_dir='there', name='y/aquant')
    graph_def = graph.as_graph_def(add_shapes=True)
    for node in graph_def.node:
        if node.op == 'FixNeuron':
            del node.attr['T']
    return graph_def


def write(path, graph_def):
    path.write_bytes(graph_def.SerializeToString())
    return str(path)


def read(path):
    return read_graph(str(path))


def run(graph_def):
    graph = tf.Graph()
    with graph.as_default():
        # A copy, because importing writes defaults into the GraphDef.
        tf.import_graph_def(tf.GraphDef.FromString(graph_def.SerializeToString()), name='')
    with tf.Session(graph=graph) as session:
        return session.run('y/aquant:0', {'x:0': [0.7, 0.2]})


def fix_neurons(graph_def):
    return [node for node in graph_def.node if node.op == 'FixNeuron']


def test_t_is_added_and_the_rest_does_not_change(tmp_path):
    before = old_model()
    path = write(tmp_path / 'model.pb', before)
    assert update(path) == {'T': 2}
    after = read(path)
    assert all(node.attr['T'].type == tf.float32 for node in fix_neurons(after))
    np.testing.assert_array_equal(run(after), run(before))
    for node in fix_neurons(after):
        del node.attr['T']
    assert after == before and '_output_shapes' in after.node[0].attr
    assert os.listdir(str(tmp_path)) == ['model.pb']


def test_what_is_complete_is_not_written_again(tmp_path):
    path = write(tmp_path / 'model.pb', old_model())
    update(path)
    times = os.stat(path).st_mtime_ns, os.stat(path).st_ino
    assert update(path) == {}
    assert (os.stat(path).st_mtime_ns, os.stat(path).st_ino) == times


@pytest.mark.parametrize('lacks', [True, False])
def test_a_model_that_does_not_load_is_refused(tmp_path, lacks):
    model = old_model()
    if not lacks:
        path = write(tmp_path / 'whole.pb', model)
        update(path)
        model = read(path)
    noted = next(node for node in model.node if node.name == 'w').attr['_output_shapes'].list.shape[0]
    noted.dim.add(size=7)
    path = write(tmp_path / 'm.pb', model)
    with pytest.raises(QuantizeError, match="'w'") as caught:
        update(path)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and read(path) == model


def test_defaults_that_the_compiler_does_not_know_are_written_out(tmp_path):
    graph_def = old_model()
    weight, activation = fix_neurons(graph_def)
    del weight.attr['bit_width'], weight.attr['quantize_pos'], weight.attr['phase'], activation.attr['method']
    path = write(tmp_path / 'model.pb', graph_def)
    assert update(path) == {'T': 2, 'bit_width': 1, 'quantize_pos': 1, 'phase': 1, 'method': 1}
    weight, activation = fix_neurons(read(path))
    assert [weight.attr[key].i for key in ('bit_width', 'quantize_pos', 'phase')] == [8, 0, 1]
    assert [activation.attr[key].i for key in ('bit_width', 'quantize_pos', 'phase', 'method')] == [4, 3, 1, 1]


def test_a_graph_that_is_still_to_be_calibrated_gets_no_positions(tmp_path):
    graph_def = old_model()
    for node in fix_neurons(graph_def):
        node.attr['phase'].i = 0
        del node.attr['quantize_pos']
    path = write(tmp_path / 'model.pb', graph_def)
    assert update(path) == {'T': 2}
    assert not any('quantize_pos' in node.attr for node in fix_neurons(read(path)))


def test_a_text_file_stays_one(tmp_path):
    path = tmp_path / 'model.pbtxt'
    path.write_text(text_format.MessageToString(old_model()))
    assert update(str(path)) == {'T': 2}
    assert path.read_text().startswith('node {')
    assert len([node for node in text_format.Parse(path.read_text(), tf.GraphDef()).node if 'T' in node.attr]) == 3


def test_a_link_stays_one(tmp_path):
    path = write(tmp_path / 'model.pb', old_model())
    link = str(tmp_path / 'link.pb')
    os.symlink(path, link)
    update(link)
    assert os.path.islink(link) and 'T' in fix_neurons(read(path))[0].attr


def test_a_float_graph_is_not_one(tmp_path):
    graph_def = old_model()
    del graph_def.node[2:]
    with pytest.raises(QuantizeError, match='model.pb.*no FixNeuron') as caught:
        update(write(tmp_path / 'model.pb', graph_def))
    assert caught.value.code == errors.NOT_QUANTIZED


@pytest.mark.parametrize('data', [None, b'', b'no graph at all'])
def test_what_is_no_graph(data, tmp_path):
    path = tmp_path / 'model.pb'
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(QuantizeError) as caught:
        update(str(path))
    assert caught.value.code == errors.INVALID_INPUT
    assert data is None or path.read_bytes() == data


def test_a_file_that_cannot_be_written_stays(tmp_path, monkeypatch):
    path = write(tmp_path / 'model.pb', old_model())

    def fail(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(QuantizeError, match='No space left') as caught:
        update(path)
    assert caught.value.code == errors.INVALID_CONFIG
    assert read(path) == old_model() and os.listdir(str(tmp_path)) == ['model.pb']


@pytest.mark.parametrize('key, value', [('bit_width', tf.AttrValue(s=b'8')), ('bit_width', tf.AttrValue(i=99)),
                                        ('quantize_pos', tf.AttrValue(i=200)), ('phase', tf.AttrValue())])
def test_attrs_that_no_fix_neuron_has(tmp_path, key, value):
    graph_def = old_model()
    next(node for node in graph_def.node if node.name == 'w/wquant').attr[key].CopyFrom(value)
    path = write(tmp_path / 'model.pb', graph_def)
    with pytest.raises(QuantizeError, match="'w/wquant' has " + key) as caught:
        update(path)
    assert caught.value.code == errors.INVALID_INPUT and read(path) == graph_def


def test_an_op_that_tensorflow_does_not_have_gets_a_warning(tmp_path, caplog):
    graph_def = old_model()
    graph_def.node.add(name='boxes', op='OpOfAUser', input=[graph_def.node[-1].name])
    path = write(tmp_path / 'model.pb', graph_def)
    assert update(path)
    assert read(path).node[-1] == graph_def.node[-1]
    assert any("has no op OpOfAUser (node 'boxes')" in record.getMessage() for record in caplog.records)
