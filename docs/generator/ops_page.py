"""The page on op types: how they are quantized, how the passes change them, and which DPU computes them."""
import inspect
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

from docs.generator.markdown import page_from, table
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import COMPILER_OPS, TARGETS
from vai_q_tf.graph import traits
from vai_q_tf.passes import pipeline
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches
from vai_q_tf.passes.partition import partition

_KINDS = (
    (traits.WEIGHTED, 'multiply by weights', 'The result, the weights and the bias have one position each. A bias, a batch '
     'norm and an activation function after the op are computed together with it, with one quantized result.'),
    (traits.VALUE, 'compute new values', 'The result has its own position, and so does each constant operand.'),
    (traits.SHARED, 'select, join, average or rearrange values', 'The result has the position of its inputs if possible: '
     'always for ops that only rearrange values, by `align_concat` and `align_pool` for concats and pools.'),
    (traits.FORWARDS, 'forward values', 'No FixNeuron: the values are quantized already.'),
)
_EARLIER: Tuple[Callable[..., Any], ...] = (resolve_switches, partition)  # before the passes of the pipeline
# One of the two runs, by an option that is no field of the config.
_CONSTANTS = {pipeline.CONSTANTS: 'unless `--fold_constant 0`', pipeline.PARAMETERS: 'if `--fold_constant 0`'}


def pages() -> Dict[str, str]:
    """{path in docs/reference: page}."""
    return {'ops.md': page_from('ops_page.py', 'ops', {
        'quantized': table(('ops that', 'op types', 'positions'), [
            (words, _names(op for op, row in traits.TRAITS.items() if row.kind == kind), text)
            for kind, words, text in _KINDS]),
        'float': table(('op type', 'reason'), [
            ('`{}`'.format(op), row.reason) for op, row in traits.TRAITS.items() if row.kind == traits.FLOAT]),
        'passes': table(('pass', 'change', 'runs', 'op types'), _passes()),
        'support': '{}\n\n{}'.format(table(('op type', 'compiler', *TARGETS), _support()), _notes())})}


def _names(ops: Iterable[str]) -> str:
    return ', '.join('`{}`'.format(op) for op in ops)


def _passes() -> Iterator[List[str]]:
    for run in _EARLIER:
        yield ['`{}`'.format(run.__name__), _summary(run), 'always', '']
    for entry in (*pipeline.CLEAN_UP, pipeline.CONSTANTS, pipeline.PARAMETERS, *pipeline.FOLDING, *pipeline.DPU):
        yield ['`{}`'.format(entry.run.__name__), _summary(entry.run), _CONSTANTS.get(entry) or _condition(entry),
               _names(sorted(entry.ops))]


def _summary(run: Callable[..., Any]) -> str:
    """The first paragraph of the docstring of the module, if it is named after the function, else of the function."""
    module = sys.modules[run.__module__]
    name = run.__name__
    found = inspect.getdoc(module if module.__name__.endswith('.' + name) and name != 'fold_constants' else run) or ''
    return ' '.join(found.split('\n\n')[0].split())


def _condition(entry: pipeline.PassEntry) -> str:
    """When a pass runs: the fields of the config that switch it, each changed alone."""
    config = QuantizeConfig()
    flags = {name: 1 - getattr(config, name) for name in vars(config) if getattr(config, name) in (0, 1)
             and name not in ('method',) and not name.startswith(('align', 'adjust'))}
    needed = [] if entry.when(config) else [
        name for name, value in flags.items() if entry.when(config.replace(**{name: value}))]
    config = config.replace(**{name: flags[name] for name in needed})
    barred = [name for name, value in flags.items() if name not in needed
              and not entry.when(config.replace(**{name: value}))]
    words = [word.format(' or '.join('`{}={}`'.format(name, flags[name]) for name in names))
             for word, names in (('if {}', needed), ('unless {}', barred)) if names]
    return ', '.join(words) or 'always'


def _support() -> Iterator[List[str]]:
    known = COMPILER_OPS.union(*(target.ops for target in TARGETS.values())) - {'FixNeuron'}
    for op in sorted(known):
        marks = ('yes' if op in ops else '' for ops in (COMPILER_OPS, *(target.ops for target in TARGETS.values())))
        yield ['`{}`'.format(op), *marks]


def _notes() -> str:
    return '\n'.join('* {}: {}.'.format(target.name, target.note) for target in TARGETS.values() if target.note)
