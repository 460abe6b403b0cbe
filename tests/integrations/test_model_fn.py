"""quantize_model_fn equals the call before the optimizer, in all modes, for unedited model_fns."""
import functools
import glob
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.integrations import trainings
from tests.support import read_graph
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeError, errors, quantize_model_fn

v1 = tf.compat.v1
MODES = tf.estimator.ModeKeys


def _no_mode(features, labels, params, config):
    return trainings.model_fn(features, labels, params)


class Model:
    """Model functions that are methods or callable objects."""

    def method(self, features, labels, mode):
        return trainings.model_fn(features, labels, mode)

    def __call__(self, features, mode, params, labels, config):
        assert params == {'rate': 0.05} and config.save_checkpoints_steps == 100
        return trainings.model_fn(features, labels, mode)


SIGNATURES = {
    'features, labels, mode': lambda features, labels, mode: trainings.model_fn(features, labels, mode),
    'all': lambda features, labels, mode, params, config: trainings.model_fn(features, labels, mode),
    'bound method': Model().method,
    'callable object': Model(),
    'partial': functools.partial(_no_mode, params=MODES.TRAIN),
    'defaults': lambda features, labels=None, mode=None, config=None: trainings.model_fn(features, labels, mode),
}


def _graph_of(estimator):
    """The GraphDef that an estimator trains, and the name of its train op."""
    with tf.Graph().as_default() as graph:
        v1.train.get_or_create_global_step()
        features, labels = v1.placeholder(tf.float32, [16, 8, 8, 2]), v1.placeholder(tf.int64, [16])
        spec = estimator._call_model_fn(features, labels, MODES.TRAIN, estimator.config)
        return graph.as_graph_def(), spec.train_op.name


@pytest.fixture(scope='module')
def plain(tmp_path_factory, checkpoint):
    """(directory, the graph of a plain function), which trains below as with the call before the optimizer."""
    directory = tmp_path_factory.mktemp('plain')
    model_fn = quantize_model_fn(trainings.plain_model_fn(), trainings.config(directory), checkpoint)
    return directory, _graph_of(trainings.make_estimator(model_fn, directory))


@pytest.mark.parametrize('case', sorted(SIGNATURES))
def test_any_signature_is_trained_as_a_plain_function(checkpoint, plain, case):
    directory, expected = plain
    model_fn = quantize_model_fn(SIGNATURES[case], trainings.config(directory), checkpoint)
    params = {'rate': 0.05} if case in ('all', 'callable object') else None
    assert _graph_of(trainings.make_estimator(model_fn, directory, params)) == expected


def _two_optimizers(loss):
    variables = v1.trainable_variables()
    step = v1.train.get_global_step()
    optimizers = trainings.momentum(), v1.train.AdamOptimizer(1e-3)
    pairs = [optimizer.compute_gradients(loss, part) for optimizer, part in zip(optimizers, (variables[:3], variables[3:]))]
    # All gradients are computed before one is applied, or some would be those of updated weights.
    gradients = [gradient for part in pairs for gradient, _ in part if gradient is not None]
    with tf.control_dependencies(gradients + v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return tf.group(optimizers[0].apply_gradients(pairs[0], step), optimizers[1].apply_gradients(pairs[1]))


def _clipped(loss):
    variables = v1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 0.1)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return v1.train.AdamOptimizer(1e-3).apply_gradients(zip(gradients, variables), v1.train.get_global_step())


def _averaged(loss):
    train = trainings.minimize(loss, trainings.momentum())
    with tf.control_dependencies([train]):
        return tf.train.ExponentialMovingAverage(0.9).apply(v1.trainable_variables())


def _summed(loss):
    optimizer = trainings.momentum()
    variables = v1.trainable_variables()
    decay = tf.add_n([tf.nn.l2_loss(variable) for variable in variables])
    pairs = zip(optimizer.compute_gradients(loss, variables), optimizer.compute_gradients(decay, variables))
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients([(first + 0.01 * second, variable) for (first, variable), (second, _) in pairs],
                                         v1.train.get_global_step())


