"""The path that quantize_frozen returns is a str with a summary."""
import copy
import pickle

from tests.summary.test_text import EMPTY
from vai_q_tf.summary.quantize_result import QuantizeResult


def test_a_path_with_a_summary():
    files = (('model', 'out/m.pb'), ('summary', 'out/s.json'))
    result = QuantizeResult('out/m.pb', EMPTY._replace(files=files))
    assert result == 'out/m.pb' and result.files == dict(files) and result.summary.files == files
    assert repr(result).startswith("QuantizeResult('out/m.pb': ") and repr(result).endswith(
        '; model: out/m.pb, summary: out/s.json)')
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert (again, type(again), again.summary) == (result, QuantizeResult, result.summary)
