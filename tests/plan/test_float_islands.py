"""What stays float, says why, and does not keep its neighbours from being quantized."""
import pytest
import tensorflow as tf
from tensorflow.contrib import slim

from tests.plan.networks import by_name, decisions, image, plan_behind_the_passes, plan_of, skipped

layers = tf.compat.v1.layers


def _names(plan):
    return [tensor.name for tensor in plan.tensors]


def test_ops_with_several_outputs():
    first, second = tf.split(layers.conv2d(image(), 4, 3, name='conv'), 2, -1, name='parts')
    second = tf.nn.relu(second, name='relu')
    second = layers.conv2d(second, 2, 1, name='head')
    rows = tf.unstack(tf.reshape(first, [-1, 2, 6, 6, 2], name='r'), axis=1, name='un')
    third = layers.conv2d(rows[1], 2, 1, name='tail')
    tf.concat([first, second, third], 0, name='out')
    plan = plan_of('out')
    tensors = by_name(plan)
    assert skipped(plan).keys() == {'parts', 'un'}
    assert tensors['relu/aquant'].consumers == (('head/Conv2D', 0),)
    assert tensors['un/output_1/aquant'].tensor == 'un:1'
    assert tensors['un/output_1/aquant'].consumers == (('tail/Conv2D', 0),)
    assert 'out/aquant' in tensors


def test_integer_tensors_stay_as_they_are():
    x = layers.conv2d(image(), 4, 3, name='conv')
    shape = tf.concat([tf.shape(x)[:1] * 2, tf.constant([-1])], 0, name='shape')
    tf.reshape(x, shape, name='flat')
    index = tf.argmax(tf.reshape(x, [-1, 4], name='rows'), -1, name='index')
    tf.add(index, index, name='double')
    plan = plan_of(['flat', 'double'])
    assert [name for name in _names(plan) if 'conv' not in name] == ['x/aquant', 'flat/aquant', 'rows/aquant']
    assert not plan.skipped


def test_other_types_stay_as_they_are():
    x = tf.cast(layers.conv2d(image(), 4, 3, name='conv'), tf.float64, name='wide')
    tf.nn.conv2d(x, tf.ones([1, 1, 4, 2], tf.float64), padding='SAME', name='out')
    reasons = skipped(plan_of('out'))
    assert 'float64' in reasons['out'] and 'float64' in reasons['wide']


def test_ops_without_rule_are_listed_and_the_next_convolution_reads_quantized_values():
    x = tf.nn.elu(layers.conv2d(image(), 4, 3, name='conv'), name='elu')
    x = tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool')
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert skipped(plan) == {'elu': 'there is no quantization rule for the op Elu'}
    assert by_name(plan)['elu/aquant'].consumers == (('pool', 0),)
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)


def test_matrix_product_without_weights():
    x = tf.compat.v1.placeholder(tf.float32, [4, 4], name='x')
    tf.add(tf.matmul(x, tf.transpose(x, name='t'), name='product'), x, name='out')
    reasons = skipped(plan_of('out'))
    assert reasons.keys() == {'product'} and 'no weights' in reasons['product']


@pytest.mark.parametrize('dropout', [lambda x: tf.nn.dropout(x, rate=0.4), lambda x: tf.compat.v1.nn.dropout(x, 0.6),
                                     lambda x: layers.dropout(x, 0.4, training=True),
                                     lambda x: slim.dropout(x, 0.6, is_training=True)])
def test_dropout_is_looked_through(dropout):
    plans = []
    for training in (True, False):
        with tf.Graph().as_default():
            x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
            x = dropout(x) if training else x
            x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
            plans.append(plan_of(x.op.name))
    assert decisions(plans[0]) == decisions(plans[1]) and not plans[0].skipped


@pytest.mark.parametrize('ignored', ['conv/Conv2D', 'conv/BiasAdd', 'conv/Relu', 'conv/kernel', 'conv/kernel/read',
                                     'conv/bias'])
def test_ignored_node_leaves_its_whole_group_float(ignored):
    x = layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
    x = layers.conv2d(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), 4, 3, name='next')
    plan = plan_of(x.op.name, ignore_nodes=[ignored])
    assert _names(plan) == ['x/aquant', 'pool/aquant', 'next/kernel/wquant', 'next/bias/wquant',
                            'next/BiasAdd/aquant']
    assert by_name(plan)['pool/aquant'].consumers == (('next/Conv2D', 0),)
    reasons = skipped(plan)
    assert 'ignore_nodes' in reasons['conv/Conv2D'] and 'ignore_nodes' in reasons['conv/Relu']
    assert 'pool' not in reasons  # it is quantized, though what it reads stays as the user wants it


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
def test_quantization_resumes_right_behind_a_float_op(op, identity):
    x = tf.tanh(image(), name='island')
    y = _RESUMING[op](tf.identity(x) if identity else x)
    tf.identity(y, name='end')
    plan = plan_of('end')
    assert skipped(plan).keys() == {'island'}
    assert by_name(plan)['island/aquant'].tensor == 'island'
    result = [tensor for tensor in plan.tensors if tensor.mode == 1][-1]
    assert y.op.name in (result.tensor, result.name[:-len('/aquant')]) or result.consumers == (('end', 0),)


