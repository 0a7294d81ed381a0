"""The version, read by the build and written into every model's card."""

__version__ = "0.1.0"
