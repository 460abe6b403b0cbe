"""Each number of an Analysis, against definitions in NumPy."""
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.analysis import small_model
from vai_q_tf import errors, ops
from vai_q_tf.analysis.measure import measure
from vai_q_tf.analysis.pairs import pair_by_names, pair_with_itself
from vai_q_tf.graph import graphdef_editor as editor

NAMES = ('the model', 'the float graph')


def measured(pairing, steps=2, **options):
    feeds = [{'x:0': small_model.batch(step)['x']} for step in range(steps)]
    return measure(pairing, feeds, steps, NAMES, **options)


def by_name(analysis):
    return {error.name: error for error in analysis.tensors}


@pytest.fixture(scope='module')
def analysis():
    return measured(pair_by_names(small_model.graph(False), small_model.graph(True)))


@pytest.fixture(scope='module')
def expected():
    """{FixNeuron: (float array, quantized one, alone)}, of two batches."""
    both = [small_model.tensors(small_model.batch(step)['x']) for step in range(2)]
    return {name: parts if name.endswith('wquant') else tuple(map(np.concatenate, zip(parts, both[1][name])))
            for name, parts in both[0].items()}


def db(value, changed):
    return 10 * np.log10(np.square(value).sum() / np.square(value - changed).sum())


@pytest.mark.parametrize('name', small_model.FORMS)
def test_the_numbers_of_a_tensor(analysis, expected, name):
    found, (value, changed, alone) = by_name(analysis)[name], expected[name]
    position, bits, mode = small_model.FORMS[name]
    steps = small_model.rounded(value, position, mode)
    assert (found.layer, found.role, found.bits, found.position) == (
        small_model.LAYERS[name], small_model.ROLES[name], bits, position)
    assert found.db == pytest.approx(db(value, changed), abs=1e-3)
    assert found.alone_db == pytest.approx(db(value, alone), abs=1e-3)
    assert (found.low, found.high) == pytest.approx((value.min(), value.max()), rel=1e-5)
    assert found.saturated == np.mean((steps < -2**(bits - 1)) | (steps >= 2**(bits - 1)))
    assert found.zeroed == np.mean((steps == 0) & (value != 0))


def test_all_fields_are_exercised(analysis, expected):
    assert set(by_name(analysis)) == set(expected) and not analysis.unpaired
    assert any(error.saturated for error in analysis.tensors) and any(error.zeroed for error in analysis.tensors)
    assert all(error.db != error.alone_db for error in analysis.tensors if error.role == 'activation')
    assert (analysis.model, analysis.reference, analysis.batches) == NAMES + (2,)
    assert analysis.depth == ('x/aquant', 'relu/aquant', 'out/aquant')


@pytest.mark.parametrize('name', small_model.FORMS)
def test_loss_to_a_better_position(analysis, expected, name):
    value = expected[name][0]
    position, bits, mode = small_model.FORMS[name]

    def error(place):
        steps = np.clip(small_model.rounded(value, place, mode), -2**(bits - 1), 2**(bits - 1) - 1)
        return np.square(steps / 2.0**place - value).sum()
    least = max(min(error(place) for place in range(-2, 15)), np.square(value).sum() / 4**bits)
    assert by_name(analysis)[name].loss_db == pytest.approx(max(0, 10 * np.log10(error(position) / least)), abs=1e-2)


@pytest.mark.parametrize('name', small_model.FORMS)
def test_histograms(analysis, expected, name):
    found, (value, changed, _) = by_name(analysis)[name].histogram, expected[name]
    ends = min(value.min(), changed.min()), max(value.max(), changed.max())
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-5)
    for counts, values in ((found.float_counts, value), (found.quantized_counts, changed)):
        assert len(counts) == 64 and sum(counts) == values.size
        exact = np.histogram(values, 64, (found.low, found.high))[0]
        # Batches have ranges of their own, so what is near an edge may be in the bin beside.
        assert np.abs(np.cumsum(counts) - np.cumsum(exact)).max() <= max(2, .05 * values.size)


