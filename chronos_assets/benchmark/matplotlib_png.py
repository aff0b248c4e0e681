"""Matplotlib's figures as bytes: SVG, and PNG small enough for an asset's metadata.

Here: encoding alone. What is drawn is in `figure` and in `defs.trial_pictures`. Matplotlib and Pillow are
imported where they are needed: loading the definitions must not wait for them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PNG_BYTES = 30_000  # what metadata of an asset may hold of a picture

_PALETTE = 64  # colours of a PNG: a few, and the greys at the edges of letters


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG: the same bytes for the same scores."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "chronos-assets", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def to_png(figure: Figure, *, dots_per_inch: int = 200) -> bytes:
    """The figure as PNG of 64 colours, 1,600 pixels wide by default: the same bytes for the same scores."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dots_per_inch)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # once: `savefig` draws twice, and encodes a picture of all colours
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    picture = io.BytesIO()
    image.convert("RGB").quantize(_PALETTE, dither=Image.Dither.NONE).save(picture, format="png", optimize=True)
    return picture.getvalue()


def to_small_png(figure: Figure, limit: int = MAX_PNG_BYTES) -> bytes:
    """The figure as PNG of at most `limit` bytes, as many pixels as that allows and 1,000 wide at most.

    Raises:
        ValueError: not even 40 dots per inch fit.
    """
    for dots_per_inch in (125, 115, 105, 95, 80, 60, 40):
        picture = to_png(figure, dots_per_inch=dots_per_inch)
        if len(picture) <= limit:
            return picture
    raise ValueError(f"the figure takes more than {limit} bytes at 40 dots per inch")
