"""The service's command line: `python -m app serve | classify PHOTO… | check BUNDLE | tune`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

from app import settings as settings_module
from app.errors import BundleError, SettingError

EXIT_CODES = {SettingError: 2, BundleError: 3}
SIGNALS = (
    "SIGTERM and Ctrl-C answer what was accepted and leave. SIGHUP loads the bundle at --model again, beside the one "
    "at work, which stays if the new one fails a check; where --model is a link, changing it does the same."
)
WORKING = ("model", "engine", "threads", "max_pixels_mp")


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code: 0 done, 1 some failed, 2 wrong use, 3 bundle refused, 130 stopped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every form that a client gets wrong
    warnings.filterwarnings("ignore", module="PIL")  # what is odd about a stranger's photo is no operator's concern
    args = build_parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except (SettingError, BundleError) as error:
        print(error, file=sys.stderr)
        return EXIT_CODES[type(error)]
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Every flag can also be set as TELLAPART_NAME in the environment."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Tell photos apart.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    # Without abbreviations: `--api-key SECRET` would pass for --api-key-file, and its error would show the key.
    add_command = partial(commands.add_parser, allow_abbrev=False)
    serve = add_command("serve", help="serve a bundle over HTTP", epilog=SIGNALS)
    serve.set_defaults(run=run_serve)
    settings_module.add_flags(serve)

    classify = add_command("classify", help="classify photos")
    classify.set_defaults(run=run_classify)
    classify.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    form = classify.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", dest="form", const="json", help="print a JSON list")
    form.add_argument("--csv", action="store_const", dest="form", const="csv", help="print CSV")
    settings_module.add_flags(classify, WORKING)

    check = add_command("check", help="check a bundle's files and replay its golden photos")
    check.set_defaults(run=run_check)
    check.add_argument("bundle", type=Path, metavar="BUNDLE")
    settings_module.add_flags(check, ("engine",))

    tune = add_command("tune", help="measure how many photos at once are best on this machine, in half a minute")
    tune.set_defaults(run=run_tune)
    settings_module.add_flags(tune, ("model", "engine"))
    return parser


def run_serve(args: argparse.Namespace) -> int:
    """Serve until stopped. Once the settings are right, all that it has to say goes to its log."""
    # The server takes both over. Until then SIGHUP has nothing to reload, and would end the process; SIGTERM would not
    # be heard by process 1 of a container: the kernel spares it the default.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from app import logs
    from app.server import serve

    settings = read_settings(args)
    with logs.writing(settings.log_format):
        try:
            serve(settings)
        except (SettingError, BundleError) as error:
            logs.log.error(error)
            return EXIT_CODES[type(error)]
        except Exception:  # noqa: BLE001 (a fault of ours; its traceback belongs into the log too)
            logs.log.exception("tellapart has failed.")
            return 1
    return 0


def run_classify(args: argparse.Namespace) -> int:
    """Classify photos and print what came of each."""
    from app.commands import classify

    return classify(args.photos, args.form or "table", read_settings(args))


def run_check(args: argparse.Namespace) -> int:
    """Check a bundle and print its card."""
    from app.commands import check

    return check(args.bundle, read_settings(args))


def run_tune(args: argparse.Namespace) -> int:
    """Measure other plans than the rule's."""
    from app.tune import tune

    return tune(read_settings(args))


def read_settings(args: argparse.Namespace) -> settings_module.Settings:
    """Settings from the command's flags and the environment."""
    return settings_module.build(vars(args), os.environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
