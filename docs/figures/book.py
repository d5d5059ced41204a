#!/usr/bin/env python3
"""A picture of the book as a browser shows it, wide and narrow: book.png. Needs what `make book` has built,
and Debian's chromium and pngquant.

    make book && docs/figures/book.py

The page on operation at 1,280 and the same at 390 pixels, side by side; pngquant takes the colours that nobody sees.
"""

import html
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "target/book/html/docs/operations.html"
WIDE, NARROW, HIGH = 1280, 390, 844
# A frame for each width: what is in it is laid out as in a window of that width.
FRAMES = """<!doctype html><style>
  body {{ margin: 0; background: #d0d7de; display: flex; gap: 16px; padding: 16px; }}
  iframe {{ border: 0; background: #fff; height: {high}px; }}
</style>
<iframe src="{page}" style="width: {wide}px"></iframe><iframe src="{page}" style="width: {narrow}px"></iframe>
"""


def main():
    if not PAGE.exists():
        raise SystemExit(f"{PAGE} is not there: make book")
    with tempfile.TemporaryDirectory() as folder:
        frames, shot = pathlib.Path(folder, "frames.html"), pathlib.Path(folder, "shot.png")
        frames.write_text(FRAMES.format(page=html.escape(PAGE.as_uri()), wide=WIDE, narrow=NARROW, high=HIGH))
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000",
             f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
             f"--window-size={WIDE + NARROW + 48},{HIGH + 32}", frames.as_uri()],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        subprocess.run(
            ["pngquant", "--force", "--strip", "--speed=1", "--output", HERE / "book.png", "32", shot], check=True
        )


if __name__ == "__main__":
    main()
