"""Networks in MetaGraph files are quantized, trained and frozen as by the functions on live graphs."""
import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph, QuantizeConfig, errors
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.errors import QuantizeError
from vai_q_tf.integrations.metagraph import deploy_checkpoint, quantize_meta_graph
from vai_q_tf.qat import graph_record


def network(training):
    images = tf.placeholder(tf.float32, [None, 8, 8, 3], name='images')
    net = tf.layers.conv2d(images, 4, 3, use_bias=False, name='conv')
    net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, name='norm'), name='relu')
    net = tf.layers.dense(tf.layers.flatten(net), 2, name='logits')
    if training:
        tf.train.get_or_create_global_step()
        tf.add_to_collection(tf.GraphKeys.LOSSES, tf.reduce_mean(tf.square(net - 1), name='loss'))


def config_for(directory, **fields):
    return QuantizeConfig(['images'], ['logits/BiasAdd'], [[-1, 8, 8, 3]], output_dir=str(directory),
                          **dict({'recipe': 'manual'}, **fields))


def float_meta(directory, training, name):
    path = str(directory / name)
    with tf.Graph().as_default():
        network(training)
        tf.train.export_meta_graph(path)
    return path


def float_checkpoint(directory):
    """A checkpoint of the float training graph before its first step."""
    with tf.Graph().as_default():
        network(True)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return tf.train.Saver().save(session, str(directory / 'float.ckpt'))


def images(seed):
    return np.random.RandomState(seed).normal(0, 1, [4, 8, 8, 3]).astype(np.float32)


