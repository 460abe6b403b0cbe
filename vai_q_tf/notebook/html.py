"""HTML of results in notebooks, for `_repr_html_`: escaped text without scripts and colours, which follows their theme."""
from html import escape
from typing import Any, Iterable, Sequence

_MOST = 15


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]], most: int = _MOST) -> str:
    """A table of numbers, on the right of their cells, and text, with the rows after the first `most` folded; '' without rows.

    Args:
      head: the titles of the columns.
    """
    rows = list(rows)
    more = folded('{} more'.format(len(rows) - most), _table(head, rows[most:])) if len(rows) > most else ''
    return _table(head, rows[:most]) + more if rows else ''


def html_text(text: str) -> str:
    """A paragraph."""
    return '<p>{}</p>'.format(escape(text))


def html_list(title: str, texts: Iterable[str]) -> str:
    """A title with a list of texts below; '' without texts."""
    items = ''.join('<li>{}</li>'.format(escape(text)) for text in texts)
    return '<p><b>{}</b></p><ul>{}</ul>'.format(escape(title), items) if items else ''


def folded(title: str, html: str) -> str:
    """HTML that a click on its title shows; '' without HTML."""
    return '<details><summary>{}</summary>{}</details>'.format(escape(title), html) if html else ''


def block(title: str, *parts: str) -> str:
    """The result of a `_repr_html_`: a bold title and pieces of HTML."""
    return '<div><p><b>{}</b></p>{}</div>'.format(escape(title), ''.join(parts))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return '<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'.format(
        ''.join(map(_head, head)), ''.join('<tr>{}</tr>'.format(''.join(map(_cell, row))) for row in rows))


def _head(title: str) -> str:
    return '<th scope="col">{}</th>'.format(escape(title))


def _cell(value: Any) -> str:
    side = 'right' if isinstance(value, (int, float)) and not isinstance(value, bool) else 'left'
    return '<td style="text-align:{}">{}</td>'.format(side, escape(_shown(value)))


def _shown(value: Any) -> str:
    """The text of a cell: numbers with four digits, lists and tuples with commas."""
    if isinstance(value, float):
        return '{:.4g}'.format(value)
    return ', '.join(map(_shown, value)) if isinstance(value, (list, tuple)) and value else str(value)
