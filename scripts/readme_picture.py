"""Makes docs/images/demo.jpg from the pictures that `ovseg3r demo` has written: frame, cloud, superpoints."""

import sys
from pathlib import Path

from PIL import Image, ImageChops

HEIGHT = 420


def main(pictures: Path, target: Path) -> None:
    """Puts the three pictures side by side, without their empty borders."""
    parts = [_cropped(Image.open(pictures / name)) for name in ("masks.png", "cloud.png", "superpoints.png")]
    parts = [part.resize((part.width * HEIGHT // part.height, HEIGHT), Image.Resampling.LANCZOS) for part in parts]
    out = Image.new("RGB", (sum(part.width for part in parts), HEIGHT))
    left = 0
    for part in parts:
        out.paste(part, (left, 0))
        left += part.width
    out.save(target, quality=86, optimize=True)


def _cropped(picture: Image.Image) -> Image.Image:
    corner = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    return picture.crop(ImageChops.difference(picture, corner).getbbox())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
