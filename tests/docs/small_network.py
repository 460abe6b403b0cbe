"""A small network, its calibration data and its MetaGraphs, for pages whose readers have their own."""
import numpy as np
import tensorflow.compat.v1 as tf

_CALIBRATION = '''import numpy as np

def calib_input(step):
    return {'image': np.random.RandomState(step).rand(12, 16, 16, 3)}
'''


def network(images, training):
    """Logits [batch, 2]."""
    net = tf.identity(images, 'net_in')
    net = tf.layers.conv2d(net, 8, 3, padding='same', use_bias=False, name='conv1')
    net = tf.layers.batch_normalization(net, training=training, momentum=0.9, name='conv1/bn')
    net = tf.nn.relu6(net, name='conv1/relu')
    return tf.layers.dense(tf.reduce_mean(net, [1, 2], name='mean'), 2, name='logits')


def write_files():
    """Writes float.pb, float/, eval.meta, train.meta and calibration.py into the working directory."""
    for training, name in ((True, 'train.meta'), (False, 'eval.meta')):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            tf.nn.softmax(network(_placeholder(), training), name='probabilities')
            tf.train.get_or_create_global_step()
            tf.train.export_meta_graph(name)
            session.run(tf.global_variables_initializer())
            if not training:
                tf.train.Saver().save(session, 'float/model.ckpt')
                frozen = tf.graph_util.convert_variables_to_constants(session, session.graph_def, ['probabilities'])
    with open('float.pb', 'wb') as stream:
        stream.write(frozen.SerializeToString())
    with open('calibration.py', 'w') as stream:
        stream.write(_CALIBRATION)


def train(directory):
    """Trains the network quantized for three steps, and writes a checkpoint."""
    import vai_q_tensorflow
    config = vai_q_tensorflow.QuantizeConfig(input_nodes=['net_in'], output_nodes=['logits/BiasAdd'], output_dir=directory)
    with tf.Graph().as_default(), tf.Session() as session:
        images = _placeholder()
        loss = tf.reduce_mean(network(images, True) ** 2)
        step = tf.train.get_or_create_global_step()
        vai_q_tensorflow.CreateQuantizeTrainingGraph(config=config)
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(loss, step)
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        for n in range(3):
            session.run(train_op, {images: np.random.RandomState(n).rand(8, 16, 16, 3)})
        saver.save(session, directory + '/model.ckpt', step)


def _placeholder():
    return tf.placeholder(tf.float32, [None, 16, 16, 3], 'image')
