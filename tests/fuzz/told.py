"""Checks of the reports about a quantized network: summary, analysis, comparison and HTML."""
import html.parser
import json
import os

import numpy as np
import tensorflow.compat.v1 as tf

from tests.fuzz.damage import models
from tests.support import run
from vai_q_tf.analysis import analysis_text
from vai_q_tf.analysis.analyze import analyze
from vai_q_tf.comparison import compare_text
from vai_q_tf.comparison.compare import compare
from vai_q_tf.frozen.training_data import first_norms
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.html_report.page import REPORT_FILE
from vai_q_tf.passes import optimise
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.summary.text import SUMMARY_FILE, to_text

SETTINGS = {
    'effort': ('fast', 'standard', 'standard', 'high'), 'keep_float_weight': (1, 0), 'fix_input_shape': (0, 1),
    'add_shapes': (1, 0), 'fold_constant': (1, 0), 'include_fast_ft': (0, 0, 1)}
FIELDS = {
    'weight_bit': (8, 8, 16, 4, 24), 'activation_bit': (8, 8, 16, 4, 24), 'do_cle': (0, 1), 'replace_softmax': (0, 1),
    'replace_sigmoid': (0, 1), 'simulate_dpu': (1, 0), 'positions_by': ('votes', 'mse', 'percentile', 'entropy')}


def check(case, choices, directory, begin):
    """Quantizes a Case with random choices and checks all reports about it."""
    settings, fields = ({name: choices.choice(values) for name, values in table.items() if choices.random() < .3}
                        for table in (SETTINGS, FIELDS))
    config = case.config(output_dir=directory, **fields)
    case.graph_def = with_statistics(case.graph_def, config, case.feed)
    begin('summary {} {}'.format(settings, fields))
    result = quantize_frozen(case.graph_def, case.feed, config, report=1, **settings)
    _check_summary(result, directory, case)
    check_page(os.path.join(directory, REPORT_FILE))
    begin('analyze')
    check_analysis(case, result, config.replace(output_dir=os.path.join(directory, 'told')),
                   choices.choice((case.graph_def, None)))
    begin('compare')
    check_comparison(result, case.feed, choices)


def with_statistics(graph_def, config, feed):
    """The graph with the mean and variance of their inputs in the first batch norms, as after a training."""
    graph_range = GraphRange(GraphView(graph_def), config.input_nodes, config.output_nodes)
    result, values = tf.GraphDef.FromString(graph_def.SerializeToString()), {}
    for norm in first_norms(graph_range):
        sources = [node_name(graph_range.view.skip_identity(tensor)) for tensor in (norm.mean, norm.variance)]
        if any(graph_range.view.op(name) != 'Const' for name in sources):
            continue
        seen = np.concatenate([run(graph_def, [norm.input], feed(step))[0] for step in range(20, 24)])
        for name, value in zip(sources, (seen.mean(tuple(range(seen.ndim - 1))), seen.var(tuple(range(seen.ndim - 1))))):
            values[name] = value.reshape(graph_range.view.value(name).shape)
    for node in result.node:
        if node.name in values:
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(values[node.name].astype(np.float32)))
    return result


def _check_summary(result, directory, case):
    with open(os.path.join(directory, SUMMARY_FILE), encoding='utf-8') as file:
        told = json.load(file, parse_constant=_no_json)
    assert all(map(os.path.isfile, told['files'].values())), told['files']
    assert 'report' in told['files'] and to_text(result.summary) and repr(result.summary) and result.summary._repr_html_()
    assert max(map(len, to_text(result.summary).splitlines())) < 400
    for one in told['inputs']:
        name = one['name'].partition(':')[0]
        values = [case.feed(step)[name] for step in range(2)]
        assert one['low'] == np.min(values) and one['high'] == np.max(values), one
    assert not [text for text in told['warnings'] if 'data of the training' in text], told['warnings']


def _no_json(text):
    raise AssertionError('{} is no JSON'.format(text))


