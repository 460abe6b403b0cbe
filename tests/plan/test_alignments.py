"""Which quantized tensors are to have one position, against graphs where that is known."""
import tensorflow as tf

from tests.plan.networks import image, plan_of

layers = tf.compat.v1.layers
pool = tf.nn.max_pool2d


def _alignments(*args, **fields):
    return {record.node: record for record in plan_of(*args, **fields).alignments}


def test_concat_joins_what_is_in_front_of_ops_that_only_shape():
    a = layers.conv2d(image(), 4, 3, name='a')
    b = tf.reshape(a, [-1, 144], name='flat')
    b = tf.expand_dims(b, 1, name='wide')
    c = tf.squeeze(tf.reduce_mean(layers.conv2d(a, 144, 3, name='c'), 1, True, name='mean'), 1, name='narrow')
    tf.concat([tf.identity(b), c[:, :1]], 1, name='out')
    record, = plan_of('out').alignments
    assert tuple(record) == ('concat', 'out', 'out/aquant', (
        'wide/aquant', 'flat/aquant', 'a/BiasAdd/aquant', 'strided_slice/aquant'), True)


def test_squeeze_is_followed_and_nothing_else():
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


def test_concat_that_is_not_quantized_itself_makes_none():
    tf.nn.relu(tf.concat([image(), image(name='y')], -1, name='join'), name='out')
    plan = plan_of('out', ('x', 'y'))
    assert plan.alignments == () and 'out/aquant' in [tensor.name for tensor in plan.tensors]


def test_inputs_that_are_float_are_left_out():
    first, second = tf.split(layers.conv2d(image(), 4, 3, name='conv'), 2, -1)
    tf.concat([pool(first, 2, 2, 'SAME', name='pool'), tf.nn.relu(second, name='relu')[:, :3, :3]], -1, name='out')
    records = _alignments('out')
    assert set(records) == {'out'}  # what the pool reads is a part of a tensor, which is no tensor of its own
    assert records['out'].inputs == ('pool/aquant', 'strided_slice/aquant')


def test_average_pool_counts_with_its_scale_only():
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
