"""Writes the BiasAdds that belong to no weighted op as additions."""
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_lone_bias_adds(graph_def, protected, config):
    """The graph with an Add of the same name in place of each BiasAdd that is not right behind a weighted op.

    The compiler refuses such BiasAdds. One whose NCHW bias cannot be reshaped, because it is no constant, stays.
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    for name in view.names:
        if view.op(name) != 'BiasAdd' or _is_weighted(view, view.inputs(name)[0]):
            continue
        data, bias = view.inputs(name)
        if view.attr(name, 'data_format').s == b'NCHW':
            value = rewriter.value(bias)
            if value is None or view.shape(data) is None:
                continue
            reshaped = editor.constant(rewriter.unique(bias), view.dtype(bias),
                                       value.reshape([1, -1] + [1] * (len(view.shape(data)) - 2)))
            rewriter.inherit_sources(reshaped, bias)
            rewriter.add(reshaped)
            bias = reshaped.name
        new = make_node('Add', name, [data, bias], like=rewriter.node(name), T=view.dtype(name))
        rewriter.inherit_sources(new)
        rewriter.add(new)
    return rewriter.result()


def _is_weighted(view, tensor):
    if view.op(tensor) == 'BatchToSpaceND':
        tensor = view.inputs(tensor)[0]
    return trait(view.op(tensor)).kind == WEIGHTED
