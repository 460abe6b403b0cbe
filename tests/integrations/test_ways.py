"""All ways to drive a training agree with the plain one in losses, positions and weights, also when resumed."""
import functools
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_value_once
from tests.integrations import ways
from vai_q_tf import QuantizeError, errors, position_histogram
from vai_q_tf.integrations import functions
from vai_q_tf.qat.positions import position_saveable

_STEPS = 6


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """A float checkpoint."""
    return ways.float_checkpoint(tmp_path_factory.mktemp('float'))


@pytest.fixture(scope='module')
def courses(tmp_path_factory, start):
    """{recipe: the Course of the plain way, without a stop}."""
    return {recipe: ways.plain(tmp_path_factory.mktemp(recipe), start, 0, _STEPS) for recipe in ('auto', 'manual')}


@pytest.fixture(scope='module')
def plain(courses):
    """The Course of the plain way with the default recipe, without a stop."""
    return courses['auto']


def _positions(checkpoint):
    """{row: votes}, rows named by what is computed: a partitioned variable has another name than a whole one."""
    reader = tf.train.load_checkpoint(checkpoint)
    keys = (position_saveable.STRUCTURES_KEY, position_saveable.VOTES_KEY)
    return {structure.decode(): votes for structure, votes in zip(*map(reader.get_tensor, keys))}


@pytest.mark.parametrize('recipe', ['auto', 'manual'])
def test_the_plain_way_trains_and_its_positions_move_where_they_are_to(recipe, courses, start, tmp_path):
    plain = courses[recipe]
    assert len(set(plain.losses)) == _STEPS
    first = _positions(ways.plain(tmp_path / recipe, start, 0, 1).checkpoint)
    last = _positions(plain.checkpoint)
    moved = any(position_histogram.mode_position(first[name]) != position_histogram.mode_position(last[name]) for name in last)
    assert moved == (recipe == 'manual')


def _with_both_recipes():
    """Kinds of variables with the default recipe, of the others one with it and one with positions that move.

    `make test-slow` has all with both.
    """
    for number, name in enumerate(ways.WAYS):
        moves = name not in ways.SCOPES and number % 2 == 0
        yield pytest.param(name, 'auto', marks=[pytest.mark.slow] * moves)
        yield pytest.param(name, 'manual', marks=[pytest.mark.slow] * (not moves))


