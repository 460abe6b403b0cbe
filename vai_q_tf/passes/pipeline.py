"""The passes in their order: from a float graph to the float graph that the DPU computes.

Tests: tests/passes/test_pipeline.py, test_optimise_variables.py and test_networks.py.
"""
import collections
from typing import Callable, Counter, FrozenSet, Iterable, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.graph.traits import BATCH_NORM_OPS, PASS_THROUGH_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded, fold_constants, fold_parameters
from vai_q_tf.passes.cleanup.remove_dropouts import remove_dropouts
from vai_q_tf.passes.cleanup.remove_pass_throughs import remove_pass_throughs
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches
from vai_q_tf.passes.cleanup.separate_shared_constants import separate_shared_constants
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.parameters import has_variables
from vai_q_tf.passes.dpu.adjust_leaky_relu import adjust_leaky_relu
from vai_q_tf.passes.dpu.mean_to_average_pool import mean_to_average_pool
from vai_q_tf.passes.dpu.replace_sigmoid import replace_sigmoid
from vai_q_tf.passes.dpu.replace_softmax import replace_softmax
from vai_q_tf.passes.dpu.scale_average_pools import scale_average_pools
from vai_q_tf.passes.dpu.scale_hard_sigmoid import scale_hard_sigmoid
from vai_q_tf.passes.dpu.split_large_pools import split_large_pools
from vai_q_tf.passes.folding.equalize_layers import equalize_layers
from vai_q_tf.passes.folding.expand_batch_norms import expand_batch_norms
from vai_q_tf.passes.folding.fold_batch_norms import fold_batch_norms
from vai_q_tf.passes.folding.reorder_hard_swish import reorder_hard_swish
from vai_q_tf.passes.folding.replace_div_and_sub import replace_div_and_sub
from vai_q_tf.passes.folding.replace_prelu import replace_prelu
from vai_q_tf.passes.folding.replace_relu_forms import replace_relu_forms
from vai_q_tf.passes.forms.fold_reshape import fold_reshape
from vai_q_tf.passes.forms.open_batches import open_batches
from vai_q_tf.passes.forms.replace_lone_bias_adds import replace_lone_bias_adds
from vai_q_tf.passes.forms.reshape_operands import reshape_operands
from vai_q_tf.passes.forms.write_dense_as_convolution import write_dense_as_convolution
from vai_q_tf.passes.forms.write_explicit_padding import write_explicit_padding
from vai_q_tf.passes.forms.write_packs import write_packs
from vai_q_tf.passes.forms.write_slices import write_slices
from vai_q_tf.passes.forms.write_sums import write_sums
from vai_q_tf.passes.forms.write_upsampling import write_upsampling
from vai_q_tf.passes.partition import merge, partition
from vai_q_tf.patterns.batch_norm import require_inference_form
from vai_q_tf.patterns.graph_range import GraphRange

# A function (graph_def, protected, config) to a GraphDef. protected: names of the nodes that keep name and meaning. Few passes
# need the config. A pass that changes nothing returns the GraphDef itself.
Pass = Callable[[tf.GraphDef, FrozenSet[str], QuantizeConfig], tf.GraphDef]


def _always(config: QuantizeConfig) -> bool:
    return True


def _unless_fold_bn_only(config: QuantizeConfig) -> bool:
    return not config.fold_bn_only


def _simulates_dpu(config: QuantizeConfig) -> bool:
    return bool(config.simulate_dpu) and not config.fold_bn_only


class PassEntry(NamedTuple):
    """A pass in the order of passes.

    ops: it changes nothing in graphs that have none of these op types; empty: any graph.
    when: whether a config asks for it. shapes: whether it needs `_output_shapes`.
    """
    run: Pass
    ops: FrozenSet[str] = frozenset()
    when: Callable[[QuantizeConfig], bool] = _always
    shapes: bool = False


