"""A parameter that a pass changes: a constant gets another value, and what is not known yet is computed by an op."""
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets


def change_parameter(rewriter, name, index, compute, write, end, keep=False):
    """What is made of the parameter that input `index` of the node `name` reads, as a tensor for the node to read.

    It has the name of the parameter where nothing else reads that; the op then reads `<parameter>/unfolded`. Otherwise it is
    called `<parameter>/<end>`. Either is the name with a known value and without one.

    Args:
      rewriter: the Rewriter; the caller makes the node read the result.
      compute: function from the value, an ndarray, to the new value of the same type.
      write: function (name, tensor) to the NodeDef that computes this, of that name, from the tensor; it may add others.
      end: see above. keep: whether the node, under another name or for others, goes on reading the parameter as it is.
    """
    view, operand = rewriter.view, rewriter.view.inputs(name)[index]
    source = view.skip_identity(operand)
    own = (not keep and rewriter.is_read_only_by(operand, (name,)) and len(view.consumers(operand)) == 1
           and _is_own(rewriter, operand, source))
    target = node_name(source) if own else rewriter.unique('{}/{}'.format(node_name(source), end))
    value = rewriter.value(source)
    if value is not None:
        new = snippets.constant(target, compute(value))
        new.input.extend(rewriter.node(source).input)
    else:
        if own:
            raw = editor.exact_copy(rewriter.node(source))
            raw.name = rewriter.unique(target + '/unfolded')
            rewriter.add(raw)
        new = write(target, raw.name if own else source)
    rewriter.inherit_sources(new, node_name(source), node_name(operand))
    rewriter.add(new)
    return target


def _is_own(rewriter, operand, source):
    """Whether the Identity nodes from the source to the operand, and the source itself, are read by one node each."""
    while operand != source:
        operand = rewriter.view.inputs(operand)[0]
        if node_name(operand) in rewriter.protected or len(rewriter.view.consumers(operand)) != 1:
            return False
    return ':' not in operand
