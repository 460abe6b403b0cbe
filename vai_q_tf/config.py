"""QuantizeConfig: what to quantize and how.

A config is validated when it is made, on every assignment, and whenever one of its lists is changed, so a wrong value is
reported where it was written and not steps later. The library never changes a config: one object may serve training,
evaluation and deploy.
"""
import copy
import functools
import inspect
from typing import Any, Callable, TypeVar, cast

from vai_q_tf import errors
from vai_q_tf.configuration.checked_list import CheckedList
from vai_q_tf.configuration.config_checks import CHECKS, config_error
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.notebook.html import block, folded, html_table, html_text

_Init = TypeVar('_Init', bound=Callable[..., Any])


def _no_field(name):
    return 'QuantizeConfig has no field {!r}{}'.format(
        name, errors.did_you_mean(name, CHECKS, most=2) or '; the fields are ' + ', '.join(CHECKS))


def _explain(init: _Init) -> _Init:
    """The constructor, with errors that name the class, and the field that a misspelt one may be."""
    positional = inspect.getfullargspec(init).args[1:]

    @functools.wraps(init)
    def explained(self, *args, **kwargs):
        if len(args) > len(positional):
            raise TypeError('QuantizeConfig takes at most {} positional arguments, got {}'.format(len(positional), len(args)))
        for name in kwargs:
            if name in positional[:len(args)]:
                raise TypeError('QuantizeConfig got {!r} twice'.format(name))
            if name not in CHECKS:
                raise TypeError(_no_field(name))
        init(self, *args, **kwargs)

    return cast(_Init, explained)


