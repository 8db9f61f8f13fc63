# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Opens a page of `neap report` in a browser without a screen and without a network."""
import dataclasses
import html.parser
import pathlib
import re
import subprocess

# Counts the colours of each chart. dygraphs lays several canvases on each other.
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const colours = (canvas) => {
    const seen = new Set();
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < pixels.length; i += 4) seen.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
    return seen.size;
  };
  const most = (chart) => Math.max(0, ...[...chart.querySelectorAll("canvas")].map(colours));
  document.documentElement.dataset.colours = [...document.querySelectorAll(".chart")].map(most).join(" ");
}, 500));
</script></body>"""


@dataclasses.dataclass
class Opened:
    """What the browser made of a page."""

    dom: str
    console: list
    sections: int  # that were drawn
    colours: list  # of each chart

    def text(self):
        """The texts that a reader sees."""
        reader = _Texts()
        reader.feed(self.dom)
        return "\n".join(reader.texts)


class _Texts(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts = []
        self.hidden = 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.hidden and data.strip():
            self.texts.append(data.strip())


def open_page(path, *, width=1200, dark=False):
    """Open the page at this width."""
    probed = pathlib.Path(path).with_suffix(".probed.html")
    page = pathlib.Path(path).read_text()
    assert page.count("</body>") == 1
    probed.write_text(page.replace("</body>", PROBE))
    done = subprocess.run(
        ["chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={width},2000", "--virtual-time-budget=10000",
         *(["--blink-settings=preferredColorScheme=0"] if dark else []), probed.as_uri()],
        capture_output=True, text=True, timeout=300, check=True)
    root = re.search(r"<html[^>]*>", done.stdout).group(0)
    drawn = re.search(r'data-drawn="(\d+)"', root)
    colours = re.search(r'data-colours="([\d ]*)"', root)
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line],
                  int(drawn.group(1)) if drawn else 0, [int(one) for one in colours.group(1).split()] if colours else [])
