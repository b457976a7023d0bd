"""The training command line: `python -m training COMMAND …`."""

from __future__ import annotations

import argparse
import errno
import io
import sys
import warnings
from importlib import import_module

from app.errors import BundleError, SettingError
from training.errors import TrainingError

# command → its module, with add_arguments(parser) and run(args) -> exit code, and what it does
COMMANDS = {
    "download": ("download", "fetch the photos that a list of URLs names"),
    "verify": ("verify", "look through the photos: broken ones to quarantine, doubtful ones named"),
    "split": ("split", "decide which photos train and which validate"),
    "show-batch": ("show_batch", "draw some training photos as the network sees them"),
    "lr-find": ("lr_find", "try learning rates, and suggest one"),
    "train": ("train", "fine-tune a network on folders of photos"),
    "import": ("import_weights", "take over a network that was trained elsewhere"),
    "sgd": ("sgd_lesson", "draw how gradient descent fits a line"),
    "report": ("report", "write one page about a run: curves, mistakes, settings"),
    "compare": ("compare", "compare two runs on the photos that both judged"),
    "clean": ("clean", "look through the photos a run found hardest, in the browser"),
    "export": ("export", "make a bundle from a finished run"),
}


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code: 0, 1 some inputs failed, 2 wrong use, 3 bundle refused, 130 stopped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    warnings.filterwarnings("ignore", module="PIL")  # oddities of photos that it reads all the same
    try:
        args = parse(arguments)
        return int(args.run(args))
    except (TrainingError, SettingError) as error:
        print(error, file=sys.stderr)
        return 2
    except BundleError as error:
        print(error, file=sys.stderr)
        return 3
    except OSError as error:
        print(f"{error.filename or arguments[0]}: {error.strerror or error}.{advice(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command's own arguments; `run` is what carries it out."""
    parser = argparse.ArgumentParser(prog="python -m training", description="From folders of photos to a bundle.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module_name, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in arguments[:1]:  # only the module asked for is imported
            module = import_module(f"training.{module_name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(arguments)


def advice(error: OSError) -> str:
    """What to do about it: every command can be given again, and loses nothing by it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return " Make room, then give the same command again."
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
