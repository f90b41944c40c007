"""How a segmentation is looked at."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

_PORT = 9000
_SITE = "https://neuroglancer-demo.appspot.com"


def viewer_lines(image: str, out: Path) -> list[str]:
    """Commands and a link for napari and neuroglancer; a TIFF opens anywhere."""
    if out.suffix.lower() != ".zarr":
        return []
    shown = [image] if ".zarr" in image and not image.startswith("s3://") else []
    layers = [_layer("ids", "segmentation", out.name)]
    if shown and Path(image).absolute().parent == out.absolute().parent:
        layers.insert(0, _layer("image", "image", Path(image).name))
    link = f"{_SITE}/#!{quote(json.dumps({'layers': layers}, separators=(',', ':')))}"
    serve = f"npx http-server -p {_PORT} --cors {out.absolute().parent}"
    return [
        f"napari:       napari --plugin napari-ome-zarr {' '.join([*shown, str(out)])}",
        f"neuroglancer: {serve}, then open {link}",
    ]


def _layer(name: str, kind: str, path: str) -> dict[str, str]:
    source = f"http://127.0.0.1:{_PORT}/{quote(path)}/|zarr3:"
    return {"name": name, "type": kind, "source": source}
