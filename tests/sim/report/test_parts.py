from sim.report.html import html_page
from sim.report.json import dump
from sim.report.markdown import markdown_text
from sim.report.model import PublisherReport, PublishReport
from sim.report.parts import publishers_table
from sim.report.reading import read_report
from tests.sim.report.samples import report_of

SHARED = "it shares a target with chat, and no message tells whose it is"


def shared(name, reason=SHARED):
    return PublisherReport(name, PublishReport(40, 1), None, None, None, reason=reason)


def test_what_was_not_measured_of_a_publisher_is_a_dash_and_the_note_says_why():
    report = report_of(publishers=(PublisherReport("own"), shared("pictures")))

    table = publishers_table(report)

    own, pictures = ([cell.text for cell in row] for row in table.rows)
    assert own == ["own", "0", "0", "0", "0", "0", "0", "0", "-", "-", "-"]
    assert pictures == ["pictures", "40", "1", *["-"] * 8]
    assert table.note == f"pictures has no figures of deliveries: {SHARED}."


def test_every_format_says_what_was_not_measured_and_the_document_can_be_read_again():
    report = report_of(publishers=(PublisherReport("own"), shared("pictures")))

    document = report.to_dict()
    assert [document["publishers"][1][key] for key in ("delivery", "latency_ms", "fanout", "reason")] == [
        *(None, None, None),
        SHARED,
    ]
    assert '"delivery": null' in dump(report)
    assert read_report(document).publishers == report.publishers
    for text in (markdown_text(report), html_page(report)):
        assert f"pictures has no figures of deliveries: {SHARED}." in text
