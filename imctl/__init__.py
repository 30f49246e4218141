"""imctl: a goim cluster, its tools and its customisation points, in Python."""

__all__ = ["__version__"]

__version__ = "0.1.0"