def train(meta, checkpoint, directory):
    """Trains on the MetaGraph, from a checkpoint, with an optimizer that is added to it; returns another checkpoint."""
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(meta)
        loss, step = graph.get_collection(tf.GraphKeys.LOSSES)[0], tf.train.get_global_step()
        variables = tf.global_variables()
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            minimize = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss, step)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            saver.restore(session, checkpoint)
            if meta.endswith('quantize_train.ckpt.meta'):
                assert len(variables) == 8  # convolution, four of the batch norm, two of the dense layer, global step
            session.run(minimize, {'images:0': images(1)})
            losses = [session.run([minimize, loss], {'images:0': images(0)})[1] for _ in range(30)]
            assert min(losses[1:]) < losses[0]
            return saver.save(session, str(directory / 'trained.ckpt'), global_step=step)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(directory, checkpoint of quantization-aware training by MetaGraph)."""
    directory = tmp_path_factory.mktemp('meta')
    meta = quantize_meta_graph('train', float_meta(directory, True, 'train.meta'), float_checkpoint(directory),
                               config_for(directory))
    assert meta == str(directory / 'quantize_train' / 'quantize_train.ckpt.meta')
    return directory, train(meta, meta[:-len('.meta')], directory)


def deployed_live(checkpoint, directory):
    """The model that the functions on live graphs write for the checkpoint."""
    with tf.Graph().as_default():
        network(False)
        CreateQuantizeEvaluationGraph(config_for(directory))
        return CreateQuantizeDeployGraph(checkpoint, config_for(directory)).eval_model


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def test_the_deployed_model_is_that_of_the_live_graph(trained, tmp_path, capsys):
    directory, checkpoint = trained
    live = tf.GraphDef.FromString(read(deployed_live(checkpoint, tmp_path / 'deploy')))
    assert [node for node in live.node if node.op == 'FixNeuron']
    float_eval = float_meta(tmp_path, False, 'eval.meta')
    config = config_for(tmp_path)  # one object for all of them, which nobody changes
    quantized_eval = quantize_meta_graph('eval', float_eval, checkpoint, config)
    assert quantized_eval == str(tmp_path / 'quantize_eval' / 'quantize_eval.ckpt.meta')
    quantized_train = str(directory / 'quantize_train' / 'quantize_train.ckpt.meta')
    for meta, saved in ((float_eval, checkpoint), (quantized_eval, checkpoint), (quantized_train, checkpoint),
                        (quantized_eval, quantized_eval[:-len('.meta')])):
        path = deploy_checkpoint(meta, saved, config)
        assert path.startswith(str(tmp_path / 'deploy' / 'quantize_eval_model_'))
        assert tf.GraphDef.FromString(read(path)) == live
        assert re.match(r'Writing the model: done, .*\nSummary: (\d+) of \1 convolutions and matmuls are quantized, .* stay '
                        r'float; lint finds nothing that the DPU compiler would refuse\.\n$', capsys.readouterr().err)


def test_the_evaluation_meta_graph_runs_as_the_live_graph(trained, tmp_path):
    _, checkpoint = trained
    meta = quantize_meta_graph('eval', float_meta(tmp_path, False, 'eval.meta'), checkpoint, config_for(tmp_path))
    results = []
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(meta)
        assert graph_record.evaluation_plan(graph).output_nodes == ('logits/BiasAdd',)
        with tf.Session() as session:
            saver.restore(session, meta[:-len('.meta')])
            results.append(session.run('logits/BiasAdd/aquant:0', {'images:0': images(100)}))
    with tf.Graph().as_default():
        network(False)
        CreateQuantizeEvaluationGraph(config_for(tmp_path))
        with tf.Session() as session:
            tf.train.Saver().restore(session, checkpoint)
            results.append(session.run('logits/BiasAdd/aquant:0', {'images:0': images(100)}))
    np.testing.assert_array_equal(*results)


def test_without_a_checkpoint_there_is_only_the_meta_graph(tmp_path):
    meta = quantize_meta_graph('train', float_meta(tmp_path, True, 'train.meta'), '', config_for(tmp_path))
    assert sorted(os.listdir(os.path.dirname(meta))) == [CONFIG_FILE, 'quantize_train.ckpt.meta']
    assert sorted(os.listdir(str(tmp_path))) == [CONFIG_FILE, 'quantize_train', 'quantize_train_graph.pb', 'train.meta']


def _broken(where):
    def fail(*_):
        raise QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'There is no room: {}.'.format(where))
    return fail


@pytest.mark.parametrize('function, mode', each_value_once(
    ['_check_loads', '_copy_checkpoint', 'files.write_message', 'reading'], ['train', 'eval']))
def test_an_error_leaves_nothing(tmp_path, monkeypatch, mode, function):
    """Any step after the rewrite may fail; earlier files stay."""
    checkpoint, meta = float_checkpoint(tmp_path), float_meta(tmp_path, mode == 'train', 'float.meta')
    monkeypatch.setattr('vai_q_tf.integrations.metagraph.' + function, _broken(function))
    for made in (False, True):
        out = tmp_path / ('there' if made else 'new')
        if made:
            out.mkdir()
            (out / 'quantize_train_graph.pb').write_bytes(b'earlier')
            (out / 'other').write_bytes(b'')
        with pytest.raises(QuantizeError, match='no room: ' + function):
            quantize_meta_graph(mode, meta, checkpoint, config_for(out))
        if made:
            assert sorted(os.listdir(str(out))) == ['other', 'quantize_train_graph.pb']
            if function != 'files.write_message' or mode == 'eval':
                assert (out / 'quantize_train_graph.pb').read_bytes() == b'earlier'
        else:
            assert not out.exists()


def test_a_meta_graph_that_cannot_be_imported_is_not_written(tmp_path, monkeypatch):
    """For example a collection that TensorFlow writes but cannot read."""
    def spoil(meta_graph):
        meta_graph.collection_def[tf.GraphKeys.GLOBAL_VARIABLES].bytes_list.value.append(b'nonsense')
        return meta_graph
    monkeypatch.setattr('vai_q_tf.integrations.metagraph._ordered', spoil)
    with pytest.raises(QuantizeError, match='quantize_train.ckpt.meta.*not written') as caught:
        quantize_meta_graph('train', float_meta(tmp_path, True, 'train.meta'), '', config_for(tmp_path / 'out'))
    assert caught.value.code == errors.UNSUPPORTED_GRAPH
    assert not (tmp_path / 'out').exists()


def test_a_saver_made_after_the_import_saves_positions(tmp_path):
    config = config_for(tmp_path)
    meta = quantize_meta_graph('train', float_meta(tmp_path, True, 'train.meta'), float_checkpoint(tmp_path), config)
    with tf.Graph().as_default():
        tf.train.import_meta_graph(meta)
        step = tf.train.get_global_step()
        minimize = tf.train.AdamOptimizer(0.01).minimize(tf.get_collection(tf.GraphKeys.LOSSES)[0], step)
        with tf.train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path / 'run'), save_checkpoint_steps=2) as session:
            for seed in range(3):
                session.run(minimize, {'images:0': images(seed)})
        with tf.Graph().as_default(), tf.Session() as session:  # and of the MetaGraph that it wrote
            again = tf.train.import_meta_graph(str(tmp_path / 'run' / 'model.ckpt-3.meta'))
            again.restore(session, str(tmp_path / 'run' / 'model.ckpt-3'))
            copied = tf.train.Saver().save(session, str(tmp_path / 'copied.ckpt'))
    models = [deploy_checkpoint(float_meta(tmp_path, False, 'eval.meta'), checkpoint, config_for(tmp_path / name))
              for name, checkpoint in (('first', str(tmp_path / 'run')), ('second', copied))]
    assert [node for node in models_equal(*models) if node.op == 'FixNeuron']


def models_equal(first, second):
    """The nodes of two files that differ in their output_dir only."""
    nodes = []
    for path in (first, second):
        graph_def = tf.GraphDef.FromString(read(path))
        for node in graph_def.node:
            node.attr.pop('output_dir', None)
        nodes.append(list(graph_def.node))
    assert nodes[0] == nodes[1]
    return nodes[0]


def test_no_warnings_when_meta_graphs_are_written_and_read(trained, garbage_collected, caplog):
    directory, _ = trained
    tf.get_logger().propagate = True
    with caplog.at_level('WARNING'), tf.Graph().as_default():
        saver = tf.train.import_meta_graph(str(directory / 'quantize_train' / 'quantize_train.ckpt.meta'))
        saver.export_meta_graph()
    assert not caplog.records


def test_a_text_file_is_read(tmp_path):
    path = str(tmp_path / 'text.meta')
    with tf.Graph().as_default():
        network(True)
        tf.train.export_meta_graph(path, as_text=True)
    assert os.path.exists(quantize_meta_graph('train', path, None, config_for(tmp_path)))


def code(function, *arguments):
    with pytest.raises(QuantizeError) as caught:
        function(*arguments)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize('content', [None, b'', b'nonsense', b'\x00\xff' * 50, b'graph_def { node { name: "x" } '])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / 'file.meta'
    if content is not None:
        path.write_bytes(content)
    config = config_for(tmp_path / 'out')
    for mode in ('train', 'eval'):
        found, text = code(quantize_meta_graph, mode, str(path), '', config)
        assert found == errors.INVALID_INPUT and 'file.meta' in text
    assert code(deploy_checkpoint, str(path), str(tmp_path), config)[0] == errors.INVALID_INPUT
    assert not (tmp_path / 'out').exists()


def test_a_truncated_file(tmp_path):
    path = float_meta(tmp_path, True, 'train.meta')
    data = read(path)
    for size in (1, 10, len(data) // 2, len(data) - 3):
        with open(path, 'wb') as file:
            file.write(data[:size])
        assert code(quantize_meta_graph, 'train', path, '', config_for(tmp_path))[0] == errors.INVALID_INPUT


def test_an_op_that_tensorflow_does_not_know(tmp_path):
    path = str(tmp_path / 'train.meta')
    with tf.Graph().as_default():
        network(True)
        meta_graph = tf.train.export_meta_graph()
    meta_graph.graph_def.node.add(name='odd', op='NoSuchOp')
    with open(path, 'wb') as file:
        file.write(meta_graph.SerializeToString())
    found, text = code(quantize_meta_graph, 'train', path, '', config_for(tmp_path))
    assert found == errors.INVALID_INPUT and 'NoSuchOp' in text


@pytest.mark.parametrize('checkpoint', ['nowhere', '.'])
def test_no_checkpoint(checkpoint, tmp_path):
    path = float_meta(tmp_path, False, 'eval.meta')
    checkpoint = str(tmp_path / checkpoint)
    config = config_for(tmp_path / 'out')
    assert code(quantize_meta_graph, 'eval', path, checkpoint, config)[0] == errors.INVALID_INPUT
    assert code(deploy_checkpoint, path, checkpoint, config)[0] == errors.INVALID_INPUT
    assert not (tmp_path / 'out').exists()


def test_a_checkpoint_of_another_network_and_one_without_positions(tmp_path):
    path = float_meta(tmp_path, False, 'eval.meta')
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable('other', [2])
        session.run(tf.global_variables_initializer())
        other = tf.train.Saver().save(session, str(tmp_path / 'other.ckpt'))
    found, text = code(quantize_meta_graph, 'eval', path, other, config_for(tmp_path))
    assert found == errors.INVALID_INPUT and 'conv/kernel' in text and '7 of 7' in text
    for checkpoint in (other, float_checkpoint(tmp_path)):
        assert code(deploy_checkpoint, path, checkpoint, config_for(tmp_path))[0] == errors.MISSING_QUANTIZE_INFO


@pytest.mark.parametrize('optimizer', [tf.train.GradientDescentOptimizer, tf.train.AdamOptimizer, None])
def test_a_file_with_gradients_is_refused(optimizer, tmp_path):
    path = str(tmp_path / 'train.meta')
    with tf.Graph().as_default() as graph:
        network(True)
        loss = graph.get_collection(tf.GraphKeys.LOSSES)[0]
        if optimizer:
            optimizer(0.1).minimize(loss)
        else:
            tf.gradients(loss, tf.trainable_variables())
        tf.train.export_meta_graph(path)
    assert code(quantize_meta_graph, 'train', path, '', config_for(tmp_path))[0] == errors.GRAPH_HAS_GRADIENTS


def test_quantized_twice_and_other_modes(tmp_path):
    path = float_meta(tmp_path, True, 'train.meta')
    quantized = quantize_meta_graph('train', path, '', config_for(tmp_path))
    assert code(quantize_meta_graph, 'train', quantized, '', config_for(tmp_path))[0] == errors.ALREADY_QUANTIZED
    assert code(quantize_meta_graph, 'frozen', path, '', config_for(tmp_path))[0] == errors.INVALID_CONFIG


def meta_graph_of(training=True):
    with tf.Graph().as_default():
        network(training)
        return tf.train.export_meta_graph()


def _twice(collections):
    values = collections['variables'].bytes_list.value
    values.append(values[0])


def _no_variable(collections):
    collections['trainable_variables'].node_list.value[:] = ['images:0']


COLLECTIONS = {
    'garbage': lambda collections: collections['variables'].bytes_list.value.__setitem__(0, b'\xff' * 9),
    'another name': lambda collections: collections['variables'].bytes_list.value.__setitem__(0, b'\x0a\x03x:0'),
    'a variable twice': _twice, 'no variable': _no_variable, 'missing': lambda collections: collections.pop('variables'),
    'the step': lambda collections: collections['global_step'].node_list.value.__setitem__(slice(None), ['images:0']),
}


@pytest.mark.parametrize('kind', sorted(COLLECTIONS))
def test_damaged_collections(kind, tmp_path):
    meta_graph = meta_graph_of()
    if kind == 'the step':
        del meta_graph.collection_def['global_step']
    COLLECTIONS[kind](meta_graph.collection_def)
    for source in (meta_graph, str(tmp_path / 'damaged.meta')):
        if source is not meta_graph:
            (tmp_path / 'damaged.meta').write_bytes(meta_graph.SerializeToString())
        found, text = code(quantize_meta_graph, 'train', source, '', config_for(tmp_path / 'out'))
        assert found == errors.INVALID_INPUT and 'Not a MetaGraph' in text and (source is meta_graph or source in text)
    assert not (tmp_path / 'out').exists()


def test_a_graph_in_place_of_a_meta_graph(tmp_path):
    path = tmp_path / 'graph.pb'
    path.write_bytes(meta_graph_of().graph_def.SerializeToString())
    assert code(quantize_meta_graph, 'train', str(path), '', config_for(tmp_path))[0] == errors.INVALID_INPUT


def test_a_damaged_checkpoint_leaves_nothing(tmp_path):
    checkpoint = float_checkpoint(tmp_path)
    os.truncate(checkpoint + '.data-00000-of-00001', 300)
    found, text = code(quantize_meta_graph, 'train', meta_graph_of(), checkpoint, config_for(tmp_path / 'out'))
    assert found == errors.INVALID_INPUT and checkpoint in text
    assert not (tmp_path / 'out').exists()


def test_a_deployed_checkpoint_with_values_of_another_type_or_shape(trained, tmp_path):
    _, checkpoint = trained
    values = {name: tf.train.load_variable(checkpoint, name) for name, _ in tf.train.list_variables(checkpoint)}
    for name, value in (('conv/kernel', values['conv/kernel'].astype(np.float64)), ('norm/beta', np.zeros([5], np.float32))):
        with tf.Graph().as_default(), tf.Session() as session:
            names = sorted(values)
            session.run(tf.raw_ops.SaveV2(
                prefix=str(tmp_path / 'other'), tensor_names=names, shape_and_slices=[''] * len(names),
                tensors=[tf.constant(value if key == name else values[key]) for key in names]))
        found, text = code(deploy_checkpoint, meta_graph_of(False), str(tmp_path / 'other'), config_for(tmp_path))
        assert found == errors.MISSING_QUANTIZE_INFO and name in text and str(list(value.shape)) in text
