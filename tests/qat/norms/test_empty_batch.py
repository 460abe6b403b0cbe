"""A batch without examples, e.g. if a filter removes all of the last batch, changes nothing."""
import numpy as np
import pytest
import tensorflow as tf

from tests.qat.recipe import small

v1 = tf.compat.v1
SETTINGS = (
    {'recipe': 'scratch'}, {'recipe': 'finetune', 'position_update': 'learned'}, {'recipe': 'manual', 'bn_fold': 'moving'},
    {'recipe': 'manual', 'freeze_bn_step': 100, 'average_step': 0})


def _norm(x, name, training, **options):
    return v1.layers.batch_normalization(x, training=training, momentum=0.5, name=name, **options)


def _network(images, training=True):
    """Standalone and folded batch norms, fused and decomposed."""
    net = tf.identity(images, name='net_in')
    net = tf.nn.relu(_norm(net, 'alone', training), name='relu1')
    net = v1.layers.conv2d(net, 4, 3, use_bias=False, name='conv')
    net = tf.nn.relu(_norm(net, 'norm', training), name='relu')
    net = tf.nn.relu(_norm(net, 'alone2', training, fused=False), name='relu2')
    net = v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 5, use_bias=False, name='dense')
    return v1.layers.dense(tf.nn.relu(_norm(net, 'flat', training, fused=False)), 3, name='logits')


def _state(training):
    votes, names = training.session.run(['vai_q_tf/positions/votes:0', 'vai_q_tf/positions/tensors:0'])
    handles = [operation.outputs[0] for operation in training.graph.get_operations()
               if operation.type == 'VarHandleOp' and operation.name.startswith('vai_q_tf/means/')]
    means = training.session.run([v1.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32) for handle in handles])
    return training.variables(), dict(zip(names.tolist(), votes)), means


def _of_activations(training):
    """Positions of tensors that depend on the batch; weights vote as in any step."""
    return {name: position for name, position in training.positions().items() if 'aquant' in name}


def _same_variables(before, after):
    for name, value in before.items():
        if name != 'global_step':
            np.testing.assert_array_equal(after[name], value, err_msg=name)


@pytest.mark.parametrize('fields', [fields for fields in SETTINGS if 'position_update' not in fields], ids=str)
def test_a_training_that_begins_with_it_goes_on_as_without_it(tmp_path, fields):
    """Weights that did not change have one vote more for the same position."""
    courses = []
    for sizes in ([0, 64, 64], [64, 64]):
        with small.Training(small.config(tmp_path, **fields), build=_network) as training:
            start = training.variables()
            if not sizes[0]:
                training.step(7, size=0)
                _same_variables(start, training.variables())
            losses = [training.step(number) for number in range(2)]
            courses.append((losses, training.positions(), training.variables()))
    (losses, positions, variables), (expected_losses, expected_positions, expected) = courses
    assert losses == expected_losses and positions == expected_positions
    _same_variables(expected, variables)


@pytest.mark.parametrize('fields', SETTINGS, ids=str)
def test_within_a_training_it_changes_nothing(tmp_path, fields):
    with small.Training(small.config(tmp_path, **fields), build=_network) as training:
        for number in range(3):
            training.step(number)
        before, positions = _state(training), _of_activations(training)
        assert training.step(3, size=0) == 0
        after = _state(training)
        _same_variables(before[0], after[0])
        assert _of_activations(training) == positions
        for name, row in before[1].items():
            if b'aquant' in name and fields.get('position_update') != 'learned':
                np.testing.assert_array_equal(after[1][name], row, err_msg=str(name))
        assert all(map(np.isfinite, [np.sum(row) for row in after[1].values()]))
        assert bool(before[2]) == ('average_step' in fields)
        for value in after[2]:
            assert np.isfinite(value).all()
        assert np.isfinite(training.step(4))
        assert any(np.any(training.variables()[name] != value) for name, value in after[0].items() if 'kernel' in name)


def test_float_poisons_its_moving_averages(tmp_path):
    """Shows that the tests above can fail."""
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 6, 6, 2])
        _network(images)
        session.run(v1.global_variables_initializer())
        session.run(v1.get_collection(v1.GraphKeys.UPDATE_OPS), {images: small.batch(0, 0)[0]})
        found = {variable.op.name: np.isfinite(session.run(variable)).all() for variable in v1.global_variables()}
    assert not any(finite for name, finite in found.items() if 'moving' in name)


def test_a_batch_of_known_size_needs_no_look(tmp_path):
    def build(images):
        images.set_shape([64, 6, 6, 2])
        return _network(images)

    def looks(build):
        with small.Training(small.config(tmp_path, recipe='scratch'), build=build) as training:
            return sum(operation.type == 'Size' for operation in training.graph.get_operations())

    assert looks(_network) == looks(build) + 4
