"""The files of a deployed checkpoint: the inputs of the model, and resources that writing leaves allocated."""
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, errors
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.lint import lint
from vai_q_tf.qat.deploy import EvaluationFreezer
from vai_q_tf.qat.evaluation import create_evaluation_graph
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY

v1 = tf.compat.v1
INPUTS = {'a:0': [[1.] * 4], 'b:0': [[1.] * 6]}


def network(training):
    """The node 'sum' of two dense layers: one after 'a', of 4 features, and one with a batch norm after 'b', of 6."""
    a, b = (v1.placeholder(tf.float32, [None, size], name) for name, size in (('a', 4), ('b', 6)))
    dense = v1.layers.dense(b, 3, use_bias=False, name='dense_b')
    tf.add(v1.layers.dense(a, 3, name='dense_a'), v1.layers.batch_normalization(dense, training=training, name='norm'), 'sum')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The function (directory, poison, value) -> the prefix of a checkpoint with positions.

    An element of the variable `poison` is `value`; with None for both all are as they should be.
    """
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path_factory.mktemp('training')))
    with tf.Graph().as_default() as graph:
        network(True)
        CreateQuantizeTrainingGraph(config)
        saver, variables = v1.train.Saver(), {variable.op.name: variable for variable in v1.global_variables()}
    session = v1.Session(graph=graph)
    session.run([variable.initializer for variable in variables.values()])
    session.run('sum/aquant:0', INPUTS)
    before = session.run(variables)

    def save(directory, poison=None, value=None):
        for name, variable in variables.items():
            values = before[name].copy()
            if name == poison:
                values.flat[-1] = value
            variable.load(values, session)
        return saver.save(session, str(directory / 'model.ckpt'), 1)
    yield save
    session.close()


@pytest.fixture(scope='module')
def evaluation(tmp_path_factory):
    """An evaluation graph."""
    with tf.Graph().as_default() as graph:
        network(False)
        create_evaluation_graph(graph, QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path_factory.mktemp('graph'))))
    return graph


def test_a_shape_goes_with_the_name_that_it_is_given_for(tmp_path, trained, evaluation):
    """A deploy whose config lists the inputs in another order gives the model the shapes of its own list."""
    checkpoint = trained(tmp_path)
    with evaluation.as_default():
        other = QuantizeConfig(['b:0', 'a'], ['sum'], [[2, 6], [2, 4]], output_dir=str(tmp_path))
        model = read_graph(CreateQuantizeDeployGraph(checkpoint, other).eval_model)
    shapes = {node.name: node.attr['shape'].shape for node in model.node if node.op == 'Placeholder'}
    assert {name: [dim.size for dim in shape.dim] for name, shape in shapes.items()} == {'a': [2, 4], 'b': [2, 6]}


@pytest.mark.parametrize('poison', ['dense_a/kernel', 'dense_a/bias', 'norm/gamma', 'norm/moving_mean', 'norm/moving_variance'])
def test_what_is_not_finite_is_not_deployed(tmp_path, trained, evaluation, poison):
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path / 'out'))
    with evaluation.as_default():
        for value in (np.nan, -np.inf):
            with pytest.raises(QuantizeError, match=poison) as raised:
                CreateQuantizeDeployGraph(trained(tmp_path, poison, value), config)
            assert raised.value.code == errors.NOT_FINITE
    assert not list(tmp_path.glob('out/quantize_eval*'))


def test_numbers_that_fold_to_nan_are_not_deployed(tmp_path, trained, evaluation):
    """Such as those of a negative variance, which a damaged checkpoint may have."""
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path / 'out'))
    checkpoint = trained(tmp_path, 'norm/moving_variance', -3.0)
    with evaluation.as_default():
        with pytest.raises(QuantizeError, match='dense_b') as raised:
            CreateQuantizeDeployGraph(checkpoint, config)
    assert raised.value.code == errors.NOT_FINITE and not list(tmp_path.glob('out/quantize_eval*'))


@pytest.mark.parametrize('update', ['moving', 'learned'])
def test_nan_shows_in_what_is_trained_and_spoils_no_position(tmp_path, update):
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path / 'out'), position_update=update)
    with tf.Graph().as_default(), v1.Session() as session:
        network(True)
        v1.train.get_or_create_global_step()
        CreateQuantizeTrainingGraph(config)
        total = tf.reduce_sum(session.graph.get_tensor_by_name('sum/aquant:0'))
        train = v1.train.GradientDescentOptimizer(0.0).minimize(total)
        session.run(v1.global_variables_initializer())
        sums = []
        for factor in (1, np.nan, 0, 1):
            feed = {name: np.float32(value) * np.float32(factor) for name, value in INPUTS.items()}
            feed = {name: value[:0] if factor == 0 else value for name, value in feed.items()}
            sums.append(session.run([total, train], feed)[0])
        votes = v1.train.load_checkpoint(v1.train.Saver().save(session, str(tmp_path / 'm'))).get_tensor(VOTES_KEY)
    assert np.isnan(sums[1]) and sums[0] != 0
    assert np.isfinite(votes).all() and (votes.argmax(1) - 128 < POSITION_ZERO).sum() > 0


def test_arithmetic_that_the_passes_leave_stays(tmp_path):
    """Same as in the model of a frozen graph; only arithmetic on variables is computed. The compiler looks for these casts."""
    config = QuantizeConfig(['a', 'b'], ['softmax'], output_dir=str(tmp_path), replace_softmax=1)
    with tf.Graph().as_default() as graph, v1.Session() as session:
        network(True)
        tf.nn.softmax(graph.get_tensor_by_name('sum:0'), name='softmax')
        CreateQuantizeTrainingGraph(config)
        session.run(v1.global_variables_initializer())
        session.run('sum/aquant:0', INPUTS)
        checkpoint = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'), 1)
    with tf.Graph().as_default() as graph:
        network(False)
        tf.nn.softmax(graph.get_tensor_by_name('sum:0'), name='softmax')
        create_evaluation_graph(graph, config)
        with open(CreateQuantizeDeployGraph(checkpoint, config).eval_model, 'rb') as stream:
            model = {node.name: node for node in v1.GraphDef.FromString(stream.read()).node}
    cast = model[model['softmax/reciprocal/sub_3'].input[0]]
    assert cast.op == 'Cast' and model[cast.input[0]].op == 'Const'
    read = {name for node in model.values() for name in node.input}
    assert read.issuperset(name for name, node in model.items() if node.op == 'Const')


def test_no_session_outlives_what_it_is_for(tmp_path, trained, monkeypatch):
    """A freezer lives as long as its hook; between two checkpoints it holds no session."""
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path))
    checkpoint = trained(tmp_path)
    opened, closed = [], []
    make, close = v1.Session.__init__, v1.Session.close
    monkeypatch.setattr(v1.Session, '__init__', lambda self, **options: opened.append(self) or make(self, **options))
    monkeypatch.setattr(v1.Session, 'close', lambda self: closed.append(self) or close(self))
    with tf.Graph().as_default() as graph:
        network(False)
        freezer = EvaluationFreezer(graph, config, create_evaluation_graph(graph, config))
        for step in (1, 2):
            freezer.write(checkpoint, step)
            assert len(opened) >= step and set(opened) <= set(closed)  # others are of garbage that is collected here


def test_which_files_are_the_newest_is_told(tmp_path, trained):
    """A training that is resumed from step 1 writes step 2 again."""
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path / 'out'))
    checkpoint = trained(tmp_path)
    with tf.Graph().as_default() as graph:
        network(False)
        freezer = EvaluationFreezer(graph, config, create_evaluation_graph(graph, config))
        written = [freezer.write(checkpoint, step) for step in (1, 2, '2')]
        assert len(set(written)) == 3
        latest = json.loads((tmp_path / 'out' / 'latest.json').read_text())
        assert latest == {'checkpoint': checkpoint, 'step': 2, 'eval_graph': os.path.basename(written[-1].eval_graph),
                          'eval_model': os.path.basename(written[-1].eval_model)}
        freezer.write(checkpoint, 'model.ckpt')
        assert json.loads((tmp_path / 'out' / 'latest.json').read_text())['step'] == 'model.ckpt'
        assert not (tmp_path / 'out' / 'latest_averaged.json').exists()


def test_what_the_compiler_refuses_is_told_once(tmp_path, trained, monkeypatch):
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path))
    checkpoint = trained(tmp_path)
    finding = lint.Finding('some-rule', 'sum', 'No.')
    monkeypatch.setattr(lint, 'lint', lambda graph_def: [finding])
    warnings = []
    monkeypatch.setattr(v1.logging, 'warning', lambda text, *values: warnings.append(text % values))
    with tf.Graph().as_default() as graph:
        network(False)
        freezer = EvaluationFreezer(graph, config, create_evaluation_graph(graph, config))
        del warnings[:]
        for step in (1, 2):
            freezer.write(checkpoint, step)
    assert warnings == ['The DPU compiler will not accept this model:\n' + str(finding)]


def test_a_variable_of_another_shape_is_an_error(trained, evaluation, tmp_path):
    prefix = trained(tmp_path)
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    values['dense_b/kernel'] = values['dense_b/kernel'][:-1]
    names = sorted(values)
    with tf.Graph().as_default(), v1.Session() as session:
        session.run(tf.raw_ops.SaveV2(prefix=str(tmp_path / 'other'), tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(values[name]) for name in names]))
    freezer = EvaluationFreezer(evaluation, QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path)))
    with pytest.raises(QuantizeError, match=r'has 1 variables of the evaluation graph in another type or shape: dense_b/kernel '
                                            r'\(float32 \[6, 3\], in the checkpoint float32 \[5, 3\]\)') as raised:
        freezer.write(str(tmp_path / 'other'), 1)
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