class QuantizeConfig:
    """What to quantize and how.

    Numbers may be given as text, flags as booleans. Fields that are lists hold a copy of what they are given; a change of that
    copy, as by `config.ignore_nodes.append('conv1')`, is checked like an assignment. calib_iter, positions_by and percentile
    are about post-training quantization, and a training ignores them; recipe to gradient are about training; what changes the
    network acts in both.

    Args:
      input_nodes: list of the names of the nodes where quantization starts, which are quantized too: the last nodes of the
        preprocessing, or the placeholders.
      output_nodes: list of the names of the nodes where quantization ends, which are quantized too: the last nodes before
        the post-processing.
      input_shapes: one list of integers per input node, -1 for an unknown dimension; empty: the shapes in the graph.
      ignore_nodes: list of the names of nodes that stay float, with the pattern (convolution, bias, activation) they belong
        to.
      weight_bit: bits of weights, and of biases where bias_bit is None, 1 to 24.
      activation_bit: bits of activations, 1 to 24.
      nodes_bit: list of 'node:bits' for single tensors; the name of a convolution means its weights.
      nodes_method: list of 'node:method' for single tensors, likewise.
      method: how a position, the number of fractional bits of a tensor, is chosen. 0: the greatest at which no value
        overflows; 1: of that one and the four above it, the one with the least squared difference between values and
        quantized values; 2: as 1, with the relative difference for depthwise weights. Input nodes have method 0 unless
        nodes_method names them.
      target_type: family of the DPU, such as 'DPUCZDX8G', for which `inspect` says what runs on it; '': none.
      calib_iter: number of calibration steps, with one call of the input function each.
      output_dir: directory where files are written; it is made.
      align_concat: where the inputs and the result of a concat get one position. 0: everywhere, 1: where the concat is an
        output node, 2: nowhere.
      align_pool: where the input and the result of a pool get one position; values as those of align_concat, but that the
        efforts standard and high of `quantize_frozen` take 0 for 2 where they find that less is lost so. The DPU takes both.
      adjust_shift_bias: limits within which positions keep the shift of biases in the DPU. 0: none, 1: by the shift of the
        result, 2: by the number of products.
      adjust_shift_cut: 1 keeps the shift of results within the DPU's limits, 0 to 16 bits.
      simulate_dpu: 1 computes average pools, leaky relus and hard sigmoids as the DPU does, 0 as TensorFlow does.
      scale_all_avgpool: 1 scales average pools of all sizes as the DPU does, 0 only square windows of 3, 5, 6, 7 and 14. It
        needs simulate_dpu.
      do_cle: 1 equalizes the ranges of channels between consecutive layers (cross-layer equalization).
        It needs the values of the weights, so a training refuses it.
      replace_relu6: what do_cle does at a Relu6 between two layers. 1: makes it a Relu where it equalizes them, 0: stops.
      replace_sigmoid: 1 replaces every sigmoid by a hard sigmoid; it needs simulate_dpu.
      fold_bn_only: 1 changes the graph no further than folding batch norms takes, apart from what do_cle and fold_reshape
        ask for.
      fold_reshape: 1 makes the shapes of Reshape and resize ops constants.
      replace_softmax: 1 replaces every softmax between input and output nodes by the hardware's softmax.
      bias_bit: bits of biases, 1 to 24; None: those of weights. The DPU has 8; below 8 bits wider biases cost it nothing.
      recipe: what a training begins with, and when it freezes. 'auto' looks at the weights in the first step and goes on as one
        of the next two; where it cannot tell it calibrates, and lets positions move. 'finetune', for float weights: batch
        norms use their moving statistics from the start, positions are calibrated on the float network and stay. 'scratch':
        statistics of the batch; positions move, for two thirds of a training of known length. 'manual': nothing but what
        freeze_bn_step and freeze_position_step say, without calibration. Those two go before any recipe.
      bn_fold: batch norm in training. 'batch' normalises with the statistics of the batch, with one convolution;
        'moving' folds with the moving statistics from the first step, with a second convolution beside it that feeds the
        moving averages (the original's scheme).
      freeze_bn_step: global step from which training uses the moving statistics, which then stay as they are; a number between
        0 and 1 is a share of a training whose length is known. None leaves it to the recipe.
      freeze_position_step: global step or share from which quantize positions stay as they are; None leaves it to the recipe.
      average_step: global step or share from which the mean of the weights over the steps is kept, which
        `averaged_checkpoint` puts in their place; None: never.
      position_update: 'moving' quantizes with the tracked position, the one that evaluation will use; 'current' with the
        best position of the batch at hand (the original's rule); 'learned' trains it with the weights, from the calibrated
        one, or that of the first batch, on, until it is frozen (TQT). Then it moves after a start from float weights, too.
      position_decay: what a vote in the position histogram keeps per step. A new position that gets every vote wins over
        a long-standing one after the n steps where position_decay**n < 1/2: 35 steps at 0.98.
      gradient: 'clipped' passes the gradient where the value is representable, 'straight_through' everywhere.
      arch_type: range of 8-bit activations. 'DEFAULT': -128 to 127; 'DPUCADF8H': -127 to 127, symmetric at all bit widths.
      align_rule: the one position of the tensors that a concat or pool joins. 'least_error' is the position with the least
        squared error over all of them, in training the least of theirs; 'output' is that of the result (the original's rule,
        which may saturate the inputs, and does not align what is moved).
      positions_by: how the positions of computed tensors without method 0 are chosen from the calibration data. 'votes': the
        one that most batches choose. Over all batches of the float network, 'mse': the one with the least squared error;
        'percentile': the greatest that keeps percentile in range; 'entropy': the one with the least Kullback-Leibler
        divergence. These three choose for inputs, too, where method is 1 and nodes_method does not name them. None: 'votes'
        for the effort 'fast' of `quantize_frozen`, for the others 'mse' where that is better. Tensors that share a position
        get it by align_rule.
      percentile: how many percent of the elements of a tensor, zeros apart, have to be in range with
        positions_by='percentile'; above 50 and at most 100.

    Raises:
      QuantizeError: a value out of range (code, field, what is allowed).
      TypeError: a wrong type, or an unknown field.
    """

    @_explain
    def __init__(
            self, input_nodes=(), output_nodes=(), input_shapes=(), ignore_nodes=(), weight_bit=8, activation_bit=8,
            nodes_bit=(), nodes_method=(), method=1, target_type='', calib_iter=100, output_dir='./quantize_results',
            align_concat=0, align_pool=0, adjust_shift_bias=1, adjust_shift_cut=1, simulate_dpu=1, scale_all_avgpool=1,
            do_cle=0, replace_relu6=1, replace_sigmoid=0, fold_bn_only=0, fold_reshape=0, replace_softmax=0, *,
            bias_bit=None, recipe='auto', bn_fold='batch', freeze_bn_step=None, freeze_position_step=None, average_step=None,
            position_update='moving', position_decay=0.98, gradient='clipped', arch_type='DEFAULT', align_rule='least_error',
            positions_by=None, percentile=99.99):
        given = locals()
        for name in CHECKS:
            setattr(self, name, given[name])

    @classmethod
    def from_file(cls, path):
        """The config that a YAML or JSON file has, such as the `quantize_config.yaml` beside a model.

        Its keys are fields; those that are other options of the command, such as input_fn, are passed over.

        Raises:
          QuantizeError: as `read_config_file`, with file, key and line.
        """
        return cls(**{name: value for name, value in read_config_file(path).items() if name in CHECKS})

    def __setattr__(self, name, value):
        if name not in CHECKS:
            raise AttributeError(_no_field(name))
        if isinstance(value, CheckedList) and value is vars(self).get(name):
            return  # += assigns the list that it has changed
        object.__setattr__(self, name, CHECKS[name](name, value))

    def __setstate__(self, state):
        # Copies and pickles get lists of their own, which are checked again.
        for name, value in state.items():
            object.__setattr__(self, name, CHECKS[name](name, value) if name in CHECKS else value)

    def __repr__(self):
        default = QuantizeConfig()
        changed = ('{}={!r}'.format(name, getattr(self, name)) for name in CHECKS
                   if getattr(self, name) != getattr(default, name))
        return 'QuantizeConfig({})'.format(', '.join(changed))

    def _repr_html_(self):
        """What differs from the defaults, and the rest folded away."""
        default = QuantizeConfig()
        rows = [(name, repr(getattr(self, name)), getattr(self, name) == getattr(default, name)) for name in CHECKS]
        changed = html_table(('field', 'value'), [row[:2] for row in rows if not row[2]], most=len(rows))
        rest = html_table(('field', 'default'), [row[:2] for row in rows if row[2]], most=len(rows))
        return block('QuantizeConfig', changed or html_text('All fields have their defaults.'),
                     folded('{} fields with their defaults'.format(sum(row[2] for row in rows)), rest))

    def replace(self, **fields):
        """A config of the same type with some fields changed; this one stays as it is.

        Raises:
          QuantizeError, TypeError: as the constructor.
        """
        changed = copy.copy(self)
        for name, value in fields.items():
            if name not in CHECKS:
                raise TypeError(_no_field(name))
            setattr(changed, name, value)
        return changed

    def check_range(self):
        """Checks what only the fields together can tell; called where a graph is about to be quantized.

        Raises:
          QuantizeError: no input or output nodes, or not one shape per input node.
        """
        for field in ('input_nodes', 'output_nodes'):
            if not getattr(self, field):
                raise config_error(field, [], 'the names of the nodes where quantization starts and ends')
        if self.input_shapes and len(self.input_shapes) != len(self.input_nodes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                '{} input_shapes for {} input_nodes ({}); give one shape per node.'.format(
                    len(self.input_shapes), len(self.input_nodes), ', '.join(self.input_nodes)))


def require_config(config):
    """`config` if it is a QuantizeConfig that names a range; a TypeError that says what was got otherwise."""
    if not isinstance(config, QuantizeConfig):
        raise TypeError('config must be a vai_q_tensorflow.QuantizeConfig, got {}: {!r}'.format(
            type(config).__name__, config))
    config.check_range()
    return config
