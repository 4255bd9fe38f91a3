"""The version of cnnstat, below everything else, so that files that state it do not import the whole package."""

__version__ = "0.1.0"
