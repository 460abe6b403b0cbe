"""QuantizeTrainingHook trains an unmodified model function as CreateQuantizeTrainingGraph before its optimizer does."""
import collections
import contextlib
import functools
import os

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.hooks import recipes
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, QuantizeTrainingHook, errors
from vai_q_tf.graph.sessions import exact
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY

v1 = tf.compat.v1

# Rounding amplifies the least difference of a sum to a step of a quantized number.
ONE_THREAD = quick_tensorflow.one_thread()

# With reference variables, a loss of the weights would be read before or after the update, in any order.
RESOURCES = (recipes.keras_network, recipes.regularized_network)


def config(directory, **settings):
    fields = dict(input_nodes=['images'], output_nodes=['logits/BiasAdd', 'value/BiasAdd'],
                  output_dir=str(directory / 'quantized'), position_decay=0.8, recipe='manual')
    fields.update(settings)
    return QuantizeConfig(**fields)


def float_model(network, tail=lambda logits: logits):
    """Builds the network with its losses in the default graph; returns (losses, total loss, global step)."""
    step = v1.train.get_or_create_global_step()
    rows = tf.math.floormod(tf.range(16, dtype=tf.int64) + 16 * step, 64)
    # The data grow with the steps, so that positions move.
    images = tf.gather(tf.constant(recipes.IMAGES), rows) * (1.0 + 0.2 * tf.cast(step, tf.float32))
    with v1.variable_scope(v1.get_variable_scope(), use_resource=network in RESOURCES):
        features = network(tf.identity(images, name='images'), True)
        logits = v1.layers.dense(features, 4, name='logits')
        value = v1.layers.dense(features, 1, name='value')
    losses = [v1.losses.sparse_softmax_cross_entropy(tf.gather(tf.constant(recipes.LABELS), rows), tail(logits)),
              v1.losses.mean_squared_error(tf.ones([16, 1]), value, weights=0.5)]
    return losses, v1.losses.get_total_loss(), step


def executed(train_op):
    """{op type: how often it ran} in a training step."""
    # The graph optimizer would remove and rename ops that the test counts.
    with v1.Session(config=exact(v1.ConfigProto())) as session:
        session.run(v1.get_collection(v1.GraphKeys.INIT_OP))
        metadata = v1.RunMetadata()
        session.run(train_op, options=v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), run_metadata=metadata)
    types = {op.name: op.type for op in v1.get_default_graph().get_operations()}
    names = [stats.node_name.split(':')[0] for device in metadata.step_stats.dev_stats for stats in device.node_stats]
    return collections.Counter(types[name] for name in names if name in types)


def float_checkpoint(directory, *model):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(7)
        float_model(*model)
        session.run(v1.global_variables_initializer())
        os.makedirs(str(directory / 'float'))
        return v1.train.Saver().save(session, str(directory / 'float' / 'model.ckpt'))


def train(way, directory, checkpoint, model, recipe, steps=4, session_config=ONE_THREAD, **settings):
    """Trains one way, 'explicit' or 'hook'; returns (losses, {variable: value}, votes, {op type: how often a step runs it})."""
    with tf.Graph().as_default():
        losses, loss, step = float_model(*model)
        names = [(variable, variable.op.name.split('/part_')[0]) for variable in v1.global_variables()]
        v1.train.init_from_checkpoint(checkpoint, {name: variable if variable.op.name == name else name
                                                   for variable, name in names})
        quantize = config(directory, **settings)
        if way == 'explicit':
            CreateQuantizeTrainingGraph(quantize)
        train_op = recipe(loss, step, losses)
        with contextlib.ExitStack() as stack:
            if way == 'hook':
                session = stack.enter_context(v1.train.MonitoredTrainingSession(
                    hooks=[QuantizeTrainingHook(quantize)], config=session_config))
            else:
                session = stack.enter_context(v1.Session(config=session_config))
                v1.add_to_collection(v1.GraphKeys.INIT_OP, v1.global_variables_initializer())
                session.run(v1.get_collection(v1.GraphKeys.INIT_OP))
            values = [session.run([train_op, loss])[1] for _ in range(steps)]
            variables = {variable.op.name: variable for variable in v1.global_variables()}
            state = session.run(variables), session.run(VOTES_KEY + ':0')
        return (values,) + state + (executed(train_op),)


@pytest.fixture(scope='module')
def checkpoint_of(tmp_path_factory):
    """A function (names of the model) -> prefix of a float checkpoint of it."""
    @functools.lru_cache(None)
    def checkpoint(names):
        return float_checkpoint(tmp_path_factory.mktemp('float'), *model_of(names))
    return checkpoint


def model_of(names):
    return [getattr(recipes, name) for name in names.split()]