def test_without_data_there_are_weights_and_biases_only():
    found = measured(pair_by_names(small_model.graph(False), small_model.graph(True)), steps=0)
    assert {error.role for error in found.tensors} == {'weight', 'bias'} and len(found.tensors) == 4
    assert found.batches == 0 and found.depth == ()
    assert set(found.unpaired) == {'x/aquant', 'relu/aquant', 'out/aquant'}


def test_the_model_itself_is_the_reference():
    stored = {'w1': small_model.VALUES['w1'] * 2}
    found = by_name(measured(pair_with_itself(small_model.graph(True, stored)), steps=1, histograms=False))
    assert all(error.histogram is None for error in found.values())
    for name, parts in small_model.tensors(small_model.batch(0)['x'], values=stored, stored=stored).items():
        assert found[name].db == pytest.approx(db(*parts[:2]), abs=1e-3)
        assert found[name].alone_db == pytest.approx(db(parts[0], parts[2]), abs=1e-3)


def test_a_weight_is_compared_with_that_of_the_float_network():
    stored = {'w2': small_model.VALUES['w2'] * 1.25}
    found = by_name(measured(pair_by_names(small_model.graph(False), small_model.graph(True, stored)), steps=1))
    for name, parts in small_model.tensors(small_model.batch(0)['x'], stored=stored).items():
        assert found[name].db == pytest.approx(db(*parts[:2]), abs=1e-3)
        assert found[name].alone_db == pytest.approx(db(parts[0], parts[2]), abs=1e-3)
    assert found['w2/wquant'].loss_db > 6


@pytest.mark.parametrize('scale', [-70, 70])
def test_sizes_whose_squares_float32_does_not_hold(analysis, scale):
    values = {name: np.ldexp(small_model.VALUES[name], scale) for name in ('w1', 'b1', 'b2')}
    forms = {name: (position - scale, bits, mode) for name, (position, bits, mode) in small_model.FORMS.items()
             if name not in ('x/aquant', 'w2/wquant')}
    large = by_name(measured(pair_by_names(small_model.graph(False, values), small_model.graph(True, values, forms))))
    for name, error in by_name(analysis).items():
        assert (large[name].db, large[name].alone_db, large[name].loss_db) == pytest.approx(
            (error.db, error.alone_db, error.loss_db), abs=1e-3)
        assert (large[name].saturated, large[name].zeroed) == (error.saturated, error.zeroed)


def test_tensors_of_zeros():
    values = {'w1': small_model.VALUES['w1'] * 0, 'b1': small_model.VALUES['b1'] * 0 - 1}
    found = by_name(measured(pair_by_names(small_model.graph(False, values), small_model.graph(True, values))))
    assert found['w1/wquant'].db == found['relu/aquant'].db == math.inf
    assert found['relu/aquant'].loss_db == found['relu/aquant'].saturated == found['relu/aquant'].zeroed == 0
    found = by_name(measured(pair_by_names(small_model.graph(False, values), small_model.graph(True))))
    assert found['relu/aquant'].db == -math.inf


def test_a_position_for_zeros_alone():
    found = by_name(measured(pair_with_itself(small_model.graph(True, forms={'relu/aquant': (127, 8, 1)}))))['relu/aquant']
    assert found.saturated == 0 and 0 < found.zeroed < 1 and found.alone_db == pytest.approx(0)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_unpaired(bad):
    value = small_model.VALUES['b1'].copy()
    value[2] = bad
    found = measured(pair_by_names(small_model.graph(False, {'b1': value}), small_model.graph(True)))
    assert set(found.unpaired) == {'b1/wquant', 'relu/aquant', 'out/aquant'}
    assert all('NaN or infinite' in reason for reason in found.unpaired.values())
    assert set(by_name(found)) == {'x/aquant', 'w1/wquant', 'w2/wquant', 'b2/wquant'} and found.depth == ('x/aquant',)