def _ops(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


CLEAN_UP = (
    PassEntry(remove_dropouts, _ops('RandomUniform')),
    PassEntry(remove_pass_throughs, PASS_THROUGH_OPS),
)
CONSTANTS = PassEntry(fold_constants)
PARAMETERS = PassEntry(fold_parameters)
FOLDING = (
    PassEntry(separate_shared_constants, when=_unless_fold_bn_only),
    PassEntry(write_dense_as_convolution, _ops('MatMul'), _unless_fold_bn_only),
    PassEntry(replace_relu_forms, _ops('Minimum Maximum Select SelectV2'), _unless_fold_bn_only),
    PassEntry(replace_prelu, _ops('Maximum Sub Abs Neg Relu Minimum Select SelectV2'), _unless_fold_bn_only),
    PassEntry(reorder_hard_swish, _ops('Relu6'), _unless_fold_bn_only),
    PassEntry(expand_batch_norms, BATCH_NORM_OPS | {'BatchNormWithGlobalNormalization'}),
    PassEntry(fold_batch_norms, _ops('Mul RealDiv Add AddV2 BiasAdd Sub')),
    PassEntry(replace_div_and_sub, _ops('RealDiv Sub Neg'), _unless_fold_bn_only),
    PassEntry(evaluate_folded),
    PassEntry(equalize_layers, when=lambda config: bool(config.do_cle), shapes=True),
)
DPU = (
    PassEntry(mean_to_average_pool, _ops('Mean'), _simulates_dpu, shapes=True),
    PassEntry(split_large_pools, _ops('AvgPool MaxPool'), _simulates_dpu, shapes=True),
    PassEntry(scale_average_pools, _ops('AvgPool'), _simulates_dpu, shapes=True),
    PassEntry(adjust_leaky_relu, _ops('LeakyRelu'), _simulates_dpu),
    PassEntry(replace_sigmoid, _ops('Sigmoid'), lambda config: _simulates_dpu(config) and bool(config.replace_sigmoid)),
    PassEntry(scale_hard_sigmoid, _ops('Relu6'), _simulates_dpu),
    PassEntry(replace_lone_bias_adds, _ops('BiasAdd'), _unless_fold_bn_only, shapes=True),
    PassEntry(write_sums, _ops('AddN'), _unless_fold_bn_only, shapes=True),
    PassEntry(reshape_operands, _ops('Add AddV2 Mul Maximum'), _unless_fold_bn_only, shapes=True),
    PassEntry(write_packs, _ops('Pack'), _unless_fold_bn_only, shapes=True),
    PassEntry(evaluate_folded, _ops('Reshape')),  # of parameters, by the last three
    PassEntry(write_slices, _ops('Slice'), _unless_fold_bn_only, shapes=True),
    PassEntry(write_upsampling, _ops('Reshape'), _unless_fold_bn_only, shapes=True),
    PassEntry(write_explicit_padding, _ops('Conv2D'), _unless_fold_bn_only, shapes=True),
    PassEntry(open_batches, _ops('Reshape Conv2DBackpropInput'), _unless_fold_bn_only, shapes=True),
    PassEntry(replace_softmax, _ops('Softmax'), lambda config: _unless_fold_bn_only(config) and bool(config.replace_softmax),
              shapes=True),
    PassEntry(fold_reshape, _ops('Reshape ResizeNearestNeighbor ResizeBilinear'), lambda config: bool(config.fold_reshape),
              shapes=True),
)


def optimise(graph_def: tf.GraphDef, config: QuantizeConfig, fold_constant: bool = True,
             equalize: Pass = equalize_layers) -> tf.GraphDef:
    """The float graph to quantize: as the DPU computes it between input and output nodes, unchanged before and after.

    Nodes that neither the range nor its pre-processing or post-processing needs are dropped. Input and output nodes, and
    nodes that post-processing reads, keep name and meaning. Producers come before their readers. Nodes that replace others
    have the names of those in the attr `_origins`.

    Args:
      graph_def: a frozen GraphDef; it is not changed.
      config: QuantizeConfig that names a range. With `fold_bn_only` the passes only remove ops that forward their input, fold
        batch norms and factors, and do what `do_cle` and `fold_reshape` ask for. `input_shapes` gives the shapes of the inputs.
      fold_constant: whether to fold all constants, or only the parameters of batch norms and additions.
      equalize: the pass for `do_cle`.

    Raises:
      QuantizeError: unknown, swapped or disconnected input and output nodes; a graph that is quantized already; shapes
        that do not fit; a batch norm of a weighted op in training form.
    """
    return optimise_variables(graph_def, config, fold_constant, equalize).optimised


class Optimised(NamedTuple):
    """clean: the graph without ops that have no effect at inference. optimised: the same after all other passes."""
    clean: tf.GraphDef
    optimised: tf.GraphDef


def optimise_variables(graph_def: tf.GraphDef, config: QuantizeConfig, fold_constant: bool = True,
                       equalize: Pass = equalize_layers) -> Optimised:
    """As `optimise`, for a graph in which Consts may represent variables (`view.STANDS_FOR`); their values are not read.

    Folding changes variables by arithmetic on those Consts, under the name that a Const of the value would have.
    """
    require_config(config)
    view = GraphView(graph_def)
    GraphRange(view, config.input_nodes, config.output_nodes)
    whole = resolve_switches(graph_def, view, {node_name(name) for name in config.input_nodes + config.output_nodes})
    require_inference_form(GraphRange(GraphView(whole), config.input_nodes, config.output_nodes),
                           frozenset(map(node_name, config.ignore_nodes)))
    parts = partition(whole, config)

    def run(entries: Iterable[PassEntry], main: tf.GraphDef) -> tf.GraphDef:
        return _run(entries, main, parts.protected, config)

    clean = run([*CLEAN_UP, CONSTANTS if fold_constant else PARAMETERS], parts.main)
    folding = [entry._replace(run=equalize) if entry.run is equalize_layers else entry for entry in FOLDING]
    # The shapes of arithmetic on variables are known only if they are inferred.
    folded = run(folding, infer_shapes(clean, parts.protected, config) if has_variables(clean) else clean)
    return Optimised(merge(parts, clean), merge(parts, run(DPU, folded)))


def _run(entries: Iterable[PassEntry], graph_def: tf.GraphDef, protected: FrozenSet[str],
         config: QuantizeConfig) -> tf.GraphDef:
    ops, shaped = _count(graph_def), False
    for entry in entries:
        if not entry.when(config) or (entry.ops and entry.ops.isdisjoint(ops)):
            continue
        if entry.shapes and not shaped:
            graph_def, shaped = infer_shapes(graph_def, protected, config), True
        result = entry.run(graph_def, protected, config)
        if result is not graph_def:
            graph_def, before = result, ops
            ops = _count(graph_def)
            tf.logging.info('%s: %s', entry.run.__name__, _difference(before, ops))
    return graph_def


def _count(graph_def: tf.GraphDef) -> Counter[str]:
    return collections.Counter(node.op for node in graph_def.node)


def _difference(before: Counter[str], after: Counter[str]) -> str:
    """The changes of the numbers of nodes as text, 'Add -1, BiasAdd +1'."""
    changes = ('{} {:+d}'.format(op, after[op] - before[op]) for op in sorted(set(before) | set(after))
               if after[op] != before[op])
    return ', '.join(changes) or 'nodes of the same types'
