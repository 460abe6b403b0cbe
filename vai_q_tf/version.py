"""The version of the package, which setup.py reads too."""

__version__ = '0.1.0'
__git_version__ = 'v' + __version__