TRAIN_OPS = {function.__name__: function for function in (_two_optimizers, _clipped, _averaged, _summed)}


@pytest.mark.parametrize('case', sorted(TRAIN_OPS))
def test_any_train_op_equals_the_call_before_the_optimizer(tmp_path, checkpoint, case):
    make = TRAIN_OPS[case]
    model_fn = quantize_model_fn(trainings.plain_model_fn(train=make), trainings.config(tmp_path), checkpoint)
    result = trainings.train_estimator(trainings.make_estimator(model_fn, tmp_path))
    trainings.assert_same(result, trainings.explicit(tmp_path, checkpoint, make))


def test_losses_of_the_collection_with_regularization(tmp_path, checkpoint):
    def total(labels, logits):
        v1.losses.sparse_softmax_cross_entropy(labels, logits)
        for variable in v1.trainable_variables():
            v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, 0.01 * tf.nn.l2_loss(variable))
        return v1.losses.get_total_loss()

    model_fn = quantize_model_fn(trainings.plain_model_fn(loss_of=total), trainings.config(tmp_path), checkpoint)
    result = trainings.train_estimator(trainings.make_estimator(model_fn, tmp_path))
    trainings.assert_same(result, trainings.explicit(tmp_path, checkpoint, loss_of=total))


def _receiver():
    images = v1.placeholder(tf.float32, [None, 8, 8, 2], name='images')
    return tf.estimator.export.TensorServingInputReceiver(images, {'images': images})


@pytest.fixture(scope='module')
def trained(tmp_path_factory, checkpoint):
    """(an estimator that has trained, logits of its explicit evaluation, the directory)."""
    directory = tmp_path_factory.mktemp('trained')
    estimator = trainings.make_estimator(quantize_model_fn(trainings.plain_model_fn(),
                                             trainings.config(directory), checkpoint), directory, save_checkpoints_steps=3)
    estimator.train(trainings.input_fn, steps=6)
    return estimator, trainings.explicit_evaluation(directory, estimator.latest_checkpoint()), directory


def test_no_second_forward_or_backward_pass(tmp_path):
    def edited(features, labels, mode):
        loss = trainings.cross_entropy(labels, trainings.network(features, True))
        v1.train.get_or_create_global_step()
        CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=trainings.minimize(loss, trainings.momentum()))

    def executed(model_fn):
        with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
            spec = model_fn(tf.constant(trainings.IMAGES[:16]), tf.constant(trainings.LABELS[:16]), MODES.TRAIN)
            session.run(v1.global_variables_initializer())
            return trainings.executed(session, [spec.train_op, spec.loss])

    operations = executed(quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path)))
    assert operations == executed(edited)
    assert operations.count('Conv2DBackpropFilter') == 1


def test_evaluation_and_prediction_are_quantized(trained):
    estimator, logits, _ = trained
    predicted = list(estimator.predict(lambda: trainings.once().map(lambda images, labels: images)))
    np.testing.assert_array_equal([row['logits'] for row in predicted], logits)
    np.testing.assert_array_equal([row['classes'] for row in predicted], logits.argmax(-1))
    metrics = estimator.evaluate(trainings.once)
    assert metrics['accuracy'] == pytest.approx((logits.argmax(-1) == trainings.LABELS).mean())
    assert metrics['mean'] == pytest.approx(logits.mean(), rel=1e-5)
    shifted = logits - logits.max(-1, keepdims=True)
    likelihood = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    assert metrics['loss'] == pytest.approx(-likelihood[np.arange(96), trainings.LABELS].mean(), rel=1e-5)


