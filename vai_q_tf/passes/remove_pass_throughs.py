"""Removes the nodes that hand their input on: Identity and its kin."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.passes.rewriter import Rewriter

PASS_THROUGHS = frozenset(('Identity', 'CheckNumerics', 'StopGradient', 'PreventGradient', 'Snapshot', 'DebugIdentity',
                           'DebugIdentityV2', 'Copy', 'CopyHost', 'Print', 'IdentityN'))


def remove_pass_throughs(graph_def, kept, config):
    """The graph without the nodes in PASS_THROUGHS, but for kept ones; an Identity takes the place of those.

    Each output of an IdentityN is the input of that number. A Const notes the names of the nodes that it is read through.
    A node that is a control input of others stays: it says in which branch they are.
    """
    edit = Rewriter(graph_def, kept)
    view, constants = edit.view, {}
    controls = {control for name in view.names for control in view.control_inputs(name)}
    for name in view.names:
        op = view.op(name)
        if op not in PASS_THROUGHS or name in controls:
            continue
        if name in edit.kept:
            if op not in ('Identity', 'IdentityN'):
                edit.add(_identity(edit.node(name), view.inputs(name)[0]))
            continue
        inputs = view.inputs(name) if op == 'IdentityN' else view.inputs(name)[:1]
        for index, source in enumerate(inputs):
            edit.redirect(tensor_name(name, index), source)
        source = view.inputs(name)[0]
        while view.op(source) in PASS_THROUGHS and ':' not in source:
            source = view.inputs(source)[0]
        if view.op(source) == 'Const':
            constants.setdefault(source, []).append(name)
    for constant, names in constants.items():
        node = tf.NodeDef()
        node.CopyFrom(edit.node(constant))
        edit.absorb(node, *names)
        edit.add(node)
    return edit.result()


def _identity(old, source):
    node = editor.copy(old, inputs=[source])
    node.op = 'Identity'
    for key in list(node.attr):
        if key != 'T' and not key.startswith('_'):
            del node.attr[key]
    return node
