"""The background pages about batch norm and positions run and print what they show."""
import re

import pytest

from tests.docs.pages import Page, run_page
from vai_q_tf import dpu


@pytest.mark.parametrize('path', ['background/batch_norm.md', 'background/positions.md'])
def test_page(path, tmp_path, forked_python):
    run_page(path, tmp_path, forked_python)


def test_the_limits_of_shifts():
    rows = re.findall(r'^\| ([^|]*?)(?: \(.*\))? \|[^|]*\| ([^|]*) \|', Page('background/positions.md').text, re.MULTILINE)
    limits = dict(rows)
    assert limits['shift_cut'] == '0 to {}'.format(dpu.MAX_SHIFT)
    assert limits['shift_bias'] == 'at most {}'.format(dpu.MAX_SHIFT)
    assert limits['addition, inputs'] == 'at most {}'.format(dpu.MAX_ADD_SHIFT_READ)
    assert limits['addition, result'] == '−{0} to {0}'.format(dpu.MAX_ADD_SHIFT_WRITE)
    assert limits['addition, bits'] == 'at most {}, or at most {}'.format(dpu.ADD_EXTRA_BITS, dpu.ADD_EXTRA_BITS - 1)
    assert limits['multiplication'] == '0 to {}'.format(dpu.MAX_MUL_SHIFT_WRITE)
    assert limits['pool, maximum over dimensions'] == '−{0} to {0}'.format(dpu.MAX_POOL_SHIFT)
    assert limits['hard sigmoid'] == '0 to {}'.format(dpu.MAX_HARD_SIGMOID_SHIFT)