def test_a_saved_model_is_quantized(trained, tmp_path):
    estimator, logits, _ = trained
    exported = estimator.export_saved_model(str(tmp_path), _receiver).decode()
    with tf.Graph().as_default() as graph, v1.Session(graph=graph, config=trainings.SESSION) as session:
        outputs = v1.saved_model.load(session, ['serve'], exported).signature_def['serving_default'].outputs
        value = session.run(outputs['logits'].name, {'images:0': trainings.IMAGES})
    np.testing.assert_array_equal(value, logits)


def test_all_export_outputs_are_quantized(tmp_path):
    model_fn = quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path))
    spec = model_fn(tf.zeros([16, 8, 8, 2]), None, MODES.PREDICT)
    outputs = spec.export_outputs
    assert {outputs['serving_default'].outputs['logits'].op.name, outputs['scores'].scores.op.name,
            outputs['values'].value.op.name} == {'logits/BiasAdd/aquant'}


def test_hooks_and_listener_are_there(trained):
    estimator, logits, directory = trained
    files = sorted(name.rpartition('_')[0] for name in os.listdir(str(directory / 'quantized')) if 'eval' in name)
    steps = [1, 4, 6] if '1' in {name.rpartition('_')[2] for name in files} else [3, 6]
    assert files == sorted('quantize_eval_{}_{}'.format(kind, step) for kind in ('graph', 'model') for step in steps)
    assert os.path.exists(os.path.join(estimator.model_dir, 'quantize_position_history.jsonl'))
    file, = glob.glob(str(directory / 'quantized' / 'quantize_eval_model_6_*'))
    graph_def = read_graph(file)
    with v1.Session(config=trainings.SESSION) as session:
        tf.import_graph_def(graph_def, name='')
        np.testing.assert_array_equal(session.run('logits/BiasAdd/aquant:0', {'net_in:0': trainings.IMAGES}), logits)


def test_training_resumes_from_its_own_checkpoint(tmp_path, checkpoint, expected):
    def build():
        return trainings.make_estimator(quantize_model_fn(
            trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint), tmp_path)

    first, _ = trainings.train_estimator(build(), 3)
    losses = trainings.Losses()
    resumed = build()
    resumed.train(lambda: trainings.input_fn().skip(3), hooks=[losses], steps=3)
    reader = tf.train.load_checkpoint(resumed.latest_checkpoint())
    np.testing.assert_array_equal(first + losses.values, expected[0])
    assert reader.get_tensor('global_step') == 6
    for name in ('conv/kernel', 'norm/moving_variance', 'logits/bias/Momentum'):
        np.testing.assert_array_equal(reader.get_tensor(name), expected[1][name])
    np.testing.assert_array_equal(reader.get_tensor('vai_q_tf/positions/votes'), expected[1]['votes'])


def test_a_float_checkpoint_in_the_directory_is_continued(tmp_path, checkpoint):
    float_estimator = trainings.make_estimator(trainings.plain_model_fn(), tmp_path)
    float_estimator.train(trainings.input_fn, steps=6)
    prefix = float_estimator.latest_checkpoint()
    quantized = trainings.make_estimator(
        quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path), checkpoint), tmp_path)
    losses, state = trainings.train_estimator(quantized)
    assert state['global_step'] == 12
    with tf.Graph().as_default():
        run = trainings.Run()
        CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        run.train_op = trainings.minimize(run.loss, trainings.momentum())
        run.restored = v1.global_variables()  # the momentum and the step, too
        trainings.assert_same((losses, state), (run.train(checkpoint=prefix), run.state()))


def test_ops_after_the_optimizer_read_the_quantized_network(tmp_path):
    held = {}

    def model_fn(features, labels, mode):
        logits = trainings.network(features, True)
        loss = trainings.cross_entropy(labels, logits)
        train = trainings.minimize(loss, trainings.momentum())
        held['late'] = tf.nn.softmax(logits)
        return tf.estimator.EstimatorSpec(mode, {'logits': logits}, loss, train)

    features, labels = v1.data.make_one_shot_iterator(trainings.input_fn()).get_next()
    spec = quantize_model_fn(model_fn, trainings.config(tmp_path))(features, labels, MODES.TRAIN)
    assert held['late'].op.inputs[0].op.name == spec.predictions['logits'].op.name == 'logits/BiasAdd/aquant'
    # Gradients read what they differentiate: the mask of the last quantization is taken from the float logits.
    graph = v1.get_default_graph()
    assert any(op._original_op is not None for op in graph.get_tensor_by_name('logits/BiasAdd:0').consumers())