_MOVES = {
    'reshape': lambda x: tf.reshape(x, [-1, 192]), 'squeeze': lambda x: tf.squeeze(x[:, :1], [1]), 'rank': lambda x: x[None],
    'transpose': lambda x: tf.transpose(x, [0, 3, 1, 2]), 'slice': lambda x: x[:, 1:],
    'pad': lambda x: tf.pad(x, [[0, 0]] * 3 + [[0, 1]]),
    'parts': lambda x: tf.split(x, 2, 1)[1], 'unstack': lambda x: tf.unstack(x, axis=1)[0],
    'several': lambda x: tf.transpose(tf.reshape(x, [-1, 64, 3]), [0, 2, 1])}


@pytest.mark.parametrize('move', _MOVES)
def test_what_only_moves_values_to_an_output_stays_float(move):
    x = layers.conv2d(image(), 3, 1, name='conv')
    y = _MOVES[move](tf.nn.softmax(x, name='soft'))
    tf.identity(tf.tanh(y), name='end')
    tf.identity(y, name='out')
    plan = plan_of(['out', 'end'])
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == ['x/aquant', 'conv/BiasAdd/aquant']
    assert all('only moves values' in reason for node, reason in skipped(plan).items() if node not in ('soft', 'Tanh'))
    assert y.op.name in skipped(plan)


@pytest.mark.parametrize('move', _MOVES)
@pytest.mark.parametrize('behind', [lambda y: tf.reduce_sum(y, 1), lambda y: tf.add(y, tf.tanh(y)), lambda y: y * 2.0])
def test_what_moves_values_to_a_quantized_op_is_quantized(move, behind):
    y = _MOVES[move](tf.tanh(image(), name='island'))
    behind(y)
    plan = plan_of(tf.compat.v1.get_default_graph().get_operations()[-1].name)
    split = {'parts', 'unstack'}.intersection([move])
    reasons = skipped(plan)
    assert 'island/aquant' in by_name(plan) and (bool(split) or y.op.name + '/aquant' in by_name(plan))
    assert not any('computed in float' in reason for reason in reasons.values())
    assert len(reasons) == 1 + bool(split) + (y.op.name + '_' in str(reasons)) + ('Tanh' in reasons)


def test_a_move_beside_a_convolution_reads_what_the_convolution_reads():
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
        assert not tensor.tensor or not any(types.get(reader) in ('Rsqrt', 'Sqrt') for reader, _ in tensor.consumers)


def test_what_is_in_a_branch_stays_float():
    x = layers.conv2d(image(), 4, 3, name='conv')
    choice = tf.compat.v1.placeholder_with_default(True, [], name='choice')
    chosen = tf.cond(choice, lambda: tf.nn.relu(x) + 1.0, lambda: x * 2.0)
    tf.nn.max_pool2d(chosen, 2, 2, 'SAME', name='pool')
    plan = plan_of('pool')
    assert [tensor.tensor for tensor in plan.tensors if tensor.mode == 1] == ['x', 'conv/BiasAdd', 'cond/Merge', 'pool']
    assert all('branch' in skipped(plan)['cond/' + name] for name in ('Relu', 'add', 'mul'))


def test_ignored_node_on_a_move():
    x = tf.nn.relu(image(), name='relu')
    y = tf.reshape(x, [-1, 192], name='flat')
    tf.add(tf.reshape(x, [-1, 64, 3], name='rows'), 1.0, name='sum')
    plan = plan_of(['flat', 'sum'], ignore_nodes=['relu'])
    assert 'only moves values' in skipped(plan)['flat'] and y.op.name + '/aquant' not in by_name(plan)
    assert 'relu/aquant' not in by_name(plan) and {'rows/aquant', 'sum/aquant'} < set(by_name(plan))


def test_what_is_in_a_loop_stays_float():
    def body(turn, x):
        x = layers.conv2d(x, 4, 3, padding='same', name='inner', activation=tf.nn.relu)
        return turn + 1, tf.add(x, 1., name='sum')
    x = layers.conv2d(image(), 4, 3, name='conv')
    x = tf.while_loop(lambda turn, x: turn < 3, body, [0, x])[1]
    layers.conv2d(x, 4, 3, name='next')
    plan = plan_of('next/BiasAdd')
    assert [group.node for group in plan.groups] == ['conv/Conv2D', 'next/Conv2D']
    assert not any(name.startswith('while/inner') or name.startswith('while/sum') for name in _names(plan))
    reasons = skipped(plan)
    assert all('loop' in reasons['while/' + name] for name in ('inner/Conv2D', 'inner/Relu', 'sum'))