CASES = [  # with those of the next two tests
    ('layers_network', 'two_optimizers'), ('regularized_network', 'sgd_gated'), ('layers_network', 'two_calls'),
    ('layers_network', 'averaged'), ('slim_network', 'slim_train_op'), ('layers_network loop_and_condition', 'sgd_gated'),
    ('layers_network embedded', 'sparse_adam'),
]
MORE_CASES = [
    ('layers_network', 'accumulated'), ('keras_network', 'adam_clipped'),
    ('layers_network', 'sgd'), ('layers_network', 'adam_clipped'), ('layers_network', 'sgd_options'),
    ('layers_network', 'two_losses'), ('layers_network', 'applied_in_a_condition'),
    ('layers_network', 'decayed'), ('slim_network', 'contrib_train_op'), ('layers_network', 'optimize_loss'),
    ('keras_network', 'averaged'), ('keras_network', 'keras_optimizer'), ('layers_network', 'loss_scaled'),
    ('shared_network', 'sgd'), ('partitioned_network', 'adam_clipped'), ('layers_network embedded', 'sgd'),
    ('layers_network loop_and_condition', 'sgd'),
]


# Models whose train op groups ops in the same way when it is built again.
COUNTED = ('adam_clipped', 'averaged', 'slim_train_op', 'sparse_adam')


@pytest.mark.parametrize('names, recipe', CASES + [pytest.param(*case, marks=pytest.mark.slow) for case in MORE_CASES])
def test_it_trains_as_the_call_before_the_optimizer(tmp_path, checkpoint_of, names, recipe):
    executions = check_ways_agree(tmp_path, checkpoint_of(names), model_of(names), getattr(recipes, recipe))
    if recipe in COUNTED or names == 'layers_network loop_and_condition' and recipe == 'sgd_gated':
        assert_old_gradients_do_not_run(*executions)


def test_it_trains_so_with_the_optimizers_of_graphs(tmp_path, checkpoint_of):
    assert_old_gradients_do_not_run(*check_ways_agree(
        tmp_path, checkpoint_of('keras_network'), [recipes.keras_network], recipes.adam_clipped,
        session_config=quick_tensorflow.one_thread(optimizers=True)))


@pytest.mark.parametrize('recipe, settings', [
    ('accumulated', dict(freeze_bn_step=2, freeze_position_step=3)), ('sgd', dict(bn_fold='moving'))])
def test_freezing_and_folding_are_those_of_the_config(tmp_path, checkpoint_of, recipe, settings):
    check_ways_agree(tmp_path, checkpoint_of('layers_network'), [recipes.layers_network], getattr(recipes, recipe), **settings)


def check_ways_agree(directory, *arguments, **settings):
    """Returns what a step executes with the hook and with the call."""
    expected, variables, votes, ran = train('explicit', directory, *arguments, **settings)
    found, found_variables, found_votes, found_ran = train('hook', directory, *arguments, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sorted(found_variables) == sorted(variables)
    for name, value in variables.items():
        np.testing.assert_allclose(found_variables[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found_votes, votes, atol=1e-6)
    assert len(set(expected)) == len(expected)
    return found_ran, ran


def assert_old_gradients_do_not_run(found, expected):
    # These turn the control inputs of a loop into data.
    pulled = ('Identity', 'RefEnter')
    assert sum(found[name] for name in pulled) <= sum(expected[name] for name in pulled) + 1
    assert {name: (count, expected[name]) for name, count in found.items() if name not in pulled} == {
        name: (count, count) for name, count in expected.items() if name not in pulled}


def test_a_graph_of_the_same_range_is_left_alone(tmp_path):
    """The order and the form of the node names do not matter."""
    graph = v1.get_default_graph()
    losses, loss, step = float_model(recipes.layers_network)
    recipes.sgd(loss, step, losses)
    QuantizeTrainingHook(config(tmp_path, input_nodes=['images:0'])).begin()
    before = graph.version
    QuantizeTrainingHook(config(tmp_path, input_nodes=['images:0'])).begin()
    QuantizeTrainingHook(config(tmp_path, output_nodes=['value/BiasAdd:0', 'logits/BiasAdd'])).begin()
    assert graph.version == before
    with pytest.raises(QuantizeError, match='from images to logits/BiasAdd.*from images to value/BiasAdd') as raised:
        QuantizeTrainingHook(config(tmp_path, output_nodes=['value/BiasAdd'])).begin()
    assert raised.value.code == errors.ALREADY_QUANTIZED


@pytest.mark.parametrize('suffix', ['', ':0'])
def test_a_node_that_waits_for_a_gradient_cannot_be_quantized(tmp_path, suffix):
    losses, loss, step = float_model(recipes.layers_network)
    with tf.control_dependencies([recipes.sgd(loss, step, losses)]):
        tf.identity(loss, 'behind')
    with pytest.raises(QuantizeError, match="Node 'behind{}' waits for a gradient".format(suffix)):
        QuantizeTrainingHook(config(tmp_path, output_nodes=['logits/BiasAdd', 'behind' + suffix])).begin()