@pytest.fixture(scope='module')
def halves(start, tmp_path_factory):
    """The function (name of a way, recipe) -> its Courses up to half of the steps, and from its checkpoint on."""
    @functools.lru_cache(None)
    def get(name, recipe):
        way, place = ways.WAYS[name], tmp_path_factory.mktemp('way') / recipe
        place.mkdir()
        first = way(place, start, 0, _STEPS // 2)
        return first, way(place, first.checkpoint, _STEPS // 2, _STEPS - _STEPS // 2)
    return get


@pytest.mark.parametrize('name, recipe', _with_both_recipes())
def test_equals_the_plain_way_and_goes_on_from_its_checkpoint(name, recipe, courses, halves):
    plain, (first, second) = courses[recipe], halves(name, recipe)
    np.testing.assert_allclose(first.losses + second.losses, plain.losses, rtol=1e-5)
    expected, found = (tf.train.load_checkpoint(course.checkpoint) for course in (plain, second))
    variables = [key for key in expected.get_variable_to_shape_map() if not key.startswith(position_saveable.STATE_NAME)]
    for key in variables:
        np.testing.assert_allclose(found.get_tensor(key), expected.get_tensor(key), rtol=1e-4, atol=1e-6, err_msg=key)
    votes = _positions(plain.checkpoint)
    mine = _positions(second.checkpoint)
    assert sorted(mine) == sorted(votes)
    for row in votes:
        np.testing.assert_array_equal(mine[row], votes[row], err_msg=row)


@pytest.fixture(scope='module')
def learned(start, tmp_path_factory):
    """The function (way) -> the positions that it learns."""
    def get(way):
        config = ways.config
        with mock.patch.object(ways, 'config', lambda place: config(place).replace(
                position_update='learned', recipe='manual')):
            return _positions(way(tmp_path_factory.mktemp('learned'), start, 0, _STEPS).checkpoint)
    return functools.lru_cache(None)(get)


@pytest.mark.parametrize('name', ['training hook', 'optimizer wrapper', 'model function wrapper', 'mixed precision',
                                  pytest.param('slim', marks=pytest.mark.slow)])  # slim has the hook
def test_learned_positions_are_the_same_in_every_way(name, learned):
    """Except for the scale of the gradients, which is that of the loss."""
    found, expected = learned(ways.WAYS[name]), learned(ways.plain)
    assert sorted(found) == sorted(expected)
    for votes in (found, expected):
        assert sum(map(position_histogram.is_learned, votes.values())) == len(votes) - 1, 'all but the input'
    for row, votes in found.items():
        np.testing.assert_allclose(votes[:-1], expected[row][:-1], rtol=1e-5, atol=1e-6)


def _deploy(place, checkpoint, scope):
    """The frozen model's logits of a batch."""
    with tf.Graph().as_default():
        images, _ = ways.placeholders()
        with scope():
            ways.network(images, training=False)
        functions.CreateQuantizeEvaluationGraph(ways.config(place))
        model = functions.CreateQuantizeDeployGraph(checkpoint, ways.config(place)).eval_model
    with tf.Graph().as_default(), tf.compat.v1.Session() as session, open(model, 'rb') as stream:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(stream.read()), name='')
        return session.run('logits/BiasAdd/aquant:0', {'net_in:0': ways.batch(3)[0]})


@pytest.fixture(scope='module')
def expected(plain, tmp_path_factory):
    """The logits of the plain way."""
    return _deploy(tmp_path_factory.mktemp('expected'), plain.checkpoint, ways.SCOPES['reference variables'])


_KINDS = list(ways.SCOPES)


@pytest.mark.parametrize('kind, evaluated', each_value_once(_KINDS, _KINDS[1:] + _KINDS[:1]))
def test_variables_of_one_kind_are_evaluated_as_another(kind, evaluated, halves, expected, tmp_path):
    trained = halves(kind, 'auto')[1].checkpoint
    np.testing.assert_allclose(_deploy(tmp_path, trained, ways.SCOPES[evaluated]), expected, rtol=1e-4)


def test_two_outputs_with_a_loss_each(tmp_path):
    """Each head trains by its own loss through its own last quantization, and by the sum of both what they share."""
    images, labels = ways.placeholders()
    net = tf.identity(images, name='net_in')
    net = tf.nn.relu(tf.layers.conv2d(net, 6, 3, name='trunk'))
    net = tf.layers.flatten(net)
    classes, boxes = tf.layers.dense(net, 4, name='classes'), tf.layers.dense(net, 2, name='boxes')
    losses = [ways.cross_entropy(labels, classes), tf.reduce_mean(tf.abs(boxes - 1))]
    config = ways.config(tmp_path)
    config.output_nodes = ['classes/BiasAdd', 'boxes/BiasAdd']
    functions.CreateQuantizeTrainingGraph(config)
    variables = {name: tf.compat.v1.global_variables(name)[0] for name in ('trunk', 'classes', 'boxes')}
    gradients = [tf.gradients(loss, list(variables.values())) for loss in losses]
    assert [[gradient is not None for gradient in row] for row in gradients] == [[True, True, False], [True, False, True]]
    whole = tf.gradients(tf.add_n(losses), list(variables.values()))
    train = ways.minimize(tf.add_n(losses))
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        course = []
        for _ in range(15):
            course.append(session.run(losses + [train], dict(zip((images, labels), ways.batch(0))))[:2])
        parts, total = session.run([[row[0] for row in gradients], whole[0]], dict(zip((images, labels), ways.batch(0))))
        checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
    assert course[-1][0] < course[0][0] and course[-1][1] < course[0][1]
    np.testing.assert_allclose(sum(parts), total, rtol=1e-4, atol=1e-5)
    names = tf.train.load_checkpoint(checkpoint).get_tensor(position_saveable.TENSORS_KEY).tolist()
    assert {b'classes/BiasAdd/aquant', b'boxes/BiasAdd/aquant', b'classes/kernel/wquant', b'boxes/kernel/wquant',
            b'trunk/kernel/wquant'} <= set(names)


@pytest.mark.parametrize('inside', ['loop', 'condition'])
def test_loops_and_conditions_inside_the_range_are_refused(tmp_path, inside):
    images = tf.identity(tf.zeros([4, 8, 8, 2]), name='net_in')
    if inside == 'loop':
        net = tf.while_loop(lambda count, value: count < 3, lambda count, value: (count + 1, value * 2), [0, images])[1]
    else:
        net = tf.cond(tf.reduce_sum(images) > 0, lambda: images * 2, lambda: images)
    tf.layers.dense(tf.layers.flatten(net), 4, name='logits')
    before = tf.get_default_graph().as_graph_def()
    with pytest.raises(QuantizeError, match='while_loop or tf.cond') as raised:
        functions.CreateQuantizeTrainingGraph(ways.config(tmp_path))
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
    assert tf.get_default_graph().as_graph_def() == before
