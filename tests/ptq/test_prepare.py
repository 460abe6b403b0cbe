"""prepare: checks of the user's graph, data and directory, and the feeds of the prepared network."""
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.ptq import networks
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq.prepare import prepare


def _config(output_dir, output='logits/BiasAdd', **fields):
    return QuantizeConfig(['input'], [output], [[-1, networks.SIZE, networks.SIZE, 3]], output_dir=str(output_dir), **fields)


class _Counted:
    """The batches of `networks`, which notes the steps."""

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        self.steps.append(step)
        return networks.batches(step)


@pytest.mark.parametrize('skip_check', [0, 1])
def test_each_step_is_fed_once(tmp_path, skip_check):
    """The first batch, on which the float graph runs, is fed again without another call."""
    input_fn = _Counted()
    prepared = prepare(networks.branches()[0], input_fn, _config(tmp_path), skip_check)
    assert input_fn.steps == [0][skip_check:]
    for step in range(3):
        np.testing.assert_array_equal(prepared.feed(step)['input:0'], networks.batches(step)['input'])
    assert input_fn.steps == [0, 1, 2]


def test_placeholders_that_the_passes_drop_are_not_fed(tmp_path):
    def build():
        phase = tf.placeholder_with_default(False, [], name='phase')
        y = tf.nn.relu(folded_networks.fused(folded_networks.conv()))
        y = tf.nn.dropout(y, keep_prob=tf.placeholder(tf.float32, [], name='keep'))
        tf.nn.relu6(tf.cond(phase, lambda: y * 2.0, lambda: y), name='out')
    config = folded_networks.settings(output_dir=str(tmp_path))
    images = np.random.RandomState(0).rand(1, 6, 6, 3)
    prepared = prepare(folded_networks.graph_of(build), lambda step: {'x': images, 'phase': False, 'keep': 1.0}, config)
    assert set(prepared.feed(0)) == {'x:0'} and prepared.names[0] == 'phase/input'
    assert [node.name for node in prepared.graph_def.node if node.op.startswith('Placeholder')] == ['x']


@pytest.mark.parametrize('effort, do_cle, count', [('fast', 1, 1), ('standard', 0, 1), ('standard', 1, 2)])
def test_both_networks_if_a_judge_chooses(tmp_path, effort, do_cle, count):
    prepared = prepare(networks.branches()[0], networks.batches, _config(tmp_path, do_cle=do_cle), effort=effort)
    assert len(prepared.networks) == count and prepared.plan is prepared.networks[0].plan
    assert prepared.graph_def == prepare(networks.branches()[0], networks.batches, _config(
        tmp_path, do_cle=do_cle if effort == 'fast' else 0)).graph_def


def test_an_output_node_that_is_not_in_the_graph(tmp_path):
    with pytest.raises(errors.QuantizeError, match="'logits/BiassAdd' of output_nodes.*mean 'logits/BiasAdd'") as caught:
        prepare(networks.branches()[0], networks.batches, _config(tmp_path, 'logits/BiassAdd'))
    assert caught.value.code == errors.UNKNOWN_NODE


def test_a_directory_that_cannot_be_made_fails_before_any_data_are_read(tmp_path):
    (tmp_path / 'out').write_text('a file')
    input_fn = _Counted()
    with pytest.raises(errors.QuantizeError, match='output_dir'):
        prepare(networks.branches()[0], input_fn, _config(tmp_path / 'out'))
    assert input_fn.steps == []


def test_a_float_graph_that_does_not_run_names_the_node(tmp_path):
    net = networks.Network()
    net.apply(tf.reshape, net.conv(net.input, 4, 'conv'), [-1, 7], name='wrong')
    with pytest.raises(errors.QuantizeError, match="first batch .*'wrong'"):
        prepare(net.graph_def(), networks.batches, _config(tmp_path, 'wrong'))


def test_an_input_function_may_change_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def input_fn(step):
        os.chdir('/')
        return networks.batches(step)

    assert prepare(networks.branches()[0], input_fn, _config('out')).directory == str(tmp_path / 'out')
    assert (tmp_path / 'out').is_dir() and os.getcwd() == '/'
