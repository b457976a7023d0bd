"""The one error of the training commands."""


class TrainingError(Exception):
    """Training cannot begin or go on; the message is one sentence saying why and what to do. Exit code 2."""
