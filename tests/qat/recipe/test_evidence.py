"""The values of the weights show how a training starts, however they came into the graph."""
import numpy as np
import pytest
import tensorflow as tf

from tests.qat.recipe import small
from vai_q_tf.graph.view import GraphView
from vai_q_tf.qat.network.inference_form import inference_form
from vai_q_tf.qat.recipe.evidence import evidence

v1 = tf.compat.v1
_FLOAT, _PARTLY, _SCRATCH, _STATISTICS = range(1, 5)


def _begin(settings, weights=None, build=small.network):
    with small.Training(settings, weights, build) as training:
        training.step(0)
        return training.noted()[0]


def _without(*names):
    return {name: value for name, value in small.float_weights().items() if name not in names}


@pytest.mark.parametrize('weights, expected', [
    (None, _SCRATCH),
    (small.float_weights(), _FLOAT),
    (_without('logits/bias', 'logits/kernel'), _PARTLY),  # a new head
    (_without('norm/moving_mean', 'norm/moving_variance'), _STATISTICS),
    (_without('norm/moving_variance'), _FLOAT),
    (_without('norm/moving_mean'), _FLOAT),
    (_without('norm/gamma'), _PARTLY),
    ({'conv/kernel': small.float_weights()['conv/kernel']}, _SCRATCH),  # kernels are no evidence
    ({'logits/bias': np.float32([-4.6, 0, 1])}, _SCRATCH),  # class priors
], ids=['scratch', 'float', 'new head', 'no averages', 'no variance', 'no mean', 'no gamma', 'kernels only', 'priors'])
def test_begin(tmp_path, weights, expected):
    assert _begin(small.config(tmp_path), weights) == expected


def test_a_recipe_overrides_the_evidence(tmp_path):
    assert _begin(small.config(tmp_path, recipe='scratch'), small.float_weights()) == _SCRATCH
    assert _begin(small.config(tmp_path, recipe='finetune')) == _FLOAT


def _dense(**options):
    def build(images, training=True):
        net = v1.layers.flatten(tf.identity(images, name='net_in'))
        return v1.layers.dense(net, 3, name='logits', **options)
    return build


def test_without_batch_norms_biases_are_the_evidence(tmp_path):
    build = _dense()
    assert _begin(small.config(tmp_path), None, build) == _SCRATCH
    assert _begin(small.config(tmp_path), {'logits/bias': np.float32([1, 2, 3])}, build) == _FLOAT


@pytest.mark.parametrize('initializer', [
    v1.random_normal_initializer(), v1.truncated_normal_initializer(),
    lambda shape, dtype, partition_info=None: tf.random.stateless_uniform(shape, [1, 2], dtype=dtype)])
def test_biases_initialized_at_random_are_no_evidence(tmp_path, initializer):
    build = _dense(bias_initializer=initializer)
    assert _begin(small.config(tmp_path), None, build) == _PARTLY


def test_values_given_as_initializers_are_evidence(tmp_path):
    build = _dense(bias_initializer=v1.constant_initializer([0.5, 1., 0.]))
    assert _begin(small.config(tmp_path), None, build) == _FLOAT


def test_without_the_collection_of_trainable_variables_every_vector_counts(tmp_path):
    """As in a MetaGraph of another program; moving averages count for their norm only."""
    small.network(v1.placeholder(tf.float32, [None, 6, 6, 2]))
    graph = v1.get_default_graph()
    graph.clear_collection(v1.GraphKeys.TRAINABLE_VARIABLES)
    graph_def = graph.as_graph_def(add_shapes=True)
    found = evidence(graph, inference_form(graph_def, GraphView(graph_def), small.config(tmp_path)))
    assert {vector.name for vector in found.vectors} == {'norm/gamma', 'norm/beta', 'logits/bias'}
    assert [norm.name for norm in found.norms] == ['norm']


def test_a_bias_of_equal_elements_that_is_not_trainable_is_no_evidence(tmp_path):
    def build(images, training=True):
        net = v1.layers.conv2d(tf.identity(images, name='net_in'), 4, 3, trainable=False, name='conv')
        return v1.layers.dense(v1.layers.flatten(net), 3, name='logits')

    assert _begin(small.config(tmp_path), {'logits/bias': np.float32([1, 2, 3])}, build) == _FLOAT