def test_tensors_inside_of_the_range_are_exchanged(tmp_path):
    """A batch norm that is folded away, a relu that is quantized; the input stays what the program put in."""
    def model_fn(features, labels, mode):
        trainings.network(features, False)
        tensor = v1.get_default_graph().get_tensor_by_name
        return tf.estimator.EstimatorSpec(mode, {name: tensor(name + ':0') for name in (
            'norm/FusedBatchNormV3', 'relu', 'net_in', 'conv/kernel')})

    model_fn = quantize_model_fn(model_fn, trainings.config(tmp_path))
    predictions = model_fn(tf.zeros([16, 8, 8, 2]), None, MODES.PREDICT).predictions
    assert {name: value.op.name for name, value in predictions.items()} == {
        'norm/FusedBatchNormV3': 'norm/FusedBatchNormV3_Fold', 'relu': 'relu/aquant', 'net_in': 'net_in',
        'conv/kernel': 'conv/kernel'}


@pytest.mark.parametrize('mode', [MODES.EVAL, MODES.PREDICT])
def test_a_model_fn_that_builds_its_train_op_in_every_mode(tmp_path, mode):
    def model_fn(features, labels, mode):
        logits = trainings.network(features, mode == MODES.TRAIN)
        loss = trainings.cross_entropy(tf.zeros([16], tf.int64), logits)
        return tf.estimator.EstimatorSpec(mode, logits, loss, trainings.minimize(loss, trainings.momentum()))

    spec = quantize_model_fn(model_fn, trainings.config(tmp_path))(tf.zeros([16, 8, 8, 2]), None, mode)
    assert spec.predictions.op.name == 'logits/BiasAdd/aquant'
    assert not v1.get_collection('vai_q_tf/training_plan') and v1.get_collection('vai_q_tf/evaluation_plan')


def test_a_custom_saver_and_saving_hook_are_used(tmp_path, checkpoint):
    hooks = []

    def model_fn(features, labels, mode, config):
        spec = trainings.model_fn(features, labels, mode)
        scaffold = v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=1, defer_build=True))
        hooks.append(v1.train.CheckpointSaverHook(config.model_dir, save_steps=2, scaffold=scaffold))
        return spec._replace(scaffold=scaffold, training_hooks=(hooks[-1],))

    estimator = trainings.make_estimator(quantize_model_fn(model_fn, trainings.config(tmp_path), checkpoint), tmp_path)
    estimator.train(trainings.input_fn, steps=4)
    assert glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_4_*'))
    assert len(glob.glob(str(tmp_path / 'model' / '*.index'))) == 1


def test_averages_of_the_model_fn_are_evaluated(tmp_path, checkpoint):
    """It makes their Saver before the graph is rewritten."""
    averages = tf.train.ExponentialMovingAverage(0.5)

    def model_fn(features, labels, mode):
        def train(loss):
            with tf.control_dependencies([trainings.minimize(loss, trainings.momentum())]):
                return averages.apply(v1.trainable_variables())

        spec = trainings.model_fn(features, labels, mode, train=train)
        if mode != MODES.TRAIN:
            spec = spec._replace(scaffold=v1.train.Scaffold(saver=v1.train.Saver(averages.variables_to_restore())))
        return spec

    wrapped = quantize_model_fn(model_fn, trainings.config(tmp_path), checkpoint)
    estimator = trainings.make_estimator(wrapped, tmp_path)
    estimator.train(trainings.input_fn, steps=3)
    reader = tf.train.load_checkpoint(estimator.latest_checkpoint())
    with tf.Graph().as_default(), v1.Session() as session:
        logits = trainings.network(tf.constant(trainings.IMAGES), False)
        CreateQuantizeEvaluationGraph(trainings.config(tmp_path))
        v1.train.Saver().restore(session, estimator.latest_checkpoint())
        for variable in v1.trainable_variables():
            variable.load(reader.get_tensor(variable.op.name + '/ExponentialMovingAverage'), session)
        expected = session.run(tf.identity(logits))
    found = np.stack([each['logits'] for each in estimator.predict(trainings.once)])
    np.testing.assert_array_equal(found, expected)


