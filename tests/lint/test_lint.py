"""lint on graphs that obey all rules, on large ones, and on nonsense; and how findings are reported."""
import pytest
import tensorflow as tf

from tests.lint.graphs import fix, graph, node, placeholder
from tests.lint.obeying import INPUT, OBEYING, network
from vai_q_tf import QuantizeError, errors
from vai_q_tf.lint import form_rules, node_rules, position_rules, weight_rules
from vai_q_tf.lint.lint import RULES, lint, report


@pytest.mark.parametrize('what', sorted(OBEYING))
def test_no_finding_on_an_obeying_graph(what):
    assert lint(OBEYING[what]) == []


def test_lint_has_the_rules_about_what_the_compiler_reads():
    rooms = [node_rules.RULES, weight_rules.RULES, form_rules.RULES, position_rules.RULES]
    assert set(RULES) == set().union(*rooms) and len(RULES) == sum(map(len, rooms))


def test_missing_inputs_are_findings_and_not_exceptions():
    findings = lint(graph(node('c', 'Conv2D', 'gone', 'gone/w'), node('b', 'BiasAdd'), node('s', 'Split'),
                          node('cat', 'ConcatV2'), fix('f', 'gone')))
    assert {(finding.rule, finding.node) for finding in findings} == {
        ('no-split', 's'),
        ('quantized-weights', 'c'), ('quantized-bias', 'b'), ('bias-behind-weighted-op', 'b'),
        ('shape-before-split', 's'), ('constant-parameters', 'cat')}


def test_a_large_network_obeys():
    large = network(200)
    assert len(large.node) > 2000
    assert lint(large) == []


def test_all_breaches_of_a_large_network_are_found_in_graph_order():
    large = network(50)
    for changed in large.node:
        if changed.op == 'FixNeuron' and changed.name.endswith('/relu/aquant'):
            changed.attr['phase'].i = 2
    findings = lint(large)
    assert [finding.node for finding in findings] == ['stem/relu/aquant'] + [
        'block{}/relu/aquant'.format(index) for index in range(50)]
    assert {finding.rule for finding in findings} == {'fix-neuron-attrs'}


@pytest.mark.parametrize('strict', [False, True])
def test_a_report_is_a_warning_or_an_error(monkeypatch, strict):
    warnings = []
    monkeypatch.setattr(tf.compat.v1.logging, 'warning', lambda text, *values: warnings.append(text % values))
    assert report(graph(INPUT), strict) == [] and not warnings
    broken = graph(placeholder('in', None, 4, 4, 2), fix('in/aquant', 'in'), node('same', 'Relu', 'in/aquant', '^in'))
    assert lint(broken)
    if strict:
        with pytest.raises(QuantizeError, match='was not written: .*same') as raised:
            report(broken, strict)
        assert raised.value.code == errors.COMPILER_RULES and not warnings
    else:
        assert report(broken, strict) == lint(broken)
        text, = warnings
        assert text.splitlines() == ['The DPU compiler will not accept this model:'] + list(map(str, lint(broken)))
