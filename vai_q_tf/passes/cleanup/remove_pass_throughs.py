"""Removes Identity and other ops that forward their input unchanged."""
from typing import Collection, Dict, List

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import PASS_THROUGH_OPS
from vai_q_tf.graph.view import GraphView, tensor_name
from vai_q_tf.passes.common.rewriter import Rewriter


def remove_pass_throughs(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph without nodes of PASS_THROUGH_OPS. A protected one becomes an Identity.

    Output k of an IdentityN is replaced by its input k. A Const records the nodes through which it was read as its sources. A
    node that is a control input stays, since it may place others in a branch.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(remove_pass_throughs, lambda x: tf.nn.relu(tf.stop_gradient(tf.check_numerics(x, 'bad'))))
    Relu(StopGradient(CheckNumerics(x)))
    Relu(x)
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    sources: Dict[str, str] = {}
    passed: Dict[str, List[str]] = {}  # Const -> the removed nodes after it
    controls = {control for name in view.names for control in view.control_inputs(name)}
    for name in view.names:
        if view.op(name) not in PASS_THROUGH_OPS or name in controls:
            continue
        constant = _constant(view, name, sources)
        if name in rewriter.protected:
            _keep(rewriter, name, constant)
            continue
        inputs = view.inputs(name) if view.op(name) == 'IdentityN' else view.inputs(name)[:1]
        for index, source in enumerate(inputs):
            rewriter.redirect(tensor_name(name, index), source if index or not constant else constant)
        if constant:
            passed.setdefault(constant, []).append(name)
    for constant, names in passed.items():
        node = editor.exact_copy(rewriter.node(constant))
        rewriter.inherit_sources(node, *names)
        rewriter.add(node)
    return rewriter.result()


def _constant(view: GraphView, name: str, sources: Dict[str, str]) -> str:
    """The Const whose value output 0 of the node has, '' if there is none; `sources` caches results."""
    passed, tensor = [], name
    while tensor not in sources and view.op(tensor) in PASS_THROUGH_OPS and ':' not in tensor:
        passed.append(tensor)
        tensor = view.inputs(tensor)[0]
    found = sources.get(tensor, tensor if view.op(tensor) == 'Const' else '')
    sources.update(dict.fromkeys(passed, found))
    return found


def _keep(rewriter: Rewriter, name: str, constant: str) -> None:
    """Makes the protected node an Identity; if it forwards a Const, its readers read the Const."""
    view = rewriter.view
    if view.op(name) not in ('Identity', 'IdentityN'):
        rewriter.add(_identity(rewriter.node(name), view.inputs(name)[0]))
    for reader, index in view.consumers(name) if constant else ():
        rewriter.set_input(reader, index, constant)


def _identity(old: tf.NodeDef, source: str) -> tf.NodeDef:
    node = editor.copy(old, inputs=[source])
    node.op = 'Identity'
    for key in list(node.attr):
        if key != 'T' and not key.startswith('_'):
            del node.attr[key]
    return node
