"""Dropouts of training graphs: they hand their input on at inference, so quantization looks through them."""
from vai_q_tf.patterns.combinators import anything, either, find, op


def _dropout():
    uniform = op('RandomUniform')
    scaled = either(op('Mul', uniform, anything()), uniform)
    draw = either(op('Add|AddV2', scaled, anything()), scaled)
    mask = either(op('Cast', op('GreaterEqual', draw, anything())),
                  op('Floor', op('Add|AddV2', draw, anything(), any_order=True)))
    return op('Mul', op('Mul|RealDiv', anything('input'), anything()), mask, any_order=True)


_DROPOUT = _dropout()


def find_dropouts(view, nodes):
    """The dropouts whose result is among `nodes`.

    Returns:
      {result: input tensor}, and the set of the nodes that they consist of.
    """
    inputs, members = {}, set()
    for name in nodes:
        match = find(view, name, _DROPOUT) if view.op(name) == 'Mul' else None
        if match:
            inputs[name] = match['input']
            members.update(match.nodes)
    return inputs, members