def test_ignored_input_and_elementwise_op():
    x = image()
    y = tf.add(x, x, name='sum')
    layers.conv2d(tf.nn.relu(y, name='relu'), 4, 3, name='conv')
    plan = plan_of('conv/BiasAdd', ignore_nodes=['sum'])
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == [
        'x/aquant', 'relu/aquant', 'conv/BiasAdd/aquant']
    assert 'ignore_nodes' in skipped(plan)['sum']
    tf.compat.v1.reset_default_graph()
    layers.conv2d(image(), 4, 3, name='conv')
    tensor = by_name(plan_of('conv/BiasAdd', ignore_nodes=['x']))['x/aquant']
    assert (tensor.role, tensor.method) == ('activation', 1)


def test_dropout_between_a_convolution_and_its_activation():
    x = layers.conv2d(image(), 4, 3, name='conv')
    dropped = layers.dropout(x, training=True, name='drop')
    tf.nn.relu(dropped, name='relu')
    assert _names(plan_of('relu'))[-1] == 'relu/aquant' and 'conv/BiasAdd/aquant' not in _names(plan_of('relu'))
    tf.concat([dropped, tf.nn.relu(dropped, name='second')], -1, name='out')
    assert by_name(plan_of('out'))['conv/BiasAdd/aquant'].consumers == (('second', 0), ('out', 0))


def test_asking_for_the_shape_is_not_reading_the_values():
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.image.resize_nearest_neighbor(tf.nn.relu(x, name='relu'), tf.shape(x)[1:3] * 2, name='out')
    plan = plan_of('out')
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == ['x/aquant', 'relu/aquant', 'out/aquant']


_PRELUS = {
    'difference': lambda x, a: tf.nn.relu(x) - a * tf.nn.relu(-x), 'sum': lambda x, a: tf.nn.relu(x) + -a * tf.nn.relu(-x),
    'absolute': lambda x, a: tf.nn.relu(x) + a * (x - tf.abs(x)) * 0.5, 'maximum': lambda x, a: tf.maximum(a * x, x)}


@pytest.mark.parametrize('rank', [1, 3])
@pytest.mark.parametrize('form', _PRELUS)
def test_no_part_of_a_prelu_stays_float(form, rank):
    x = layers.conv2d(image(), 4, 3, name='conv')
    slopes = tf.constant([0.1, 0.2, 0.3, 0.4], shape=[1] * (rank - 1) + [4], name='slopes')
    tf.identity(_PRELUS[form](x, slopes), name='prelu')
    plan = plan_behind_the_passes('prelu')
    assert not plan.skipped
    assert {tensor.role for tensor in plan.tensors if tensor.mode == 1} == {'input', 'activation', 'constant'}


@pytest.mark.parametrize('form', _PRELUS)
def test_a_prelu_of_one_slope_is_an_activation_function(form):
    x = layers.conv2d(image(), 4, 3, name='conv')
    tf.identity(_PRELUS[form](x, tf.constant(0.1)), name='prelu')
    plan = plan_behind_the_passes('prelu')
    group, = plan.groups
    assert [tensor.name for tensor in plan.tensors if tensor.mode == 1] == ['x/aquant', group.output] and not plan.skipped


@pytest.mark.parametrize('arithmetic', [
    lambda x: x / 127.5 - 1.0, lambda x: (x - [1., 2., 3.]) / [4., 5., 6.], lambda x: 1.0 - x, lambda x: -x, lambda x: x - 0.5])
def test_arithmetic_with_constants_is_quantized(arithmetic):
    layers.conv2d(arithmetic(tf.tanh(image(), name='island')), 4, 3, name='conv')
    assert skipped(plan_behind_the_passes('conv/BiasAdd')).keys() == {'island'}


def test_the_softmax_of_the_hardware_is_not_quantized_inside():
    """It computes in bfloat16; what it reads and gives is quantized where that is of use."""
    x = tf.nn.softmax(layers.dense(tf.compat.v1.placeholder(tf.float32, [None, 4], 'x'), 6, name='logits'), name='softmax')
    layers.dense(x, 5, name='scores')
    plan = plan_of('scores/BiasAdd', replace_softmax=1)
    assert [name for name in _names(plan) if name.endswith('/aquant')] == [
        'x/aquant', 'logits/BiasAdd/aquant', 'softmax/output_cast/aquant', 'scores/BiasAdd/aquant']
    assert len(plan.skipped) > 40 and all('bfloat16' in record.reason for record in plan.skipped)
