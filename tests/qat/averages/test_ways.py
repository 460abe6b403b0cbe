"""Every way to train keeps the same averages as the plain one, with an interruption."""
import functools

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests.integrations import ways
from tests.qat.averages.running_means import assert_means, means

v1 = tf.compat.v1
_AVERAGE_STEP = 4  # the float training ends at step 2
_STEPS = 6
_STOP = 4  # two steps count before it


@pytest.fixture(scope='module')
def averaging():
    """All ways have the option, and a global step when the graph is rewritten."""
    config = ways.config

    def averaging_config(place):
        v1.train.get_or_create_global_step()
        return config(place).replace(average_step=_AVERAGE_STEP)

    ways.config = averaging_config
    yield
    ways.config = config


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    return ways.float_checkpoint(tmp_path_factory.mktemp('float'))


@pytest.fixture(scope='module')
def plain(averaging, tmp_path_factory, start):
    """The checkpoint of the plain way, without a stop."""
    return ways.plain(tmp_path_factory.mktemp('plain'), start, 0, _STEPS).checkpoint


@pytest.fixture(scope='module')
def begun(averaging, tmp_path_factory, start):
    """The function (name of a way) -> (its directory, its checkpoint in the middle of the averages), which is made once."""
    @functools.lru_cache(None)
    def get(name):
        place = tmp_path_factory.mktemp('way')
        return place, ways.WAYS[name](place, start, 0, _STOP).checkpoint
    return get


# Same as another one as far as averages are concerned.
_ALIKE = ('saver with a list', 'saver with names', 'iterator', 'queue', 'loop and condition before the range',
          'condition behind the range', 'two heads', 'estimator', 'optimizer wrapper', 'model function wrapper',
          'reference variables', 'partitioned resource variables', 'training hook',  # slim has the hook
          'monitored session')  # the estimator wrapper has one


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name in _ALIKE)) for name in ways.WAYS])
def test_equals_the_plain_way(name, plain, begun, monkeypatch):
    if name == 'slim':  # another monitored session has TensorFlow's optimizers of graphs
        monkeypatch.setattr(ways, '_OPTIMIZED', ways._SESSION)
    place, first = begun(name)
    assert means(first)[1] == 2
    found, count = means(ways.WAYS[name](place, first, _STOP, _STEPS - _STOP).checkpoint)
    expected, steps = means(plain)
    assert count == steps == 4
    assert sorted(found) == sorted(expected)
    for variable, mean in expected.items():
        np.testing.assert_allclose(found[variable], mean, rtol=1e-4, atol=1e-6, err_msg=variable)
    moved = tf.train.load_checkpoint(plain)
    assert not any(np.allclose(mean, moved.get_tensor(variable), rtol=1e-4) for variable, mean in expected.items())


@pytest.mark.parametrize('trained', [
    pytest.param(kind, marks=[pytest.mark.slow] * (kind == 'partitioned resource variables')) for kind in ways.SCOPES])
def test_the_averaged_checkpoint_has_them_in_place_of_the_variables(trained, plain, begun):
    checkpoint = plain if trained == 'reference variables' else begun(trained)[1]
    before, after = map(tf.train.load_checkpoint, (checkpoint, vai_q_tf.averaged_checkpoint(checkpoint)))
    found, _ = means(checkpoint)
    assert before.get_variable_to_shape_map() == after.get_variable_to_shape_map()
    assert before.get_variable_to_dtype_map() == after.get_variable_to_dtype_map()
    for name in before.get_variable_to_shape_map():
        np.testing.assert_array_equal(after.get_tensor(name), found.get(name, before.get_tensor(name)), err_msg=name)


def test_a_partitioned_training_goes_on_with_whole_variables(plain, begun, tmp_path):
    _, first = begun('partitioned variables')
    found, count = means(ways.WAYS['resource variables'](tmp_path, first, _STOP, _STEPS - _STOP).checkpoint)
    assert count == 4
    for variable, mean in means(plain)[0].items():
        np.testing.assert_allclose(found[variable], mean, rtol=1e-4, atol=1e-6, err_msg=variable)


def test_a_meta_graph_carries_them(tmp_path):
    """Its network is rewritten before another program adds the optimizer."""
    settings = ways.config(tmp_path).replace(average_step=1)
    images, labels = ways.placeholders()
    v1.train.get_or_create_global_step()
    loss = ways.cross_entropy(labels, ways.network(images))
    for tensor in (images, labels, loss):
        v1.add_to_collection('ends', tensor)
    meta_graph = vai_q_tf.quantize_meta_graph('train', v1.train.export_meta_graph(), '', settings)

    def train(steps, first=0, restored=None):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.train.import_meta_graph(meta_graph)
            images, labels, loss = v1.get_collection('ends')
            train_op = ways.minimize(loss)
            saver = v1.train.Saver()
            session.run(v1.global_variables_initializer())
            if restored:
                saver.restore(session, restored)
            else:
                for variable in v1.trainable_variables():
                    variable.load(np.random.RandomState(1).randn(*variable.shape.as_list()) * 0.1, session)
            values = []
            for number in range(first, first + steps):
                session.run(train_op, dict(zip((images, labels), ways.batch(number % 3))))
                values.append({variable.op.name: session.run(variable) for variable in v1.trainable_variables()})
            return values, saver.save(session, str(tmp_path / 'model.ckpt'), first + steps)

    values, checkpoint = train(3)
    more, checkpoint = train(2, 3, checkpoint)
    found, count = means(checkpoint)
    assert count == 4
    assert_means(found, (values + more)[1:])
    model = vai_q_tf.deploy_checkpoint(meta_graph, vai_q_tf.averaged_checkpoint(checkpoint), settings)
    assert model != vai_q_tf.deploy_checkpoint(meta_graph, checkpoint, settings.replace(output_dir=str(tmp_path / 'last')))
