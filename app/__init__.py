"""The service: a photo in, class probabilities out. Never imports `training`."""

__version__ = "0.1.0"
