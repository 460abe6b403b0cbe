"""Tensors that need one position, or positions near each other, in graphs where these are known."""
import tensorflow as tf

from tests.plan.networks import image, plan_of
from vai_q_tf.dpu import HARD_SIGMOID_FACTOR

layers = tf.compat.v1.layers
pool = tf.nn.max_pool2d


def _alignments(*args, **fields):
    return {record.node: record for record in plan_of(*args, **fields).alignments}


def test_a_concat_joins_tensors_upstream_of_ops_that_only_shape():
    a = layers.conv2d(image(), 4, 3, name='a')
    b = tf.reshape(a, [-1, 144], name='flat')
    b = tf.expand_dims(b, 1, name='wide')
    c = tf.squeeze(tf.reduce_mean(layers.conv2d(a, 144, 3, name='c'), 1, True, name='mean'), 1, name='narrow')
    tf.concat([tf.identity(b), c[:, :1]], 1, name='out')
    assert tuple(_alignments('out')['out']) == ('concat', 'out', 'out/aquant', (
        'wide/aquant', 'flat/aquant', 'a/BiasAdd/aquant', 'strided_slice/aquant'), True)


def test_a_squeeze_is_followed_but_not_a_transpose():
    x = layers.conv2d(image(), 8, (8, 1), name='a')
    y = tf.transpose(tf.squeeze(x, [1], name='narrow'), [0, 2, 1], name='turn')
    z = tf.squeeze(layers.conv2d(image(name='y'), 1, (8, 1), name='b'), [1], name='thin')
    tf.concat([y, z], 2, name='out')
    assert _alignments('out', ('x', 'y'))['out'].inputs == ('turn/aquant', 'thin/aquant', 'b/BiasAdd/aquant')


def test_old_concat_constants_and_repeated_inputs():
    x, extra = image(), tf.constant(0.5, shape=[1, 8, 8, 2], name='extra')
    y = tf.compat.v1.raw_ops.Concat(concat_dim=3, values=[x, tf.identity(extra), x], name='join')
    tf.nn.max_pool2d(y, 2, 2, 'SAME', name='out')
    records = _alignments('out')
    assert records['join'].inputs == ('x/aquant', 'extra/aquant') and not records['join'].is_output
    assert tuple(records['out']) == ('pool', 'out', 'out/aquant', ('join/aquant',), True)


def test_a_concat_computed_with_a_relu():
    tf.nn.relu(tf.concat([image(), image(name='y')], -1, name='join'), name='out')
    records = _alignments('out', ('x', 'y'))
    assert tuple(records['join']) == ('concat', 'join', 'out/aquant', ('x/aquant', 'y/aquant'), False)


def test_a_float_concat_has_no_alignment():
    tf.nn.relu(tf.concat([image(), image(name='y')], -1, name='join'), name='out')
    assert not _alignments('out', ('x', 'y'), ignore_nodes=['join'])


def test_a_pool_of_an_ignored_op_is_aligned_with_nothing():
    x = pool(layers.conv2d(image(), 4, 3, name='a'), 2, 2, 'SAME', name='pool')
    layers.conv2d(x, 4, 1, name='out')
    plan = plan_of('out/BiasAdd', ignore_nodes=['a/Conv2D', 'a/BiasAdd'])
    assert 'pool/aquant' in [tensor.name for tensor in plan.tensors] and not plan.alignments


def test_parts_of_a_split_have_the_position_of_the_whole():
    first, second = tf.split(layers.conv2d(image(), 4, 3, name='conv'), 2, -1)
    second = tf.nn.relu(second, name='relu')[:, :3, :3]
    tf.concat([pool(first, 2, 2, 'SAME', name='pool'), second, first[:, :3, :3]], -1, name='out')
    records = _alignments('out')
    assert records['pool'].inputs == ('conv/BiasAdd/aquant',) and records['strided_slice'].inputs == ('relu/aquant',)
    assert records['strided_slice_1'].inputs == ('conv/BiasAdd/aquant',)
    assert records['out'].inputs == ('pool/aquant', 'strided_slice/aquant', 'strided_slice_1/aquant')


def test_parts_of_a_split_that_are_quantized_again():
    first, second, third = tf.split(image(), 3, -1, name='split')
    tf.concat([layers.conv2d(first, 1, 1, name='a'), layers.conv2d(third, 1, 1, name='b'), second], -1, name='out')
    moves = [tuple(record) for record in plan_of('out').alignments if record.kind == 'move']
    assert moves == [('move', 'split', 'split/aquant', ('x/aquant',), False),
                     ('move', 'split', 'split/output_2/aquant', ('x/aquant',), False)]


