"""The service: a photo in, class probabilities out. Never imports `training`."""
