"""The rules of the DPU compiler's TensorFlow front-end, checked on a graph that is about to be written for it.

The compiler reads the nodes of a frozen GraphDef and gives up at the first one that it does not expect, often with a message
that does not name the cause, or silently compiles another network. `lint` finds such nodes when the graph is written;
`differences` finds ops that the DPU computes with other numbers than TensorFlow. A rule is a function in one of the modules
`*_rules.py`; a finding says what the compiler will do and what to change.
"""
from typing import List, Mapping, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.lint import form_rules, node_rules, number_rules, position_rules, weight_rules
from vai_q_tf.lint.lint_graph import LintGraph, Rule

RULES = {name: rule for room in (node_rules, form_rules, weight_rules, position_rules) for name, rule in room.RULES.items()}


class Finding(NamedTuple):
    """A breach of a rule of the DPU compiler.

    Attributes:
      rule: its name.
      node: where; '' for the graph as a whole.
      message: what is wrong, and what to do.
    """
    rule: str
    node: str
    message: str

    def __str__(self) -> str:
        return '{} [{}]: {}'.format(self.node or 'the graph', self.rule, self.message)


def lint(graph_def: tf.GraphDef) -> List[Finding]:
    """The nodes that the DPU compiler will refuse or misread.

    Args:
      graph_def: a frozen evaluation graph, or any other GraphDef. It is not changed.

    Returns:
      Findings by rule, and within a rule in graph order; empty if the graph obeys all rules.
    """
    return _find(graph_def, RULES)


def differences(graph_def: tf.GraphDef) -> List[Finding]:
    """The nodes that the compiler accepts, but the DPU will compute with other numbers than TensorFlow; as `lint`."""
    return _find(graph_def, number_rules.RULES)


def _find(graph_def: tf.GraphDef, rules: Mapping[str, Rule]) -> List[Finding]:
    graph = LintGraph(graph_def)
    return [Finding(name, node, message) for name, rule in rules.items() for node, message in rule(graph)]


def report(graph_def: tf.GraphDef, strict: bool = False) -> List[Finding]:
    """Logs the findings of `lint` and `differences` in a model that is about to be written; returns those of `lint`.

    Raises:
      QuantizeError: COMPILER_RULES, if `lint` finds anything and the user wants to be `strict`.
    """
    findings = lint(graph_def)
    if findings and strict:
        raise errors.QuantizeError(
            errors.COMPILER_RULES, 'Not compilable', 'The DPU compiler will refuse the model, which was not written: {}'.format(
                '; '.join(map(str, findings))))
    if findings:
        tf.logging.warning('The DPU compiler will not accept this model:\n%s', '\n'.join(map(str, findings)))
    others = differences(graph_def)
    if others:
        tf.logging.warning('The DPU will compute other numbers than TensorFlow:\n%s', '\n'.join(map(str, others)))
    return findings