def test_networks_that_do_not_run_side_by_side():
    other = editor.with_values(small_model.graph(False), {})
    next(node for node in other.node if node.name == 'x').attr['shape'].shape.dim[1].size = 4
    with pytest.raises(errors.QuantizeError) as caught:
        measure(pair_by_names(other, small_model.graph(True)), [{'x:0': np.ones((2, 7), np.float32)}], 1, NAMES)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH


def test_scaled_channels_are_no_error():
    """Scales that `effort='high'` moves from one layer to the next; the FixNeuron has them in an attr."""
    scales = np.array([1, 2, .5, 4, 1], np.float32)
    stored = {'w1': small_model.VALUES['w1'] * scales, 'b1': small_model.VALUES['b1'] * scales,
              'w2': small_model.VALUES['w2'] / scales[:, None]}
    forms = {name: (10, 16, mode) for name, (_, _, mode) in small_model.FORMS.items()}
    model = small_model.graph(True, stored, forms)
    for noted in (False, True):
        if noted:
            next(node for node in model.node if node.name == 'relu/aquant').attr['_channel_scales'].list.f[:] = scales
        found = by_name(measured(pair_by_names(small_model.graph(False), model)))
        assert (found['w1/wquant'].db > 40) == (found['relu/aquant'].alone_db > 40) == (found['b1/wquant'].db > 40) == noted
        assert (found['w2/wquant'].db > 40) == (found['out/aquant'].alone_db > 40) == noted
        assert found['out/aquant'].db > 40
    spoiled = editor.with_values(model, {'w1': stored['w1'] * 2})
    assert by_name(measured(pair_by_names(small_model.graph(False), spoiled)))['w1/wquant'].db < 1


def test_a_loop_around_a_fix_neuron():
    def step(turn, y):
        return turn + 1, ops.fix_neuron(y * 0.9, 1, 1, quantize_pos=5, name='inner')
    with tf.Graph().as_default() as graph:
        x = ops.fix_neuron(tf.placeholder(tf.float32, [None, 4], name='x'), 1, 1, quantize_pos=5, name='x/aquant')
        y = tf.while_loop(lambda turn, _: turn < 3, step, [0, tf.nn.relu(x)], name='loop')[1]
        ops.fix_neuron(tf.nn.relu(y, name='out'), 1, 1, quantize_pos=5, name='out/aquant')
    found = measured(pair_with_itself(graph.as_graph_def()))
    inner, = found.unpaired
    assert 'inner' in inner and 'loop' in found.unpaired[inner]
    errors_of = by_name(found)
    assert set(errors_of) == {'x/aquant', 'out/aquant'}
    assert 15 < errors_of['out/aquant'].db <= errors_of['out/aquant'].alone_db + 1


def test_a_branch_with_weights():
    with tf.Graph().as_default() as graph:
        x = ops.fix_neuron(tf.placeholder(tf.float32, [None, 4], name='x'), 1, 1, quantize_pos=5, name='x/aquant')
        phase = tf.placeholder_with_default(False, [], name='phase')

        def other():
            weights = tf.constant(small_model.VALUES['w1'], name='weights')
            return tf.matmul(x, ops.fix_neuron(weights, 0, 1, quantize_pos=5, name='weights/wquant'))
        y = tf.cond(phase, lambda: x @ np.ones((4, 5), np.float32), other)
        ops.fix_neuron(tf.nn.relu(y, name='out'), 1, 1, quantize_pos=5, name='out/aquant')
    found = by_name(measured(pair_with_itself(graph.as_graph_def())))
    value = small_model.VALUES['w1'].astype(np.float64)
    assert found['cond/weights/wquant'].db == pytest.approx(db(value, np.clip(
        small_model.rounded(value, 5, 0), -128, 127) / 32), abs=1e-3)
    assert found['out/aquant'].alone_db > 20
