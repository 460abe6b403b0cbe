"""Fast finetuning of an Improved model: if it has a judge, only weights that do not raise the error on unseen data are kept."""
from typing import Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.decibels import decibels
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.effort.data import Data
from vai_q_tf.ptq.effort.effort import Row
from vai_q_tf.ptq.effort.improve import Improved
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.fast_finetune import Finetuned, FinetuneSettings, finetune
from vai_q_tf.terminal.verbosity import note
from vai_q_tf.types import InputFn, Values


def finetune_improved(reference: tf.GraphDef, model: tf.GraphDef, plan: QuantPlan, improved: Improved, feed: InputFn,
                      steps: int, settings: FinetuneSettings,
                      gpu_memory_fraction: Optional[float] = None) -> Tuple[tf.GraphDef, Improved]:
    """(the finetuned model, `improved` with a Row for it).

    Args:
      reference, model, plan: as in `finetune`.
      feed, steps: the calibration data, for an Improved that kept none.
    """
    if improved.judge and improved.data:
        tuned, row = _finetune_judged(reference, model, plan, improved.data, improved.judge, settings, gpu_memory_fraction)
    else:
        tuned = finetune(reference, model, plan, feed, steps, settings, gpu_memory_fraction=gpu_memory_fraction)
        row = _row(tuned.before, tuned.after, tuned.changed > 0)
    if tuned.blocks:
        note('Fast finetuning: squared error of the outputs {:.4g} before, {:.4g} after, relative to their mean square; {} of '
             '{} layers have other weights now.'.format(tuned.before, tuned.after, tuned.changed, tuned.blocks))
    elif not improved.judge:
        return model, improved
    return tuned.graph, improved._replace(rows=improved.rows + [row], fitted=improved.fitted or row.kept)


def _finetune_judged(reference: tf.GraphDef, model: tf.GraphDef, plan: QuantPlan, data: Data, judge: Judge,
                     settings: FinetuneSettings, gpu_memory_fraction: Optional[float]) -> Tuple[Finetuned, Row]:
    """(Finetuned, Row), by the judge."""
    testable = runnable(model)

    @large_constants.kept_apart()
    def unseen_error(values: Values) -> float:
        return judge.errors(editor.with_values(testable, values))[1]

    tuned = finetune(reference, model, plan, data.fitted.__getitem__, len(data.fitted), settings,
                     gpu_memory_fraction=gpu_memory_fraction, unseen_error=unseen_error)
    before, after = (judge.errors(runnable(graph))[1] for graph in (model, tuned.graph))
    return tuned, _row(before, after, after < before)


def _row(before: float, after: float, is_kept: bool) -> Row:
    return Row('fast finetuning', decibels(before), decibels(after), '' if is_kept else 'no gain')
