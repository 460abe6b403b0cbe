"""Removes the nodes that hand their input on: Identity and its kin."""
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import PASS_THROUGH_OPS
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.passes.common.rewriter import Rewriter


def remove_pass_throughs(graph_def, protected, config):
    """The graph without the nodes in PASS_THROUGH_OPS, but for protected ones; an Identity takes the place of those.

    Each output of an IdentityN is the input of that number. A Const notes the names of the nodes that it is read through.
    A node that is a control input of others stays: it says in which branch they are.
    """
    rewriter = Rewriter(graph_def, protected)
    view, constants, sources = rewriter.view, {}, {}
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
            constants.setdefault(constant, []).append(name)
    for constant, names in constants.items():
        node = editor.exact_copy(rewriter.node(constant))
        rewriter.inherit_sources(node, *names)
        rewriter.add(node)
    return rewriter.result()


def _constant(view, name, sources):
    """The Const that output 0 of a node has the value of, '' if it is none; `sources` holds what is known already."""
    passed, tensor = [], name
    while tensor not in sources and view.op(tensor) in PASS_THROUGH_OPS and ':' not in tensor:
        passed.append(tensor)
        tensor = view.inputs(tensor)[0]
    found = sources.get(tensor, tensor if view.op(tensor) == 'Const' else '')
    sources.update(dict.fromkeys(passed, found))
    return found


def _keep(rewriter, name, constant):
    """Makes an Identity of a protected node; those that read a Const through it read the Const."""
    view = rewriter.view
    if view.op(name) not in ('Identity', 'IdentityN'):
        rewriter.add(_identity(rewriter.node(name), view.inputs(name)[0]))
    for reader, index in view.consumers(name) if constant else ():
        rewriter.set_input(reader, index, constant)


def _identity(old, source):
    node = editor.copy(old, inputs=[source])
    node.op = 'Identity'
    for key in list(node.attr):
        if key != 'T' and not key.startswith('_'):
            del node.attr[key]
    return node
