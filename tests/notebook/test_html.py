"""HTML of notebooks: tags are closed, text is escaped, numbers are on the right, long tables are folded."""
import html.parser
import re

from vai_q_tf.notebook.html import block, folded, html_list, html_table, html_text

EVIL = '<script>alert("&")</script>'
_VOID = ('br', 'hr', 'img')


class Reader(html.parser.HTMLParser):
    """Reads HTML, whose tags have to be closed in order.

    `tags` and `attrs` are those of all elements, `rows` the cells of the tables by row, `folded` the number of folded cells.
    """

    def __init__(self, text):
        super().__init__()
        self._open, self.tags, self.attrs, self.rows, self.text, self.folded = [], [], [], [], [], 0
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs
        if tag == 'tr':
            self.rows.append([])
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self._open and self._open[-1] in ('td', 'th'):
            self.rows[-1].append(data)
            self.folded += 'details' in self._open


def test_numbers_stand_on_the_right_and_flags_do_not():
    text = html_table(('a',), [(1,), (0.5,), (True,), ('x',)])
    assert re.findall('align:([a-z]+)">([^<]+)', text) == [('right', '1'), ('right', '0.5'), ('left', 'True'), ('left', 'x')]


def test_titles_are_text():
    for html_of in (block(EVIL), html_list(EVIL, ['x']), folded(EVIL, 'x'), html_table((EVIL,), [(1,)])):
        assert '<script>' not in html_of and EVIL in ''.join(Reader(html_of).text)


def test_rows_after_the_first_15_are_folded():
    reader = Reader(html_table(('a', 'b'), ((n, [n, 'x']) for n in range(20))))
    assert reader.rows[:2] == [['a', 'b'], ['0', '0, x']] and len(reader.rows) == 2 + 20
    assert reader.folded == 2 * (1 + 5) and '5 more' in reader.text


def test_nothing_without_content():
    assert html_table(('a',), ()) == html_list('title', ()) == folded('title', '') == ''
    assert html_text('1 < 2') == '<p>1 &lt; 2</p>'
