"""Plans of a few activations."""
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor


def plan_of_activations(*names, **fields):
    tensors = tuple(QuantTensor(name, 'activation', 1, 8, 1, name, ()) for name in names)
    return QuantPlan((), (), (), tensors, (), ())._replace(**fields)
