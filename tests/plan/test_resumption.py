"""Where quantization resumes after ops that stay float, and the reasons of ops after which it does not."""
import pytest
import tensorflow as tf

from tests.plan.networks import activations, by_name, image, plan_of, skipped

layers = tf.compat.v1.layers


def test_ops_without_rule_are_listed_and_the_next_convolution_reads_quantized_values():
    x = tf.nn.elu(layers.conv2d(image(), 4, 3, name='conv'), name='elu')
    x = tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool')
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert skipped(plan) == {'elu': 'there is no quantization rule for the op Elu'}
    assert by_name(plan)['elu/aquant'].consumers == (('pool', 0),)
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)


_RESUMING = {
    'relu': lambda x: tf.nn.relu(x), 'leaky': lambda x: tf.nn.leaky_relu(x, 0.1),
    'leaky maximum': lambda x: tf.maximum(0.1 * x, x), 'max pool': lambda x: tf.nn.max_pool2d(x, 2, 2, 'SAME'),
    'average pool': lambda x: tf.nn.avg_pool2d(x, 2, 2, 'SAME'), 'mean': lambda x: tf.reduce_mean(x, [1, 2], keepdims=True),
    'add': lambda x: x + x, 'factor': lambda x: x * 0.7, 'term': lambda x: x + 0.7,
    'norm': lambda x: x * [1., 2., 3.] + [4., 5., 6.],
    'concat': lambda x: tf.concat([x, x], -1), 'resize': lambda x: tf.image.resize_nearest_neighbor(x, [16, 16]),
    'bilinear': lambda x: tf.image.resize_bilinear(x, [16, 16]), 'clip': lambda x: tf.clip_by_value(x, -0.5, 0.5),
    'swish': lambda x: x * tf.nn.sigmoid(x), 'batch norm': lambda x: layers.batch_normalization(x, training=False),
    'training': lambda x: layers.batch_normalization(x, training=True)}


@pytest.mark.parametrize('identity', [False, True])
@pytest.mark.parametrize('op', _RESUMING)
def test_quantization_resumes_right_after_a_float_op(op, identity):
    x = tf.tanh(image(), name='island')
    y = _RESUMING[op](tf.identity(x) if identity else x)
    tf.identity(y, name='end')
    plan = plan_of('end')
    assert skipped(plan).keys() == {'island'}
    assert by_name(plan)['island/aquant'].tensor == 'island'
    result = by_name(plan)[activations(plan)[-1]]
    assert y.op.name in (result.tensor, result.name[:-len('/aquant')]) or result.consumers == (('end', 0),)


_MOVES = {
    'reshape': lambda x: tf.reshape(x, [-1, 192]), 'squeeze': lambda x: tf.squeeze(x[:, :1], [1]), 'rank': lambda x: x[None],
    'transpose': lambda x: tf.transpose(x, [0, 3, 1, 2]), 'slice': lambda x: x[:, 1:],
    'pad': lambda x: tf.pad(x, [[0, 0]] * 3 + [[0, 1]]),
    'parts': lambda x: tf.split(x, 2, 1)[1], 'unstack': lambda x: tf.unstack(x, axis=1)[0],
    'several': lambda x: tf.transpose(tf.reshape(x, [-1, 64, 3]), [0, 2, 1])}


@pytest.mark.parametrize('move', _MOVES)
def test_ops_that_only_move_values_to_an_output_stay_float(move):
    x = layers.conv2d(image(), 3, 1, name='conv')
    y = _MOVES[move](tf.nn.softmax(x, name='soft'))
    tf.identity(tf.tanh(y), name='end')
    tf.identity(y, name='out')
    plan = plan_of(['out', 'end'])
    assert activations(plan) == ['x/aquant', 'conv/BiasAdd/aquant']
    assert all('only moves values' in reason for node, reason in skipped(plan).items() if node not in ('soft', 'Tanh'))
    assert y.op.name in skipped(plan)


@pytest.mark.parametrize('move', _MOVES)
@pytest.mark.parametrize('after', [lambda y: tf.reduce_sum(y, 1), lambda y: tf.add(y, tf.tanh(y)), lambda y: y * 2.0])
def test_ops_that_move_values_to_a_quantized_op_are_quantized(move, after):
    y = _MOVES[move](tf.tanh(image(), name='island'))
    after(y)
    plan = plan_of(tf.compat.v1.get_default_graph().get_operations()[-1].name)
    split = {'parts', 'unstack'}.intersection([move])
    reasons = skipped(plan)
    assert 'island/aquant' in by_name(plan) and (bool(split) or y.op.name + '/aquant' in by_name(plan))
    assert not any('computed in float' in reason for reason in reasons.values())
    assert len(reasons) == 1 + bool(split) + (y.op.name + '_' in str(reasons)) + ('Tanh' in reasons)


def test_a_move_next_to_a_convolution_reads_the_same_quantized_tensor():
    x = tf.tanh(image(), name='island')
    tf.reshape(x, [-1, 192], name='flat')
    layers.conv2d(x, 4, 3, name='conv')
    plan = plan_of(['flat', 'conv/BiasAdd'])
    assert {('flat', 0), ('conv/Conv2D', 0)} == set(by_name(plan)['island/aquant'].consumers)
    assert 'flat/aquant' in by_name(plan) and skipped(plan).keys() == {'island'}


@pytest.mark.parametrize('normalised', [
    lambda x: tf.contrib.layers.layer_norm(x, begin_norm_axis=1), lambda x: tf.contrib.layers.instance_norm(x),
    lambda x: tf.nn.l2_normalize(x, -1), lambda x: x / tf.sqrt(tf.reduce_mean(tf.square(x), [1, 2], keepdims=True) + 1e-5)])
def test_variances_stay_float(normalised):
    layers.conv2d(normalised(layers.conv2d(image(), 4, 3, name='conv')), 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    types = {name: tf.compat.v1.get_default_graph().get_operation_by_name(name).type for name in skipped(plan)}
    variances = [name for name, reason in skipped(plan).items() if 'root' in reason]
    assert variances and {types[name] for name in variances} <= {'Mean', 'Sum', 'Add', 'AddV2', 'Maximum'}
    for tensor in plan.tensors:
        assert not any(types.get(reader) in ('Rsqrt', 'Sqrt') for reader, _ in tensor.consumers)


def test_ops_in_a_branch_stay_float():
    x = layers.conv2d(image(), 4, 3, name='conv')
    choice = tf.compat.v1.placeholder_with_default(True, [], name='choice')
    chosen = tf.cond(choice, lambda: tf.nn.relu(x) + 1.0, lambda: x * 2.0)
    tf.nn.max_pool2d(chosen, 2, 2, 'SAME', name='pool')
    plan = plan_of('pool')
    assert [tensor.tensor for tensor in plan.tensors if tensor.mode == 1] == ['x', 'conv/BiasAdd', 'cond/Merge', 'pool']
    assert all('branch' in skipped(plan)['cond/' + name] for name in ('Relu', 'add', 'mul'))


def test_moves_after_an_ignored_op():
    x = tf.nn.relu(image(), name='relu')
    y = tf.reshape(x, [-1, 192], name='flat')
    tf.add(tf.reshape(x, [-1, 64, 3], name='rows'), 1.0, name='sum')
    plan = plan_of(['flat', 'sum'], ignore_nodes=['relu'])
    assert 'only moves values' in skipped(plan)['flat'] and y.op.name + '/aquant' not in by_name(plan)
    assert 'relu/aquant' not in by_name(plan) and {'rows/aquant', 'sum/aquant'} < set(by_name(plan))