def _refused(call, code, text):
    with pytest.raises(QuantizeError, match=text) as raised:
        call()
    assert raised.value.code == code


def test_refusals(tmp_path, checkpoint):
    settings = trainings.config(tmp_path)

    def call(model_fn, mode=MODES.TRAIN, wrap=lambda function: quantize_model_fn(function, settings), **more):
        with tf.Graph().as_default():
            v1.train.get_or_create_global_step()
            return wrap(model_fn)(tf.zeros([16, 8, 8, 2]), tf.zeros([16], tf.int64), mode, **more)

    def without_gradients(features, labels, mode):
        return trainings.model_fn(features, labels, mode, train=lambda loss: v1.assign_add(v1.train.get_global_step(), 1))

    def with_tape(features, labels, mode):
        v1.get_variable_scope().set_use_resource(True)
        with tf.GradientTape() as tape:
            loss = trainings.cross_entropy(labels, trainings.network(features, True))
        variables = v1.trainable_variables()
        train = trainings.momentum().apply_gradients(zip(tape.gradient(loss, variables), variables))
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    def other_names(features, labels, mode):
        loss = tf.reduce_sum(tf.layers.dense(tf.layers.flatten(features), 3))
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=trainings.minimize(loss, trainings.momentum()))

    for model_fn in (without_gradients, with_tape):
        _refused(lambda model_fn=model_fn: call(model_fn), errors.UNSUPPORTED_GRAPH, 'CreateQuantizeTrainingGraph')
    for mode in (MODES.TRAIN, MODES.EVAL):
        _refused(lambda mode=mode: call(other_names, mode), errors.UNKNOWN_NODE, 'net_in')
    _refused(lambda: quantize_model_fn(functools.partial(_no_mode, params=MODES.TRAIN), settings, str(tmp_path / 'nowhere'))(
        tf.zeros([16, 8, 8, 2]), tf.zeros([16], tf.int64), config=None), errors.INVALID_INPUT, 'nowhere')
    with pytest.raises(TypeError, match='EstimatorSpec'):
        call(lambda features, labels, mode: None)
    with pytest.raises(TypeError, match='function'):
        quantize_model_fn('model', settings)
    with pytest.raises(TypeError, match='QuantizeConfig'):
        quantize_model_fn(trainings.model_fn, {})

    def tpu(features, labels, mode):
        return v1.estimator.tpu.TPUEstimatorSpec(mode, loss=tf.zeros([]), train_op=tf.no_op())

    _refused(lambda: call(tpu), errors.UNSUPPORTED_GRAPH, 'TPU')


def test_tf_gradients_is_restored_afterwards(tmp_path):
    from tensorflow.python.ops import gradients_util
    before = gradients_util._GradientsHelper
    features, labels = v1.data.make_one_shot_iterator(trainings.input_fn()).get_next()
    quantize_model_fn(trainings.plain_model_fn(), trainings.config(tmp_path))(
        features, labels, MODES.TRAIN)
    assert gradients_util._GradientsHelper is before
    with tf.Graph().as_default():
        run = trainings.Run()
        trainings.minimize(run.loss, trainings.momentum())
        assert not v1.get_collection('vai_q_tf/training_plan')
