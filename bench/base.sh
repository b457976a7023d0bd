#!/bin/sh
# A stand-in for python:3.11-slim-bookworm out of Debian's packages, for machines that can pull no image. As root on Debian:
#   bench/base.sh base.tar && podman import base.tar localhost/base
#   podman build --format docker --build-arg BASE=localhost/base --tag tellapart .
# It differs in its Python: Debian's 3.11 below /usr, not python.org's below /usr/local. Like the image it has pip, but no .pyc.
set -eu
tar=$(realpath "$1")
root=$(mktemp --directory)
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata,python3 bookworm "$root" >&2
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
rm "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
python3 -m pip download --quiet --no-deps --dest "$root/wheels" pip setuptools wheel
chroot "$root" sh -c 'PYTHONPATH=$(echo /wheels/pip-*.whl) python -B -m pip install --no-compile --no-index --no-deps /wheels/*.whl' >&2
cd "$root"
rm -rf wheels debootstrap var/lib/apt/lists/* var/cache/apt/* var/log/*.log
rm -rf usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/*
find . -name __pycache__ -prune -exec rm -r {} +
tar --create --file "$tar" --one-file-system .
