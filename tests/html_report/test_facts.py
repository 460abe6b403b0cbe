"""The facts of a model without the summary of its run."""
import math

from tests.html_report import made_up
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.facts import find_facts
from vai_q_tf.html_report.network import find_network
from vai_q_tf.lint.lint import differences, lint


def facts(model, **fields):
    return find_facts(ReportContents('title', model, **fields), find_network(model))


def test_a_model_alone():
    model = editor.subgraph(made_up.layered_model(2), [
        node for node in made_up.layered_model(2).node] + [
            made_up.node('Placeholder', 'float_input'), made_up.node('Split', 'split', 'layer1/Relu/aquant')])
    found = facts(model)
    assert found.heavy == '2 of 2' and 'float_input' not in [name for name, _, _ in found.floats]
    for rows, expected in ((found.findings, lint(model)), (found.differences, differences(model))):
        assert rows == [(one.node or 'the graph', one.rule, one.message) for one in expected]
    assert found.findings


def test_how_much_of_the_heavy_ops():
    analysis = made_up.analysis_of(made_up.layered_model(2))
    assert facts(made_up.layered_model(2), summary=made_up.summary_of(analysis)).heavy == '1 of 2'


def test_losses():
    rows = facts(made_up.layered_model(1), losses={
        'b': [(0, math.nan), (5, 2.5), (9, 3.0)], 'a': [(0, math.nan)], 'none': []}).losses
    assert rows == [('a', '0', 'nan', '0', 'nan', 'nan'), ('b', '0', 'nan', '9', '3', '2.5')]
