"""The runner of pages runs what it should, and notices what differs."""
import pytest

from tests.docs.pages import Page, pages, run_page, shows

PAGE = '''# Title

```python
# module.py
VALUE = 3
```

```python
import module
compile = sys = None
print('value', module.VALUE)
```

```text
value 3
```

<!-- exits with 2 -->
```sh
python -c 'import module; print(module.VALUE + 1)'
exit 2
```

```text
4
```

<!-- not run: needs a board -->
```sh
exit 1
```

```python
print(module.VALUE * 0.5)
```
'''


def _page(tmp_path, text):
    path = tmp_path / 'page.md'
    path.write_text(text)
    return Page(str(path))


def test_a_page(tmp_path):
    page = _page(tmp_path, PAGE)
    printed = page.run(tmp_path)
    assert printed == {8: 'value 3\n', 19: '4\n', 33: '1.5\n'}
    assert [block.mark for block in page.blocks] == ['', '', '', 'exits with', '', 'not run:', '']


@pytest.mark.parametrize('before, after', [
    ('value 3\n```', 'value 4\n```'), ('exits with 2', 'exits with 3'), ("print('value'", "raise OSError('value'"),
    ('```text\n4\n', '```text\n4\n5\n'), ('<!-- not run: needs a board -->\n', '')])
def test_what_is_noticed(tmp_path, before, after):
    assert before in PAGE
    with pytest.raises(AssertionError):
        _page(tmp_path, PAGE.replace(before, after)).run(tmp_path)


@pytest.mark.parametrize('expected, printed, same', [
    ('a\nb', 'x\na\nb\nc', True), ('a\nc', 'a\nb\nc', False), ('a\n...\nc', 'a\nb\nb\nc', True), ('c\n...\na', 'a\nc', False),
    ('a  1.00', 'a 1.02', True), ('a 1.00', 'a 1.03', False), ('a 100', 'a 102', True), ('a 100', 'a 103', False),
    ('a 0.00', 'a 0.01', True), ('a 3', 'a 4', False), ('a -1', 'a 1', False), ('a\n-----', 'a\n-------', True)])
def test_output(expected, printed, same):
    assert shows(expected, printed) is same


def test_all_pages_are_found():
    assert 'design.md' in pages() and pages('pictures') == []


def test_a_page_that_others_continue_runs_once(tmp_path):
    first, second = tmp_path / 'first.md', tmp_path / 'second.md'
    first.write_text('```sh\nmkdir folder\ndate +%s%N > folder/time\n```\n')
    second.write_text('<!-- continues: {} -->\n\n```sh\ncat folder/time\nmkdir other\n```\n'.format(first))
    times = []
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        times += run_page(str(second), tmp_path / name).values()
    assert times[0] == times[1] > ''