def check_analysis(case, path, config, float_graph):
    """Checks the analysis of a model, with its float graph or without (None), against two plain runs."""
    found = analyze(path, case.feed, float_graph, config, analyze_iter=1)
    json.loads(analysis_text.to_json(found), parse_constant=_no_json)
    assert analysis_text.to_text(found, True) and found._repr_html_() and repr(found)
    model = models.read_graph(path)
    by_name = {tensor.name: tensor for tensor in found.tensors}
    assert len(by_name) == len(found.tensors) and not set(by_name) & set(found.unpaired)
    assert set(by_name) | set(found.unpaired) == {node.name for node in model.node if node.op == 'FixNeuron'}
    assert set(found.depth) <= set(by_name)
    for tensor in found.tensors:
        assert 0 <= tensor.saturated <= 1 and 0 <= tensor.zeroed <= 1 and tensor.low <= tensor.high, tensor
        assert tensor.loss_db >= 0 and not np.isnan([tensor.db, tensor.alone_db]).any(), tensor
        counts = [sum(values) for values in tensor.histogram[2:]]
        assert counts[0] == counts[1] > 0, tensor
    if float_graph is None:
        _check_unquantized(model, by_name, case)
    else:
        _check_outputs(model, by_name, case, optimise(float_graph, config))


def _check_outputs(model, by_name, case, reference):
    """The error of an output is that of the model against the float network after the passes."""
    for name in case.outputs:
        told = by_name.get(name + '/aquant')
        if told is None:
            continue
        expected, result = run(reference, [name], case.feed(0)) + run(model, [name + '/aquant'], case.feed(0))
        _assert_decibels(told, expected, result)


def _check_unquantized(model, by_name, case):
    """The errors of the activations of a model agree with two plain runs."""
    view = GraphView(model)
    bare = tf.GraphDef.FromString(model.SerializeToString())
    for node in bare.node:
        if node.op == 'FixNeuron':
            node.op = 'Identity'
            attrs = {key: node.attr[key].type for key in node.attr if key == 'T'}
            node.attr.clear()
            node.attr['T'].type = attrs.get('T', tf.float32.as_datatype_enum)
    names = [name for name, tensor in by_name.items() if tensor.role in ('input', 'activation') and name in view]
    for name, expected, result in zip(names, run(bare, names, case.feed(0)), run(model, names, case.feed(0))):
        _assert_decibels(by_name[name], expected, result)
        assert np.isclose(by_name[name].low, expected.min()) and np.isclose(by_name[name].high, expected.max()), name


def _assert_decibels(told, expected, result):
    expected, result = np.float64(expected), np.float64(result)
    energy, noise = np.square(expected).sum(), np.square(expected - result).sum()
    if noise < 1e-30 * energy or not energy > 1e-30:
        return
    assert abs(told.db - 10 * np.log10(energy / noise)) < .05, (told, 10 * np.log10(energy / noise))


def check_comparison(path, input_fn, choices):
    """A model is equal to itself; one with another position of a tensor differs there first."""
    found = compare(path, path, input_fn)
    assert found.first is None and not found.only_a and not found.only_b and found.tensors, found.first
    compare_text.to_text(found), json.loads(compare_text.to_json(found), parse_constant=_no_json)
    model, spoiled = models.read_graph(path), models.read_graph(path)
    node = choices.choice([node for node in spoiled.node if node.op == 'FixNeuron'])
    position = node.attr['quantize_pos'].i
    node.attr['quantize_pos'].i += choices.choice((-9, -2, 4))
    found = compare(path, spoiled, input_fn)
    compare_text.to_text(found), json.loads(compare_text.to_json(found), parse_constant=_no_json)
    values = [np.float64(run(graph, [node.name], input_fn(0))[0]) for graph in (model, spoiled)]
    if np.array_equal(*values):  # as those of a dead relu are
        assert found.first is None and any(node.name in text for text in found.notes), (found.first, found.notes, node.name)
    else:
        assert found.first and found.first.name == node.name, (found.first, node.name)
        steps = np.abs(values[0] - values[1]).max() * 2.0**position
        assert position > 126 or np.isclose(found.first.greatest, steps), (found.first, steps)


def check_page(path):
    """A report can be parsed, and so can its data."""
    parser = _Page()
    with open(path, encoding='utf-8') as file:
        parser.feed(file.read())
    parser.close()
    assert not parser.open and len(parser.data) == 2, (parser.open, len(parser.data))
    for text in parser.data:
        json.loads(text, parse_constant=_no_json)


class _Page(html.parser.HTMLParser):
    """open: unclosed elements; data: the texts of its JSON."""

    def __init__(self):
        super().__init__()
        self.open, self.data = [], []

    def handle_starttag(self, tag, attrs):
        if tag in ('meta', 'input', 'br', 'link', 'img', 'hr'):
            return
        self.open.append(tag)
        if dict(attrs).get('type') == 'application/json':
            self.data.append('')

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (self.open, tag)
        self.open.pop()

    def handle_data(self, text):
        if self.open and self.open[-1] == 'script' and self.data and self.get_starttag_text().find('json') >= 0:
            self.data[-1] += text
