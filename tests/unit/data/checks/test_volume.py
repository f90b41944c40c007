"""A stored volume is looked at again, beside others; its report as JSON and as a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from spoilt import Stack, stack_of

from emsam.data.checks.page import html_page
from emsam.data.checks.report import report
from emsam.data.checks.volume import examine_volume
from emsam.data.ingest import Source, ingest_volume
from emsam.data.store import Volume
from emsam.documents import finite_or_none

EVIL = '<img src=x onerror="alert(1)">&amp'


def stored(
    stack: Stack, folder: Path, name: str, *, split: str = "train=0-12,val=14-18", licence: str = ""
) -> Volume:
    """Ingest a stack as the volume ``name`` of the data root ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {task: folder / f"{name}-{task}.tif" for task in stack.labels}
    tifffile.imwrite(folder / f"{name}.tif", stack.image, photometric="minisblack")
    for task, path in paths.items():
        tifffile.imwrite(path, stack.labels[task], photometric="minisblack")
    source = Source(folder / f"{name}.tif", paths, (30.0, 8.0, 8.0), split, licence)
    return ingest_volume(name, source, folder / name / "volume.zarr")


@pytest.fixture(scope="module")
def spoilt(demo: Volume, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """A volume with most defects there are, under a name that no page may take as it is."""
    stack = stack_of(demo)
    image, neurites = stack.image, stack.labels["neurites"]
    image[2] = 9  # missing
    image[4] = np.clip(image[4], 0, np.quantile(image[4], 0.85))  # saturated
    image[8] = image[7]  # duplicates
    image[15] = image[6]  # leakage
    image[11] //= 3  # contrast, brightness
    image[13, :40] = 60  # blank objects
    neurites[17] = 0  # unlabelled
    return stored(stack, tmp_path_factory.mktemp("spoilt") / EVIL.replace("/", ""), "bad",
                  licence=EVIL)  # fmt: skip


EXPECTED = {"missing", "saturated", "duplicates", "leakage", "intensity", "blank objects",
            "unlabelled"}  # fmt: skip


def test_ingest_keeps_the_warnings_that_a_check_finds_again(spoilt: Volume) -> None:
    seen = examine_volume(spoilt)
    assert {finding.kind for finding in seen.findings} == EXPECTED
    warnings = [each.message for each in seen.findings if each.level == "warning"]
    assert spoilt.info.warnings == tuple(warnings)
    assert seen.warned


def test_the_synthetic_volume_has_a_note_and_no_warning(demo: Volume) -> None:
    seen = examine_volume(demo, [demo.path])
    assert [(each.kind, each.level) for each in seen.findings] == [("missing", "note")]
    assert not seen.warned
    assert seen.compared == ()
    assert demo.info.warnings == ()


@pytest.mark.parametrize("how", ["same", "mirrored", "turned", "noisy"])
def test_leakage_between_volumes(demo: Volume, tmp_path: Path, how: str) -> None:
    here = stored(Stack(stack_of(demo).image[:10], {}), tmp_path, "here", split="train=0-9")
    other = np.random.default_rng(0).integers(0, 256, (10, 256, 256), dtype=np.uint8)
    copy = stack_of(demo).image[5]
    copies = {
        "same": copy,
        "mirrored": copy[::-1],
        "turned": np.rot90(copy),
        "noisy": np.clip(copy + np.random.default_rng(1).normal(0, 4, copy.shape), 0, 255),
    }
    other[8] = copies[how]
    other[1] = copy  # trained on there too, which is no leakage
    stored(Stack(other, {}), tmp_path, "there", split="train=0-5,val=7-9")
    (tmp_path / "broken" / "volume.zarr").mkdir(parents=True)
    seen = examine_volume(here, tmp_path.glob("*/volume.zarr"))
    (finding,) = seen.findings
    (pair,) = finding.pairs
    assert (finding.kind, finding.level, seen.compared) == ("leakage", "warning", ("there",))
    assert (pair.first, pair.volume, pair.second) == (5, "there", 8)
    assert (pair.identical, pair.turned) == (how == "same", how in ("mirrored", "turned"))
    back = examine_volume(Volume(tmp_path / "there" / "volume.zarr"), [here.path])
    assert [(each.first, each.second) for each in back.findings[-1].pairs] == [(8, 5)]
    assert "there 8" in html_page(seen)


def test_other_sections_of_one_tissue_are_no_leakage(demo: Volume, tmp_path: Path) -> None:
    image = stack_of(demo).image
    here = stored(Stack(image[::2], {}), tmp_path, "here", split="train=0-9")
    stored(Stack(image[1::2], {}), tmp_path, "there", split="train=0-1,val=2-8")
    assert examine_volume(here, tmp_path.glob("*/volume.zarr")).findings == ()


def test_a_volume_of_before_the_checks_can_be_read(demo: Volume, tmp_path: Path) -> None:
    import shutil

    store = shutil.copytree(demo.path, tmp_path / "old" / "volume.zarr")
    text = json.loads((store / "zarr.json").read_text())
    del text["attributes"]["emsam"]["known_missing"]
    (store / "zarr.json").write_text(json.dumps(text))
    old = Volume(store)
    assert old.info.known_missing == ()
    assert [each.kind for each in examine_volume(old).findings] == ["missing"]


def test_the_report_is_a_json_document(spoilt: Volume) -> None:
    document = json.loads(json.dumps(finite_or_none(report(examine_volume(spoilt)))))
    assert {"name", "splits", "warnings", "path", "shape", "tasks"} <= set(document)
    assert {each["kind"] for each in document["findings"]} == EXPECTED
    assert set(document["findings"][0]) == {
        "kind", "message", "level", "task", "slices", "pairs", "ids"
    }  # fmt: skip
    assert [each["z"] for each in document["slices"]] == list(range(19))
    assert [document["slices"][z]["split"] for z in (0, 13, 14)] == ["train", "", "val"]
    assert document["slices"][0]["neighbour"] is None
    neurites = document["classes"]["neurites"]
    counted = [len(np.unique(spoilt.labels("neurites", z))) - 1 for z in (0, 17)]
    assert [neurites["objects_per_slice"][z] for z in (0, 17)] == [counted[0], 0]
    assert sum(bar["objects"] for bar in neurites["area_histogram"]) == neurites["objects"]
    assert 0.4 < neurites["labelled"] < 0.9


class Balance(HTMLParser):
    """Tags that are open, and everything that was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_self_contained_and_escaped(spoilt: Volume) -> None:
    seen = examine_volume(spoilt)
    page = html_page(seen)
    parser = Balance()
    parser.feed(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parser.open == []
    for finding in seen.findings:
        assert finding.message in parser.text
    assert EVIL in parser.text  # as text, not as a tag
    assert EVIL not in page
    assert not {tag for tag, _ in parser.tags} & {"script", "link", "iframe", "object"}
    sources = [attributes["src"] for tag, attributes in parser.tags if tag == "img"]
    assert len(sources) >= len(seen.findings)
    assert all(each and each.startswith("data:image/png;base64,") for each in sources)
    assert "onerror" not in {name for _, attributes in parser.tags for name in attributes}
    assert page.count("<svg") == 1 + 3 + 3 * len(spoilt.tasks)
    assert "http" not in page


def test_the_pictures_are_png_and_the_plots_are_svg(spoilt: Volume) -> None:
    import base64
    import io

    import imagecodecs

    page = html_page(examine_volume(spoilt))
    start = page.index("base64,") + len("base64,")
    picture = imagecodecs.png_decode(base64.b64decode(page[start : page.index('"', start)]))
    assert max(picture.shape[:2]) <= 256
    assert picture.dtype == np.uint8
    first = page.index("<svg")
    svg = ElementTree.parse(io.StringIO(page[first : page.index("</svg>") + 6])).getroot()
    assert [each.text for each in svg.findall("text")][:2] == ["train", "val"]


def test_an_object_is_shown_with_its_outline(spoilt: Volume) -> None:
    import base64

    import imagecodecs

    from emsam.data.checks.thumbnails import OUTLINE, object_picture

    ids, areas = np.unique(spoilt.labels("neurites", 0), return_counts=True)
    number = int(ids[1:][areas[1:].argmax()])
    address = object_picture(spoilt, "neurites", 0, number)
    picture = imagecodecs.png_decode(base64.b64decode(address.partition(",")[2]))
    outlined = (picture == OUTLINE).all(axis=-1)
    assert 20 < outlined.sum() < 0.2 * outlined.size
