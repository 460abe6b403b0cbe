"""Configs and results in a notebook: short as text, and as HTML that is well formed, escaped and without scripts."""
import copy
import pickle
import re

import pytest
import tensorflow.compat.v1 as tf

from tests.notebook.test_html import EVIL, Reader
from vai_q_tf.analysis.results import Analysis, Histogram, TensorError
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, InspectedNode
from vai_q_tf.coverage.summary import Coverage
from vai_q_tf.lint.lint import Finding
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor, Skipped
from vai_q_tf.qat.deploy import FrozenFiles
from vai_q_tf.report.bits.results import Sensitivity, TensorCost, WideChoice
from vai_q_tf.report.inspect import InputNode, Inspection, OutputNode
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary

MANY = 200


def _plan():
    tensors = tuple(QuantTensor('layer{}/aquant'.format(n), 'weight' if n % 2 else 'activation', n % 2, 8, 1,
                                'layer{}'.format(n), (('reader', 0),)) for n in range(MANY))
    return QuantPlan(('in',), (EVIL,), (), tensors, (), (Skipped(EVIL, 'Tanh', 'no rule'),))


def _errors():
    return tuple(TensorError('layer{}/aquant'.format(n), EVIL, 'activation', 8, 5, -1.0, 2.5, 0.125, 0.0, 3.0 + n, float('inf'),
                             Histogram(-1.0, 2.5, (3,), (3,)), 1.5)
                 for n in range(MANY))


def _results():
    coverage = Coverage(('conv',) * MANY, ('Conv2D',) * MANY, ('conv',) * (MANY - 1), 300, ((EVIL, ('a',) * 50),))
    return (
        _plan(),
        Inspection((('Conv2D', 3),), (InputNode('image', tf.float32, [-1, 3]), InputNode('other', None, None)),
                   (OutputNode(EVIL, 'Relu'),), ('image',), (EVIL,),
                   tuple(InspectedNode('node{}'.format(n), 'Conv2D', FLOAT, EVIL) for n in range(MANY)), _plan(), (EVIL,)),
        Inspection((('Conv2D', 3),), (), (), (), (), (), None, ()),
        Sensitivity(31.25, 8.0, 4, tuple(
            TensorCost('layer{}/aquant'.format(n), EVIL, 8, 5, 20.5 + n, 0.0) for n in range(MANY)),
                    WideChoice(40.0, True, (EVIL + ':16',), ((EVIL, 16),), 41.0)),
        Analysis(EVIL, 'float.pb', 4, _errors(), (), {EVIL: 'folded'}),
        FrozenFiles('a/eval_graph.pb', EVIL),
        QuantizeSummary((('model', EVIL),), coverage, (InputSummary('in', 0.0, 255.0, 8, 0, 0.5),), _errors(),
                        (AidSummary('bias', 20.0, 25.0, True),), (Finding('rule', EVIL, 'message'),) * MANY, (), (EVIL,),
                        (EVIL,)))


RESULTS = _results()


@pytest.mark.parametrize(
    'result', RESULTS + (QuantizeConfig(input_nodes=[EVIL], weight_bit=4),), ids=lambda result: type(result).__name__)
def test_html(result):
    text = result._repr_html_()
    reader = Reader(text)
    assert set(reader.tags) <= {'div', 'p', 'b', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'details', 'summary', 'ul', 'li'}
    assert {name for name, _ in reader.attrs} <= {'style', 'scope'}  # no handlers, no sources
    assert not re.search('color|background|rgb|#[0-9a-f]{3}', ' '.join(value for _, value in reader.attrs))
    if EVIL in str(tuple(result) if isinstance(result, tuple) else result):
        assert EVIL in ''.join(reader.text)
    assert len(text) < 200000


@pytest.mark.parametrize('result', RESULTS, ids=lambda r: type(r).__name__)
def test_text_is_short_and_the_value_is_whole(result):
    assert len(repr(result)) < 450 and '\n' not in repr(result)
    for copied in (copy.deepcopy(result), pickle.loads(pickle.dumps(result)), type(result)(**result._asdict())):
        assert copied == result and type(copied) is type(result) and hash(type(copied)) == hash(type(result))
    assert result._replace(**{result._fields[0]: 'x'}) != result


def test_text():
    plan, inspection, _, sensitivity, analysis, files, summary = RESULTS
    assert 'QuantPlan from in' in repr(plan) and '200 quantized tensors (100 activation, 100 weight)' in repr(plan)
    assert '1 ops stay float' in repr(plan) and '.to_json()' in repr(plan)
    assert 'inputs (image, other)' in repr(inspection) and '200 of 200 ops stay float' in repr(inspection)
    assert '31.2 dB with all 200' in repr(sensitivity) and 'layer0/aquant (20.5 dB alone)' in repr(sensitivity)
    assert 'layer0/aquant (3.0 dB, inf alone)' in repr(analysis) and 'and 197 more' in repr(analysis)
    assert 'eval_graph.pb' in repr(files)
    assert '199 of 200 convolutions' in repr(summary) and '200 findings' in repr(summary)


def test_tables_have_all_rows_and_fold_most_of_them():
    reader = Reader(RESULTS[4]._repr_html_())
    rows = [row for row in reader.rows if row and row[0].startswith('layer')]
    assert [row[0] for row in rows] == ['layer{}/aquant'.format(n) for n in range(MANY)]
    assert rows[3] == ['layer3/aquant', EVIL, 'activation', '8', '5', '-1', '2.5', '0.125', '0', '6', 'inf', '1.5']
    assert reader.folded >= (MANY - 15) * len(rows[0])


def test_a_summary_shows_warnings_and_next_steps():
    rules = [Finding('refused', 'a', 'm'), Finding('other', 'b', 'm')]
    text = RESULTS[6]._replace(warnings=('odd data',), next_steps=('do this',), findings=rules[:1],
                               differences=rules[1:])._repr_html_()
    assert '<b>Warnings</b></p><ul><li>odd data</li>' in text and '<b>Next</b></p><ul><li>do this</li>' in text
    refused, others = text[text.index('refused by the DPU compiler'):].split('computed differently by the DPU')
    assert '>refused<' in refused and '>other<' in others and '>other<' not in refused


def test_a_config_shows_changed_fields_first():
    config = QuantizeConfig(input_nodes=['a', 'b'], weight_bit=4)
    reader = Reader(config._repr_html_())
    assert reader.rows[:3] == [['field', 'value'], ['input_nodes', "['a', 'b']"], ['weight_bit', '4']]
    assert len(reader.rows) == 2 + len(vars(config)) and ['recipe', "'auto'"] in reader.rows
    assert reader.folded == 2 * (1 + len(vars(config)) - 2)
    assert 'All fields have their defaults.' in QuantizeConfig()._repr_html_()
