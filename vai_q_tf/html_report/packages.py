"""The packages of the extra `[report]`, which only this room imports."""
import importlib

from vai_q_tf import errors

_PACKAGES = ('jinja2', 'bokeh', 'grandalf')


def require_report() -> None:
    """Raises a QuantizeError MISSING_LIBRARY if a package that `write_report` needs is missing."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise errors.QuantizeError(
                errors.MISSING_LIBRARY, 'Not installed', 'The report needs jinja2, bokeh and grandalf ({}); install them with: '
                "pip install 'vai_q_tf[report]'".format(error)) from error
