"""The page as a file: its content, escaped names, and no requests."""
import html.parser
import json
import math
import re

import pytest
import tensorflow.compat.v1 as tf

from tests.html_report import made_up
from vai_q_tf.html_report import page as page_module
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.page import report_or_log, to_html

_VOID = frozenset(('meta', 'input', 'br', 'link', 'img', 'hr'))


class Page(html.parser.HTMLParser):
    """A parsed page. elements: (tag, attributes). tables: {caption: rows of texts}. scripts: [(attributes, text)]. text: of all
    elements except scripts and styles. headings: (level, text)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.scripts, self.headings, self.text = [], {}, [], [], ''
        self._open, self._table = [], None
        self.feed(text)
        self.close()
        assert not self._open, 'not closed: {}'.format(self._open)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == 'table':
            self._table = {'caption': '', 'rows': []}
        elif tag == 'tr':
            self._table['rows'].append([])
        elif tag in ('td', 'th'):
            self._table['rows'][-1].append('')
        elif tag == 'script':
            self.scripts.append((dict(attrs), ''))
        elif re.fullmatch('h[1-6]', tag):
            self.headings.append((int(tag[1]), ''))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == 'table':
            self.tables[self._table['caption'].strip()] = self._table['rows']

    def handle_data(self, data):
        if 'script' in self._open:
            self.scripts[-1] = self.scripts[-1][0], self.scripts[-1][1] + data
            return
        if 'style' not in self._open:
            self.text += data
        if 'caption' in self._open:
            self._table['caption'] += data
        elif set(self._open) & {'td', 'th'}:
            self._table['rows'][-1][-1] += data
        elif self._open and re.fullmatch('h[1-6]', self._open[-1]):
            self.headings[-1] = self.headings[-1][0], self.headings[-1][1] + data

    def table(self, beginning):
        """The rows below the head of the table whose caption begins so."""
        return next(rows for caption, rows in self.tables.items() if caption.startswith(beginning))[1:]

    def data(self, name):
        """The JSON in a script element."""
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get('id') == name)


@pytest.fixture(scope='module')
def analysis():
    return made_up.analysis_of(made_up.layered_model(9))


@pytest.fixture(scope='module')
def full(analysis):
    return Page(to_html(made_up.full_contents(analysis)))


def test_the_table_of_tensors_has_what_the_analysis_has(full, analysis):
    rows = full.table('{} quantized tensors'.format(len(analysis.tensors)))
    assert len(rows) == len(analysis.tensors) == 28
    for number, (row, tensor) in enumerate(zip(rows, analysis.tensors), 1):
        assert row[:6] == [str(number), tensor.name, tensor.layer, tensor.role, '8', str(tensor.position)]
        assert row[6].replace('−', '-') == '{:.4g}'.format(tensor.low)
        if tensor.saturated < 0.001:
            assert row[8] == ('< 0.1 %' if tensor.saturated else '0 %')
        else:
            assert float(row[8].rstrip(' %')) == pytest.approx(100 * tensor.saturated, rel=0.06)
        assert row[9] == '2.0 %'
        assert row[10] == '{:.1f} dB'.format(tensor.db)
        assert row[11] == ('exact' if math.isinf(tensor.alone_db) else '{:.1f} dB'.format(tensor.alone_db))
    data = full.data('page-data')
    assert data['names'] == [tensor.name for tensor in analysis.tensors]
    assert [tuple(item[2]) for item in data['histograms']] == [tensor.histogram.float_counts for tensor in analysis.tensors]
    assert data['histograms'][0][4:] == [-128 * 2.0**-analysis.tensors[0].position, 127 * 2.0**-analysis.tensors[0].position]


def test_the_summary_is_there(full, analysis):
    assert '1 of 2 convolutions and matmuls are quantized, 2 of 9 ops stay float.' in full.text
    assert full.table('Inputs') == [['images', '−1', '255', '8', '6', '75.0 %']]
    assert full.table('Files') == [['quantized model', '/results/quantize_eval_model.pb']]
    assert 'Warning: 75 % of the input images are out of range.' in full.text
    assert 'Scale the images to [-1, 1].' in full.text
    assert full.table('2 ops that stay float') == [['layersoftmax', 'Softmax', 'an op of this type has no rule'],
                                                   ['layer1/Conv2D', 'Conv2D', 'an op of this type has no rule']]
    assert full.table('Lint findings') == [['layer0/Relu', 'dead-rule', 'Write it otherwise.']]
    assert full.table('Different results on the DPU') == [['layer1/Relu', 'relu6-limit', 'Below position 4 it is not 6.']]
    assert full.table('Accuracy aids') == [['bias correction', '20.5 dB', '23.2 dB', '+2.8 dB', 'kept'],
                                           ['cross-layer equalization', '23.2 dB', '21.0 dB', '−2.2 dB', 'not kept: worse']]
    assert full.table('Not compared') == [['odd/aquant', 'the float graph has no node odd']]


def test_the_training_is_there(full):
    assert full.table('Positions during training') == [
        ['a/aquant', 'only zeros', '5', '3', '30'], ['b/wquant', '7', '7', '0', 'never']]
    assert full.table('Losses') == [
        ['head/loss_1', '0', '2', '3000', 'nan', '2'], ['loss', '0', '3', '2999', '0.001', '0.001']]
    assert '1 of 2 tensors changed their position up to step 3000.' in full.text


def test_the_network_is_there_in_words(full):
    rows = {row[0]: row[1:] for row in full.table('The boxes of the network')}
    assert rows['layer3/Conv2D'][:3] == ['Conv2D + BiasAdd + Relu', 'quantized', '8 bits at 3']
    assert rows['layersoftmax'][:3] == ['Softmax', 'stays float', 'output · float']
    assert len(rows) == 11


def test_the_page_suits_screen_readers(full):
    tags = [tag for tag, _ in full.elements]
    assert dict(full.elements)['html']['lang'] == 'en' and tags.count('main') == tags.count('h1') == 1
    levels = [level for level, _ in full.headings]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:]))
    assert all(caption for caption in full.tables)
    assert all(attributes.get('scope') in ('row', 'col') for tag, attributes in full.elements if tag == 'th')
    ids = [attributes['id'] for _, attributes in full.elements if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in full.elements:
        if attributes.get('role') == 'img':
            assert attributes['aria-label'] and attributes['aria-describedby'] in ids
        for name in ('aria-labelledby', 'aria-describedby'):
            assert name not in attributes or attributes[name] in ids
        if tag == 'a' and not attributes['href'].startswith('#tensor='):
            assert attributes['href'][1:] in ids
    assert tags.index('a') < tags.index('h1') and 'skip' in dict(full.elements[tags.index('a')][1].items())['class']


def test_nothing_is_fetched(full, analysis):
    for tag, attributes in full.elements:
        assert 'src' not in attributes and tag not in ('link', 'iframe', 'object', 'embed', 'base')
        assert attributes.get('href', '#').startswith('#')
    style = re.search('<style>(.*?)</style>', to_html(made_up.full_contents(analysis)), re.DOTALL).group(1)
    assert 'url(' not in style and '@import' not in style
    policy = next(attributes['content'] for tag, attributes in full.elements
                  if attributes.get('http-equiv') == 'Content-Security-Policy')
    assert policy.startswith("default-src 'none'; ") and 'http' not in policy and "'unsafe-eval'" not in policy


def test_names_stay_names():
    name = made_up.NASTY + '\u2028ü' * 150 + '/'
    model = made_up.layered_model(2, name)
    analysis = made_up.analysis_of(model)
    summary = made_up.summary_of(analysis, warnings=(made_up.NASTY,), next_steps=(made_up.NASTY,),
                                 files=((made_up.NASTY, made_up.NASTY),))
    page = Page(to_html(made_up.full_contents(analysis, model)._replace(title=made_up.NASTY, summary=summary)))
    assert len(page.scripts) == 5
    assert [row[1] for row in page.table('7 quantized tensors')] == [tensor.name for tensor in analysis.tensors]
    assert page.data('page-data')['names'] == [tensor.name for tensor in analysis.tensors]
    assert page.table('Files') == [[made_up.NASTY] * 2]
    assert page.text.count('Warning: ' + made_up.NASTY) == 1 and '49' not in page.table('Files')[0][0]
    assert page.headings[0] == (1, made_up.NASTY)
    whole = json.dumps(page.data('plot-data'), ensure_ascii=False)
    assert json.dumps(name + '1/Conv2D', ensure_ascii=False) in whole


def test_sections_without_content_are_left_out():
    bare = ReportContents('Bare', made_up.layered_model(2), ends=(['images'], ['layersoftmax']))
    page = Page(to_html(bare))
    assert [text for level, text in page.headings if level == 2] == [
        'Summary', 'The network', 'Tensors, worst layers first', 'Ops that stay float, and why', 'On the DPU']
    assert 'vai_q_tensorflow report --input_frozen_graph' in page.text
    assert '2 of 2 convolutions and matmuls are quantized, 1 of 8 ops stay float.' in page.text
    assert page.table('1 op that stays float') == [['layersoftmax', 'Softmax', '']]
    assert 'pass the float graph with --float_graph' in page.text and 'Not counted' not in page.text
    page = Page(to_html(bare._replace(reasons={})))
    assert 'pass the float graph' not in page.text and 'such as --ignore_nodes' in page.text
    page = Page(to_html(bare._replace(reasons={'layersoftmax': 'a softmax'})))
    assert page.table('1 op that stays float') == [['layersoftmax', 'Softmax', 'a softmax']]
    assert 'such as --ignore_nodes' not in page.text


def test_ops_after_the_last_quantized_one_do_not_count():
    page = Page(to_html(ReportContents('Bare', made_up.layered_model(2))))
    assert '2 of 2 convolutions and matmuls are quantized, 0 of 7 ops stay float.' in page.text
    assert 'before the input nodes or after the output nodes: layersoftmax (Softmax).' in page.text
    assert 'None: every op' in page.text


def test_weights_alone_say_how_to_get_the_rest(analysis):
    weights = tuple(tensor for tensor in analysis.tensors if tensor.role == 'weight')
    page = Page(to_html(made_up.full_contents(analysis)._replace(
        analysis=analysis._replace(tensors=weights, depth=(), batches=0), summary=None, files=(('model', 'out dir/m.pb'),))))
    assert 'weights and biases only' in page.text and '--input_fn MODULE.FUNCTION' in page.text
    assert "report --input_frozen_graph 'out dir/m.pb' --float_graph" in page.text
    assert 'The error along the depth' not in page.text


def test_a_picture_of_too_many_boxes_is_left_out_in_words(monkeypatch, analysis):
    monkeypatch.setattr(page_module, '_MOST_BOXES', 5)
    page = Page(to_html(made_up.full_contents(analysis)))
    assert 'The picture is left out: the network has 11 boxes' in page.text and 'network' not in page.data('plot-data')
    assert len(page.table('The boxes of the network')) == 11


def test_models_without_a_network():
    page = Page(to_html(ReportContents('Empty', tf.GraphDef())))
    assert 'Nothing in this model is computed from an input' in page.text


def test_an_exception_is_logged(tmp_path, caplog):
    assert report_or_log(str(tmp_path), 'report.html', lambda: 1 / 0) == ''
    assert 'No report report.html: division by zero' in caplog.text and not list(tmp_path.iterdir())
    path = report_or_log(str(tmp_path), 'report.html', lambda: ReportContents('Bare', tf.GraphDef()))
    assert path == str(tmp_path / 'report.html') and (tmp_path / 'report.html').read_text().startswith('<!DOCTYPE html>')
