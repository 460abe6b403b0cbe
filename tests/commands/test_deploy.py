"""deploy: its options."""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors


def test_deploy(command, refused, calls):
    noted = calls('deploy_checkpoint', result='model.pb')
    given = {'input_nodes': 'input', 'output_nodes': 'relu'}
    refused('deploy', words=['--input_meta_graph'], **given)
    refused('deploy', input_meta_graph='x.meta', words=['--input_checkpoint'], **given)
    status, out, _ = command('deploy', input_meta_graph='x.meta', input_checkpoint='x.ckpt', **given)
    assert status == 0 and out == 'The model is model.pb\n' and noted[0][1][:2] == ('x.meta', 'x.ckpt')


def test_training_and_deployment_of_meta_graphs(command, workplace):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], name='input')
        tf.nn.relu(tf.layers.dense(x, 3, name='dense'), name='out')
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(workplace / 'float.ckpt'))
    given = {'input_nodes': 'input', 'output_nodes': 'out', 'input_meta_graph': prefix + '.meta', 'input_checkpoint': prefix}
    status, out, err = command('quantize', mode='train', **given)
    assert status == 0 and 'quantize_train.ckpt.meta' in out, err
    status, out, err = command('quantize', mode='eval', **given)
    assert status == 0 and 'quantize_eval.ckpt.meta' in out, err
    status, _, err = command('deploy', **given)
    assert status == 1 and errors.MISSING_QUANTIZE_INFO in err
