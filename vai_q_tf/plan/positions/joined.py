"""Tensors of a plan that share one position: those that a move, a concat or a pool joins."""
from typing import Dict, List

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.plan.quant_plan import Alignment, QuantPlan


def active_alignments(plan: QuantPlan, config: QuantizeConfig) -> List[Alignment]:
    """The Alignments that the config asks for.

    Those of moves always, because the hardware copies integers there; those of concats and pools as config.align_concat and
    align_pool say: 0 all, 1 those of output nodes, 2 none. The rule 'output' knows no moves.
    """
    strategies = {'concat': config.align_concat, 'pool': config.align_pool, 'move': 2 * (config.align_rule == 'output')}
    return [alignment for alignment in plan.alignments
            if strategies[alignment.kind] == 0 or (strategies[alignment.kind] == 1 and alignment.is_output)]


def joining_alignments(plan: QuantPlan, config: QuantizeConfig) -> List[Alignment]:
    """The Alignments whose tensors share one position; none under the rule 'output', which only copies positions once."""
    return [] if config.align_rule == 'output' else active_alignments(plan, config)


def group_numbers(plan: QuantPlan, config: QuantizeConfig) -> Dict[str, int]:
    """{name: number of the group of tensors that share its position}, in the order of the plan's tensors."""
    names = [tensor.name for tensor in plan.tensors]
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    for alignment in joining_alignments(plan, config):
        for name in alignment.inputs:
            leader[find(name)] = find(alignment.output)
    numbers: Dict[str, int] = {}
    return {name: numbers.setdefault(find(name), len(numbers)) for name in names}