def test_moves():
    x = tf.pad(image(), [[0, 0], [1, 1], [1, 1], [0, 0]], name='pad')
    x = tf.compat.v1.image.resize_nearest_neighbor(x, [20, 20], name='resize')
    x = tf.nn.relu(tf.transpose(x, [0, 2, 1, 3], name='turn'), name='relu')
    x = tf.space_to_depth(tf.depth_to_space(tf.concat([x, x[..., :1]], -1, name='join'), 2, name='spread'), 2)
    tf.identity(x, name='out')
    moves = {node: (record.inputs, record.output) for node, record in _alignments('spread').items() if record.kind == 'move'}
    assert moves == {
        'pad': (('x/aquant',), 'pad/aquant'), 'resize': (('pad/aquant',), 'resize/aquant'),
        'turn': (('resize/aquant',), 'relu/aquant'), 'strided_slice': (('relu/aquant',), 'strided_slice/aquant'),
        'spread': (('join/aquant',), 'spread/aquant')}


def test_operands_of_additions_multiplications_and_pools():
    x, y = image(), image(name='y')
    total = tf.nn.relu(tf.add(x, y, name='add'), name='relu')
    product = tf.multiply(total, tf.constant([0.5, 0.25, 2.0], name='factor'), name='mul')
    average = tf.nn.avg_pool2d(product, 2, 2, 'SAME', name='average')
    scaled = tf.multiply(tf.nn.avg_pool2d(average, 3, 1, 'SAME', name='pool'), tf.constant([0.984375]), name='scaled')
    gate = tf.multiply(scaled, tf.nn.relu6(scaled + 3.0) / 6.0 * HARD_SIGMOID_FACTOR, name='swish')  # as after the passes
    tf.reduce_max(tf.add(gate, gate, name='twice'), [1, 2], name='max')
    records = {record.node: tuple(record) for record in plan_of('max', ('x', 'y')).operand_groups}
    assert records['add'] == ('add', 'add', ('x/aquant', 'y/aquant'), 'relu/aquant')
    assert records['mul'] == ('mul', 'mul', ('relu/aquant', 'factor/aquant'), 'mul/aquant')
    assert records['average'] == ('pool', 'average', ('mul/aquant',), 'average/aquant')
    assert records['pool'] == ('pool', 'pool', ('average/aquant',), 'scaled/aquant')
    assert records['swish'] == ('mul', 'swish', ('scaled/aquant', 'mul_1/aquant'), 'swish/aquant')
    assert records['mul_1'] == ('hard_sigmoid', 'mul_1', ('scaled/aquant',), 'mul_1/aquant')
    assert records['twice'][2] == ('swish/aquant',) * 2
    assert records['max'] == ('pool', 'max', ('twice/aquant',), 'max/aquant')
    assert set(records) == {'add', 'mul', 'average', 'pool', 'swish', 'mul_1', 'twice', 'max'}


def test_separate_activation_functions_are_operand_groups():
    """But not those that are computed with the op before them."""
    x = tf.nn.relu(layers.conv2d(image(), 4, 3, name='conv'), name='fused')
    y = tf.nn.relu6(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), name='fused6')
    z = tf.nn.leaky_relu(tf.nn.relu6(tf.nn.relu(y, name='relu'), name='relu6'), 0.1, name='leaky')
    layers.conv2d(z, 4, 1, name='head')
    records = plan_of('head/BiasAdd').operand_groups
    assert [tuple(record) for record in records if record.kind == 'activation'] == [
        ('activation', 'relu', ('fused6/aquant',), 'relu/aquant'), ('activation', 'relu6', ('relu/aquant',), 'relu6/aquant'),
        ('activation', 'leaky', ('relu6/aquant',), 'leaky/aquant')]


def test_only_scaled_average_pools_are_aligned():
    x = layers.conv2d(image(), 4, 3, name='conv')
    y = tf.nn.avg_pool2d(x, 2, 2, 'SAME', name='bare')
    y = tf.nn.avg_pool2d(y, 3, 1, 'SAME', name='pool')
    y = tf.multiply(y, tf.constant([0.984375], name='factor'), name='scaled')
    tf.reduce_mean(y, [1, 2], name='mean')
    expected = ('pool', 'pool', 'scaled/aquant', ('bare/aquant',))
    record, = plan_of('mean').alignments
    assert tuple(record) == expected + (False,)
    assert tuple(_alignments('scaled')['pool']) == expected + (True,)
    assert tuple(_alignments(['mean', 'pool'])['pool']) == expected + (True,)
