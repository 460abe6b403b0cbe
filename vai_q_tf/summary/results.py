"""The summary of a run."""
from typing import NamedTuple, Optional, Tuple

from vai_q_tf.analysis.results import TensorError, error_table, worst
from vai_q_tf.coverage.summary import Coverage
from vai_q_tf.lint.lint import Finding
from vai_q_tf.notebook.html import block, folded, html_list, html_table, html_text
from vai_q_tf.wording import some_of


class InputSummary(NamedTuple):
    """An input in calibration.

    Attributes:
      name: its node.
      low: the least value.
      high: the greatest value.
      bits: sign included.
      position: fractional bits.
      saturated: share of the values that are out of range.
    """
    name: str
    low: float
    high: float
    bits: int
    position: int
    saturated: float


class AidSummary(NamedTuple):
    """An accuracy aid that was tried.

    Attributes:
      name: the aid.
      before_db: dB of the outputs without it.
      after_db: dB of the outputs with it.
      kept: whether it was kept.
      reason: why it was not kept, or ''.
    """
    name: str
    before_db: float
    after_db: float
    kept: bool
    reason: str = ''


class QuantizeSummary(NamedTuple):
    """The result of quantizing a network.

    Attributes:
      files: ((kind, path), ...).
      coverage: the ops that are quantized, and why the others are not.
      inputs: an InputSummary for each input.
      worst: the TensorErrors of the tensors that lost most, the worst first.
      aids: the accuracy aids in the order in which they were tried.
      findings: nodes that the DPU compiler refuses.
      differences: nodes that the DPU computes differently.
      warnings: sentences.
      next_steps: sentences, with commands.
      effort: the effort that was made, 'fast' if the data did not suffice for more.
      fitted: whether weights or biases differ from those of the float graph.
      unseen: whether the aids were judged on data that nothing was fitted on.
      obstacle: why the effort is 'fast' although another one was asked for, '' if it is not.
    """
    files: Tuple[Tuple[str, str], ...]
    coverage: Coverage
    inputs: Tuple[InputSummary, ...]
    worst: Tuple[TensorError, ...]
    aids: Tuple[AidSummary, ...]
    findings: Tuple[Finding, ...]
    differences: Tuple[Finding, ...]
    warnings: Tuple[str, ...]
    next_steps: Tuple[str, ...]
    effort: str = ''
    fitted: bool = False
    unseen: bool = True
    obstacle: str = ''

    @property
    def db(self) -> Optional[float]:
        """Signal to quantization noise of the outputs, in dB; None without aids, which measure it."""
        if not self.aids:
            return None
        return self.aids[-1].after_db if self.aids[-1].kept else self.aids[-1].before_db

    def __repr__(self) -> str:
        return '<QuantizeSummary: {}; worst: {}; {} warnings, {} findings. All: .files, .coverage, .worst, ...>'.format(
            self.coverage, worst(self.worst), len(self.warnings), len(self.findings))

    def _repr_html_(self) -> str:
        return block(
            'Quantized', html_text('{}.'.format(self.coverage)), html_table(('file', 'path'), self.files),
            html_list('Warnings', self.warnings), html_list('Next', self.next_steps),
            '<p><b>Worst tensors</b></p>' + error_table(self.worst) if self.worst else '',
            folded('inputs', html_table(('input', 'low', 'high', 'bits', 'position', 'saturated'), self.inputs)),
            folded('accuracy aids', html_table(('aid', 'dB before', 'dB after', 'kept', 'reason'), self.aids)),
            folded('ops that stay float', html_table(('reason', 'ops'), [
                (reason, some_of(names, 10)) for reason, names in self.coverage.floats])),
            folded('refused by the DPU compiler', html_table(('rule', 'node', 'message'), self.findings)),
            folded('computed differently by the DPU', html_table(('rule', 'node', 'message'), self.differences)))
