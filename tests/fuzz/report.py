"""The output of a run: progress, and a table of counts, which the documentation shows."""
import re
import sys
import time

_BEGIN, _END = '<!-- written by make fuzz -->', '<!-- end -->'
TITLES = {'hostile': 'damaged files', 'file': 'networks, from a frozen file', 'trained': 'networks, trained'}


class Progress:
    """A line on stderr, at most one each second; on a terminal it stays where it is."""

    def __init__(self, group, count, quiet):
        self._title, self._count, self._done, self._quiet = TITLES[group], count, 0, quiet
        self._begin = self._shown = time.time()

    def show(self, kinds):
        """Counts one more trial; findings: number of kinds so far."""
        self._done += 1
        now = time.time()
        if self._quiet or now - self._shown < (1 if sys.stderr.isatty() else 15) and self._done < self._count:
            return
        self._shown, rate = now, (now - self._begin) / self._done
        left = rate * (self._count - self._done)
        sys.stderr.write('{}{}: {} of {}, {:.2f} s each, {}:{:02d} min left, {} kinds of findings{}'.format(
            '\r' * sys.stderr.isatty(), self._title, self._done, self._count, rate, int(left // 60), int(left % 60), kinds,
            '\n' * (not sys.stderr.isatty())))

    def say(self, text):
        """Prints `text` on a new line."""
        sys.stderr.write('\n' * sys.stderr.isatty() + text + '\n')

    def close(self):
        if sys.stderr.isatty() and self._done and not self._quiet:
            sys.stderr.write('\n')


def table(tally):
    """A Markdown table of trials and their outcomes."""
    lines = ['| trials | number | completed | refused with a code | findings |', '| --- | ---: | ---: | ---: | ---: |']
    for group, counts in tally.counts.items():
        total, done, refused = sum(counts.values()), counts.get('done', 0), counts.get('refused', 0)
        lines.append('| {} | {} | {} | {} | {} |'.format(TITLES[group], total, done, refused, total - done - refused))
    return '\n'.join(lines)


def write(path, tally, seed, date):
    """Puts the table, the date and the first seed between the markers of a document."""
    with open(path, encoding='utf-8') as stream:
        text = stream.read()
    inside = '{}\nRun on {}, seeds from {}:\n\n{}\n{}'.format(_BEGIN, date, seed, table(tally), _END)
    changed, count = re.subn(re.escape(_BEGIN) + '.*?' + re.escape(_END), lambda _: inside, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError('{} has no place for the table of make fuzz'.format(path))
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(changed)
