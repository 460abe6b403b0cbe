"""Fast finetuning that keeps nothing that makes outputs worse on data that nothing was fitted on."""
from vai_q_tf.decibels import decibels
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.ptq.effort.effort import Row
from vai_q_tf.ptq.fast_finetune import finetune


def finetune_judged(float_graph, model, plan, data, judge, settings):
    """(the finetuned model, its Row).

    Args:
      float_graph, model, plan: as in `finetune`; settings: its keywords.
      data: Data; judge: the Judge on it.
    """
    testable = runnable(model)

    @large_constants.kept_apart()
    def unseen_error(values):
        return judge.errors(editor.with_values(testable, values))[1]

    tuned = finetune(float_graph, model, plan, data.fitted, unseen_error=unseen_error, **settings)
    before, after = (judge.errors(runnable(graph))[1] for graph in (model, tuned))
    return tuned, Row('fast finetuning', decibels(before), decibels(after), '' if after < before else 'no gain')
