"""`python -m tests.icons` draws the icons of the installed page from static/icon.svg, into static/ again.

Phones want them as PNG, and one that fills its square, for they cut it into a shape of their own.
"""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image, ImageDraw

from app.assets import STATIC

SCALE = 4  # drawn larger, then scaled down, so that edges are smooth
COLOURS = 64  # enough for three flat ones and their smooth edges
# name → (pixels a side, whether it fills its square)
ICONS = {"icon-192.png": (192, False), "icon-512.png": (512, False), "icon-maskable.png": (512, True)}


def icon(side: int, full: bool) -> Image.Image:
    """static/icon.svg, which has one rectangle and circles, as RGBA, `side` pixels wide and high."""
    svg = ElementTree.parse(STATIC / "icon.svg").getroot()
    unit = SCALE * side / float(svg.attrib["viewBox"].split()[2])
    image = Image.new("RGBA", (SCALE * side, SCALE * side))
    draw = ImageDraw.Draw(image)
    for shape in svg:
        given = shape.attrib
        if shape.tag.endswith("rect"):
            radius = 0 if full else float(given["rx"]) * unit
            draw.rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, given["fill"])
        else:
            x, y, r = (float(given[name]) * unit for name in ("cx", "cy", "r"))
            stroke = float(given.get("stroke-width", 0)) * unit
            r += stroke / 2  # SVG draws half of a line outside
            fill = None if given["fill"] == "none" else given["fill"]
            draw.ellipse((x - r, y - r, x + r, y + r), fill, given.get("stroke"), round(stroke))
    return image.resize((side, side), Image.Resampling.BOX)


def png(side: int, full: bool) -> bytes:
    """The icon as a file of a few KB."""
    out = io.BytesIO()
    icon(side, full).quantize(COLOURS, Image.Quantize.FASTOCTREE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(folder: Path = STATIC) -> None:
    """Write all of them."""
    for name, (side, full) in ICONS.items():
        (folder / name).write_bytes(png(side, full))


if __name__ == "__main__":
    main()
