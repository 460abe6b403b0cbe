"""Lists and percentages in sentences."""
import pytest

from vai_q_tf.wording import percent, some_of


def test_some_of():
    assert some_of([]) == '' and some_of(iter('ab')) == 'a, b' and some_of('abc') == 'a, b, c'
    assert some_of('abcde') == 'a, b, c and 2 more'
    assert some_of('abc', 1) == 'a and 2 more' and some_of('abc', 2, between='; ') == 'a; b and 1 more'


@pytest.mark.parametrize('share, text', [
    (0, '0 %'), (1e-9, '< 0.1 %'), (0.00099, '< 0.1 %'), (0.0015, '0.15 %'), (0.0234, '2.3 %'), (0.0996, '10.0 %'),
    (0.256, '25.6 %'), (0.9999, '100.0 %'), (1, '100 %')])
def test_percent(share, text):
    assert percent(share) == text
