"""The command report, and quantize with --report."""
import json
import re
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import small_network
from tests.support import read_graph
from vai_q_tf.commands import report
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.lint.lint import lint


def _page(path):
    """The text of a report, the names of its tensors, and the names of its plots."""
    text = path.read_text()
    data, plots = (json.loads(re.search('id="{}">(.*?)</script>'.format(name), text).group(1))
                   for name in ('page-data', 'plot-data'))
    return text, data['names'], set(plots)


@pytest.fixture
def quantized(command, workplace):
    """The folder of a model quantized with --report."""
    status, _, stderr = command('quantize', '--report', input_frozen_graph='float.pb', input_nodes='input', output_nodes='relu',
                                input_fn='calib_module.calib', calib_iter=2, effort='fast', output_dir='results')
    assert not status, stderr
    assert 'results/quantize_report.html' in stderr
    return workplace / 'results'


def test_quantize_writes_it_and_removes_an_old_one(quantized, command):
    text, names, plots = _page(quantized / 'quantize_report.html')
    assert plots == {'network', 'histogram', 'depth'}
    assert sorted(names) == ['bias/wquant', 'input/aquant', 'relu/aquant', 'weights/wquant']
    assert '1 of 1 convolutions and matmuls are quantized, 0 of 4 ops stay float.' in text
    assert '<th scope="row">input</th>' in text
    status, _, _ = command('quantize', input_frozen_graph='float.pb', input_nodes='input', output_nodes='relu',
                           input_fn='calib_module.calib', calib_iter=1, effort='fast', output_dir='results')
    assert not status and not (quantized / 'quantize_report.html').exists()


def test_report_with_and_without_data_and_float_graph(quantized, command):
    model = str(quantized / 'quantize_eval_model.pb')
    path = quantized / 'quantize_eval_model_report.html'
    status, stdout, stderr = command('report', input_frozen_graph=model, float_graph='float.pb', input_nodes='input',
                                     output_nodes='relu', input_fn='calib_module.calib', output_dir='results')
    assert not status, stderr
    assert stdout == 'The report is results/quantize_eval_model_report.html\n'
    text, names, plots = _page(path)
    assert len(names) == 4 and plots == {'network', 'histogram', 'depth'} and 'float.pb' in text
    assert not command('report', input_frozen_graph=model, output_dir='results')[0]
    text, names, plots = _page(path)
    assert sorted(names) == ['bias/wquant', 'weights/wquant'] and plots == {'network', 'histogram'}
    assert 'weights and biases only' in text


@pytest.mark.parametrize('has_shapes', [True, False])
def test_shapes_in_the_model_count_for_lint(quantized, command, has_shapes):
    """An op that the compiler does not know needs a shape. `report` and `lint` of the file have to agree."""
    graph_def = read_graph((quantized / 'quantize_eval_model.pb'))
    last = graph_def.node.add(name='last', op='Tanh', input=['relu/aquant'])
    last.attr['T'].type = tf.float32.as_datatype_enum
    if has_shapes:
        last.attr['_output_shapes'].list.shape.add().CopyFrom(tf.TensorShape([None, 8, 8, 4]).as_proto())
    (quantized / 'm.pb').write_bytes(graph_def.SerializeToString())
    assert not command('report', input_frozen_graph=str(quantized / 'm.pb'), output_dir='results')[0]
    found = {finding.rule for finding in lint(graph_def)}
    assert ('shape-of-unknown-op' in found) == ('shape-of-unknown-op' in (quantized / 'm_report.html').read_text()) == (
        not has_shapes)


def test_errors_come_before_anything_is_written(command, workplace, monkeypatch):
    status, _, stderr = command('report', input_frozen_graph='float.pb')
    assert status and 'Quantize_TF1_Not_Quantized' in stderr
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    status, _, stderr = command('report', input_frozen_graph='float.pb')
    assert status and "pip install 'vai_q_tf[report]'" in stderr
    status, _, stderr = command('quantize', '--report', input_frozen_graph='float.pb', input_nodes='input', output_nodes='relu',
                                input_fn='calib_module.calib', output_dir='results')
    assert status and "pip install 'vai_q_tf[report]'" in stderr and not (workplace / 'results').exists()


@pytest.fixture
def with_softmax(quantized, workplace):
    """(float graph, model): small_network and its model with a Softmax after the output node; also in softmax.pb and m.pb."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(small_network(), name='')
        tf.nn.softmax(graph.get_tensor_by_name('relu:0'), name='softmax')
    model = read_graph(quantized / 'quantize_eval_model.pb')
    last = model.node.add(name='softmax', op='Softmax', input=['relu/aquant'])
    last.attr['T'].type = tf.float32.as_datatype_enum
    for name, graph_def in (('softmax.pb', graph.as_graph_def()), ('m.pb', model)):
        (workplace / name).write_bytes(graph_def.SerializeToString())
    return graph.as_graph_def(), model


def test_reasons_are_those_of_the_float_graph(with_softmax):
    config = QuantizeConfig(input_nodes=['input'], output_nodes=['softmax'])
    found = report._reasons(*with_softmax, config)
    assert list(found) == ['softmax'] and found['softmax']
    assert report._reasons(*with_softmax, config.replace(output_nodes=['missing'])) == {}
    assert report._reasons(*with_softmax, QuantizeConfig()) == found, 'one of the ranges ends at the end of the model'


@pytest.mark.parametrize('has_range', [True, False])
def test_ops_after_the_output_nodes_do_not_count(with_softmax, command, workplace, has_range):
    ends = dict(input_nodes='input', output_nodes='softmax') if has_range else {}
    status, _, stderr = command('report', input_frozen_graph='m.pb', float_graph='softmax.pb', output_dir='.', **ends)
    assert not status, stderr
    text = (workplace / 'm_report.html').read_text()
    assert '{} ops stay float.'.format('1 of 5' if has_range else '0 of 4') in text
    assert ('after the output nodes: softmax (Softmax).' in text) != has_range
    assert ('<th scope="row">softmax</th><td>Softmax</td><td>a softmax is computed in float' in text) == has_range
    assert 'such as --ignore_nodes' not in text
