"""The result of `quantize_frozen`."""
from typing import Dict, Tuple

from vai_q_tf.summary.results import QuantizeSummary


class QuantizeResult(str):
    """The path of the model that was written, as a str, with a summary.

    Attributes:
      summary: the QuantizeSummary.
    """
    summary: QuantizeSummary

    def __new__(cls, path: str, summary: QuantizeSummary) -> 'QuantizeResult':
        result = super().__new__(cls, path)
        result.summary = summary
        return result

    @property
    def files(self) -> Dict[str, str]:
        """{kind: path} of the files that were written, such as 'model' and 'summary'."""
        return dict(self.summary.files)

    def __getnewargs__(self) -> Tuple[str, QuantizeSummary]:  # type: ignore  # __new__ of str takes no summary
        return str(self), self.summary

    def __repr__(self) -> str:
        return 'QuantizeResult({!r}: {}; {})'.format(str(self), self.summary.coverage, ', '.join(
            '{}: {}'.format(*file) for file in self.summary.files))

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()
