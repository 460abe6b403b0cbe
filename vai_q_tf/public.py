"""Imports the public names of the package, listed in `vai_q_tf.__all__`, and the modules that moved since 0.1.0."""
import vai_q_tf.hooks.keras_callback
import vai_q_tf.qat.metagraph
from vai_q_tf import errors
from vai_q_tf.analysis.analyze import analyze
from vai_q_tf.analysis.results import Analysis
from vai_q_tf.comparison.compare import compare
from vai_q_tf.comparison.results import Comparison
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.distillation.loss import distillation_loss
from vai_q_tf.distillation.settings import Distillation
from vai_q_tf.errors import QuantizeError
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.exporter import QuantizeExporter
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.hooks.synchronize_hook import SynchronizePositionsHook
from vai_q_tf.hooks.training_hook import QuantizeTrainingHook
from vai_q_tf.integrations.estimator import quantize_estimator, quantize_model_fn
from vai_q_tf.integrations.functions import (
    CreateQuantizeDeployGraph,
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
)
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.integrations.keras.model import quantize_keras_model
from vai_q_tf.integrations.metagraph import deploy_checkpoint, quantize_evaluate, quantize_meta_graph, quantize_train
from vai_q_tf.integrations.optimizer import QuantizeOptimizer
from vai_q_tf.integrations.slim import slim_training_arguments
from vai_q_tf.lint.lint import Finding, lint
from vai_q_tf.ops import FixNeuron, fix_neuron, load_library
from vai_q_tf.ptq.convert import convert_datatype
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.ptq.update import update
from vai_q_tf.qat.averaged_checkpoint import averaged_checkpoint
from vai_q_tf.qat.deploy import FrozenFiles
from vai_q_tf.report.bits.results import Sensitivity
from vai_q_tf.report.bits.sensitivity import sensitivity
from vai_q_tf.report.dumps.dump import dump
from vai_q_tf.report.inspect import Inspection, inspect
from vai_q_tf.terminal.verbosity import set_verbosity
