"""Finetuning of weights: it improves, on its data and on fresh data; it never makes outputs worse; nothing else changes."""
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.ptq.finetuning import Case, Net, batch, constants, mobile, plain
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export import finalize
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq import fast_finetune
from vai_q_tf.ptq.calibration.calibrate import calibrate
from vai_q_tf.ptq.fast_finetune import FinetuneSettings, finetune
from vai_q_tf.ptq.finetune_blocks import Block


def other_than_values(graph_def):
    """The graph without the values of its float constants."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        if node.op == 'Const' and node.attr['dtype'].type == tf.float32.as_datatype_enum:
            shape = node.attr['value'].tensor.tensor_shape
            kept = tf.TensorShape(shape)
            node.attr['value'].tensor.Clear()
            node.attr['value'].tensor.tensor_shape.CopyFrom(kept.as_proto())
    return result


@pytest.mark.parametrize('mode, build', each_value_once([0, 1], [plain, mobile]))
def test_error_falls_on_the_batches_and_on_others(build, mode):
    case = Case(build)
    case.batches = [batch(seed, 16) for seed in range(12)]
    tuned = case.finetune(mode=mode, epochs=4, lr=2e-3)
    held_out = [batch(seed) for seed in range(100, 104)]
    assert case.error(tuned, case.batches) < 0.6 * case.error(case.eval_graph, case.batches)
    assert case.error(tuned, held_out) < 0.6 * case.error(case.eval_graph, held_out)


def test_only_values_of_weights_and_biases_change():
    case = Case(plain)
    before = case.eval_graph.SerializeToString(deterministic=True)
    tuned = case.finetune(lr=2e-3)
    assert case.eval_graph.SerializeToString(deterministic=True) == before
    assert list(other_than_values(tuned).node) == list(other_than_values(case.eval_graph).node)
    assert set() < case.changed(tuned) <= {'c1/w', 'c1/b', 'c2/w', 'c2/b', 'c3/w', 'c3/b', 'fc/w', 'fc/b'}


@pytest.mark.parametrize('mode, build', each_value_once([0, 1], [mobile, plain]))
def test_an_absurd_learning_rate_is_harmless(build, mode):
    """Adam moves every weight by 0.1 in each step, which is the size of the weights."""
    case = Case(build)
    tuned = case.finetune(mode=mode, epochs=2, lr=1e9)
    assert case.error(tuned, case.batches) <= case.error(case.eval_graph, case.batches)


def test_a_network_that_is_exact_stays_as_it_is():
    case = Case(plain, weight_bit=24)
    for tensor in case.plan.tensors:
        node = next(node for node in case.eval_graph.node if node.name == tensor.name)
        node.attr['bit_width'].i, node.attr['quantize_pos'].i = 24, 16
    tuned = case.finetune(lr=1.0)
    assert list(tuned.node) == list(case.eval_graph.node)


class FakeNetwork:
    """Blocks with one number each; training moves all of them from 0 to 1.

    losses: from the numbers to the loss of each block. error: from the numbers to the error of the network.
    """

    def __init__(self, count, losses, error):
        self.values = {'w{}'.format(number): np.float32(0) for number in range(count)}
        self.blocks = [Block(name, (name,), '', '') for name in self.values]
        self._losses, self._error = losses, error
        self.current = dict(self.values)
        self.passes, self.untrainable = 0, {}

    def train(self, batches, numbers, rates):
        self.current.update(('w{}'.format(number), np.float32(1)) for number in numbers)
        return {}

    def read(self, names):
        return {name: self.current[name] for name in names}

    def load(self, values):
        self.current.update(values)

    def restart(self, numbers):
        pass

    def measure(self, batches):
        self.passes += 1
        numbers = np.array([self.current['w{}'.format(number)] for number in range(len(self.current))], np.float64)
        return np.asarray(self._losses(numbers), np.float64), float(self._error(numbers))

    def measure_each(self, batches):
        losses, error = self.measure(batches)
        return [(losses, np.array([[error], [1.]]))]


@pytest.mark.parametrize('count', [1, 7, 64])
@pytest.mark.parametrize('losses, error, kept', [
    (lambda w: 2 - w, lambda w: 1 - w.sum(), 'all'),
    (lambda w: 2 + w, lambda w: 1 - w.sum(), 'none'),
    (lambda w: 2 - w, lambda w: 1 + w.sum(), 'none'),
    (lambda w: np.where(w, np.nan, 2), lambda w: 1.0, 'none'),
    (lambda w: 2 - w, lambda w: np.nan if w.any() else 1.0, 'none'),
    # Block 0 improves most; the last one spoils the outputs.
    (lambda w: 2 - w / (1 + np.arange(len(w))), lambda w: 1 - w[0] + 2 * w[-1], 'some'),
    # Each block that moves spoils later ones, so restoring one changes the verdict on others.
    (lambda w: 2 - w + 1.5 * np.concatenate([[0], np.cumsum(w)[:-1]]), lambda w: 1 - w.sum(), 'some')])
def test_only_what_helps_the_block_and_the_network_is_kept(count, losses, error, kept):
    network = FakeNetwork(count, losses, error)
    run = fast_finetune._Finetuning(network, network.blocks, lambda text: [], lambda block, loss: 1e-3, lambda values: 0.0)
    before = network.measure([])
    passes = network.passes
    run.run_epoch('')
    assert network.passes - passes <= 3 + np.log2(count)
    after = network.measure([])
    moved = [number for number in range(count) if network.current['w{}'.format(number)]]
    assert after[1] <= before[1] and all(after[0][number] < before[0][number] for number in moved)
    assert set(run.changed()) == {'w{}'.format(number) for number in moved}
    if kept != 'some':
        assert len(moved) == (count if kept == 'all' else 0)
    elif count > 1:
        assert 0 < len(moved) < count


@pytest.mark.parametrize('unseen, kept', [
    (lambda w: 1 - w.sum(), (8, 8)), (lambda w: 1.0, (8, 8)), (lambda w: 1 + w.sum(), (0, 0)),
    (lambda w: np.nan if w.any() else 1.0, (0, 0)),
    # The last block improves least and spoils the outputs. The worse half is rejected; half of that stays in the next epoch.
    (lambda w: 1 - w[0] + 2 * w[-1], (4, 6))])
def test_weights_that_raise_the_error_on_unseen_data_are_not_kept(unseen, kept):
    network = FakeNetwork(8, lambda w: 2 - w / (1 + np.arange(8)), lambda w: 1 - w.sum())
    run = fast_finetune._Finetuning(network, network.blocks, lambda text: [], lambda block, loss: 1e-3, lambda values: unseen(
        np.array([values[name] for name in sorted(values)], np.float64)))
    for count in kept:
        run.run_epoch('')
        assert len(run.changed()) == count
        assert all(bool(network.current[name]) == (name in run.changed()) for name in network.values)


def test_the_rate_is_a_hundredth_of_the_step_of_the_weights(monkeypatch):
    seen = []
    monkeypatch.setattr(fast_finetune.FinetuneNetwork, 'train', lambda self, batches, numbers, rates: seen.append(rates.copy()))
    case = Case(plain)
    positions = {'c1/w': 2, 'c2/w': 5, 'c3/w': -1, 'fc/w': 0}
    names = {tensor.tensor: tensor.name for tensor in case.plan.tensors}
    for node in case.eval_graph.node:
        for weights, position in positions.items():
            if node.name == names[weights]:
                node.attr['quantize_pos'].i = position
    case.finetune()
    np.testing.assert_allclose(seen, [[0.01 / 4, 0.01 / 32, 0.01 * 2, 0.01]])


def chain(length, seed=2):
    net = Net(seed)
    y = net.x
    for number in range(length):
        y = net.conv(y, 4, 'c{}'.format(number))
    return y


def test_a_function_gives_the_batches_one_at_a_time(monkeypatch):
    case = Case(plain)
    asked, shown = [], []

    def feeds(step):
        asked.append(step)
        return case.batches[step]

    def progress(batches, count, text):
        shown.append((count, text))
        return batches

    monkeypatch.setattr(fast_finetune, 'progress', progress)
    tuned = case.finetune(feeds, steps=4, lr=1e-3)
    monkeypatch.undo()
    assert tuned == case.finetune(lr=1e-3)
    assert asked == list(range(4)) * (len(asked) // 4) and len(shown) == len(asked) // 4 >= 3
    assert all(count == 4 for count, _ in shown) and len({text for _, text in shown}) == 3


def test_the_high_rate_of_high_losses_and_its_limits(monkeypatch):
    case = Case(plain)
    seen = []

    def train(self, batches, numbers, rates):
        seen.append(np.array(rates))
    monkeypatch.setattr(fast_finetune.FinetuneNetwork, 'train', train)
    monkeypatch.setattr(fast_finetune.FinetuneNetwork, 'measure',
                        lambda self, batches: (np.array([2.9, 3.1, 3.0, 100.0]), 1.0))
    monkeypatch.setattr(fast_finetune.FinetuneNetwork, 'measure_each',
                        lambda self, batches: [(np.array([2.9, 3.1, 3.0, 100.0]), np.ones([2, 1]))])
    for lr, coefficient in ((1e-3, 5.0), (1e-11, 1.0), (0.05, 100.0)):
        case.finetune(lr=lr, lrcoef=coefficient)
    np.testing.assert_allclose(seen, [[1e-3, 5e-3, 1e-3, 5e-3], [1e-10] * 4, [0.05, 0.1, 0.05, 0.1]])


def test_a_block_whose_loss_is_not_finite_is_not_trained():
    def build():
        net = Net(4)
        y = net.conv(net.x, 4, 'c1')
        broken = tf.nn.conv2d(y, tf.constant(np.full([1, 1, 4, 4], 1e38), tf.float32, name='huge/w'), padding='SAME',
                              name='huge')
        net.conv(y, 4, 'out1')
        tf.identity(tf.nn.relu(broken, name='huge/relu'), name='other')

    case = Case(build, outputs=['out1/relu', 'huge/relu'])
    tuned = case.finetune(epochs=3, lr=1e-3)
    assert all(np.isfinite(value).all() for value in constants(tuned).values())
    np.testing.assert_array_equal(constants(tuned)['huge/w'], constants(case.eval_graph)['huge/w'])


@pytest.mark.parametrize('options', [{'mode': 2}, {'epochs': 0}, {'lr': 0.0}, {'lr': float('nan')}, {'lrcoef': -1.0}])
def test_settings_out_of_range(options):
    with pytest.raises(QuantizeError, match='fast_ft_' + list(options)[0]):
        Case(plain).finetune(**options)


@pytest.mark.slow
def test_time_is_linear_in_the_number_of_blocks():
    def seconds(length):
        case = Case(lambda: chain(length))
        times = []
        for _ in range(2):
            start = time.process_time()
            case.finetune(case.batches * 8, lr=1e-4)
            times.append(time.process_time() - start)
        return min(times)

    ratio = seconds(40) / seconds(10)
    print('40 blocks against 10: {:.2f} times'.format(ratio))
    assert ratio < 8


def _with_division(feeds):
    """(float graph, quantized graph, plan) of a network that divides by its input `d` before its second convolution."""
    with tf.Graph().as_default() as graph:
        net, d = Net(), tf.placeholder(tf.float32, [], 'd')
        net.dense(tf.minimum(net.conv(net.conv(net.x, 8, 'c1') / d, 8, 'c2'), 1e6), 4, 'fc')
        float_graph = graph.as_graph_def()
    config = QuantizeConfig(['x', 'd'], ['fc/add'], weight_bit=4, calib_iter=len(feeds))
    plan = annotate(GraphView(float_graph), config)
    found = calibrate(float_graph, plan, config, feeds.__getitem__)
    positions = final_positions.decide(plan, found.observed, config)
    return float_graph, finalize.finalize(float_graph, plan, positions, {}), plan


@pytest.mark.parametrize('bad', [(), (0,), (2, 3)], ids=str)
def test_a_batch_with_nan_is_left_out_with_a_warning(caplog, bad):
    feeds = [dict(batch(step) if step not in bad else {'x:0': 0 * batch(step)['x:0']}, **{'d:0': np.float32(step not in bad)})
             for step in range(4)]
    float_graph, quantized, plan = _with_division(feeds)
    caplog.clear()
    tuned = finetune(float_graph, quantized, plan, feeds.__getitem__, 4, FinetuneSettings(epochs=2)).graph
    said = [record.getMessage() for record in caplog.records if 'leaves out' in record.getMessage()]
    assert bool(said) == bool(bad)
    if bad:
        assert "leaves out {} of 4 batches, the first of them in step {}: 'c2' is NaN".format(len(bad), bad[0]) in said[0]
    finite = [feed for step, feed in enumerate(feeds) if step not in bad]
    alone = finetune(float_graph, quantized, plan, finite.__getitem__, len(finite), FinetuneSettings(epochs=2)).graph
    assert tuned == alone != quantized


def test_nothing_is_left_out_if_every_batch_has_nan(caplog):
    feeds = [dict(batch(step), **{'d:0': np.float32(0)}) for step in range(2)]
    float_graph, quantized, plan = _with_division(feeds)
    tuned = finetune(float_graph, quantized, plan, feeds.__getitem__, 2, FinetuneSettings()).graph
    assert 'leaves out' not in caplog.text
    for node in tuned.node:
        if node.op == 'Const' and node.attr['dtype'].type == tf.float32.as_datatype_enum:
            assert np.isfinite(tf.make_ndarray(node.attr['value'].tensor)).all()