def _frozen(uses_norms, new_norm=False):
    """A network whose backbone does not train, with or without batch norms, and a head that does."""
    def build(images, training=True):
        net = tf.identity(images, name='net_in')
        net = v1.layers.conv2d(net, 4, 3, use_bias=not uses_norms, trainable=False, name='conv')
        if uses_norms:
            net = v1.layers.batch_normalization(net, trainable=False, name='norm')
        if new_norm:
            net = v1.layers.batch_normalization(v1.layers.conv2d(net, 4, 3, use_bias=False), training=training, name='new')
        return v1.layers.dense(tf.reduce_mean(tf.nn.relu(net), [1, 2]), 3, name='logits')
    return build


_BACKBONE = dict(_without('logits/kernel', 'logits/bias'), **{'conv/bias': np.float32([1, 2, 3, 4])})


@pytest.mark.parametrize('build', [_frozen(True), _frozen(False)], ids=['norms', 'biases'])
def test_a_new_head_on_a_frozen_backbone(tmp_path, build):
    assert _begin(small.config(tmp_path), _BACKBONE, build) == _PARTLY
    assert _begin(small.config(tmp_path), dict(_BACKBONE, **small.float_weights()), build) == _FLOAT
    assert _begin(small.config(tmp_path), None, build) == _SCRATCH


def test_a_new_head_with_a_batch_norm_on_a_frozen_backbone(tmp_path):
    assert _begin(small.config(tmp_path), _BACKBONE, _frozen(True, new_norm=True)) == _STATISTICS


def test_one_channel(tmp_path):
    """A single element counts as untrained if it is 0 or 1."""
    def build(images, training=True):
        net = v1.layers.conv2d(tf.identity(images, name='net_in'), 1, 6, use_bias=False, name='conv')
        net = v1.layers.batch_normalization(net, training=training, name='norm')
        return tf.concat([tf.reshape(net, [-1, 1])] * 3, 1, name='logits/BiasAdd')

    trained = {'norm/' + name: np.float32([value]) for name, value in {
        'moving_mean': 0.1, 'moving_variance': 1.5, 'gamma': 0.9, 'beta': -0.1}.items()}
    assert _begin(small.config(tmp_path), None, build) == _SCRATCH
    assert _begin(small.config(tmp_path), trained, build) == _FLOAT


@pytest.mark.parametrize('use_resource', [False, True])
@pytest.mark.parametrize('parts', [None, 2])
def test_variables_of_all_kinds(tmp_path, use_resource, parts):
    def build(images, training=True):
        partitioner = parts and v1.fixed_size_partitioner(parts)
        with v1.variable_scope('scope', use_resource=use_resource, partitioner=partitioner):
            return tf.identity(small.network(images, training), name='out')

    settings = small.config(tmp_path)
    settings.input_nodes, settings.output_nodes = ['scope/net_in'], ['scope/out']
    assert _begin(settings, None, build) == _SCRATCH
    with small.Training(settings, build=build) as training:
        random = np.random.RandomState(0)
        for variable in v1.global_variables():
            if variable.dtype.base_dtype == tf.float32:
                variable.load((random.rand(*variable.shape.as_list()) + 0.5).astype(np.float32), training.session)
        training.step(0)
        assert training.noted()[0] == _FLOAT


def test_averages_that_look_untrained_are_a_warning(tmp_path, capfd):
    with small.Training(small.config(tmp_path), _without('norm/moving_mean', 'norm/moving_variance')) as training:
        training.step(0)
    said = capfd.readouterr().err
    assert said.startswith('Warning: ') and 'moving averages that look untrained (norm)' in said
    assert 'Batch norms use the statistics of the batch. Positions move' in said


def test_what_looks_untrained_is_named(tmp_path, capfd):
    with small.Training(small.config(tmp_path), _without('logits/bias')) as training:
        training.step(0)
    assert 'look untrained or do not tell (logits/bias)' in capfd.readouterr().err
