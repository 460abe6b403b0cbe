"""What `quantize_frozen` returns."""


class QuantizeResult(str):
    """The path of the model that was written, as a str, with what there is to say of it.

    Attributes:
      summary: the QuantizeSummary. files: {what it is: path}, such as those of the 'model' and the 'summary'.
    """

    def __new__(cls, path, summary):
        result = super().__new__(cls, path)
        result.summary = summary
        return result

    @property
    def files(self):
        return dict(self.summary.files)

    def __getnewargs__(self):
        return str(self), self.summary

    def __repr__(self):
        return 'QuantizeResult({!r}: {}; {})'.format(str(self), self.summary.coverage, ', '.join(
            '{}: {}'.format(*file) for file in self.summary.files))

    def _repr_html_(self):
        return self.summary._repr_html_()
