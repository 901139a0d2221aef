"""The table of codes, the documentation and the bad inputs agree; the workspace's tests hold the source to the documentation."""

import re

from bad_inputs import REFUSED
from demo_server import ROOT

from omega_server.wire.codes import BODY, CODES, FORMS, MEDIA


def documented() -> dict[str, tuple[int, str]]:
    """Status and type of each code in docs/errors.md."""
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(rows) == len({code for *_, code in rows})
    return {code: (int(status), kind) for status, kind, code in rows}


def test_documentation_and_table() -> None:
    """docs/errors.md has each code of the table under its status, and no other."""
    assert {(status, code) for code, (status, _) in documented().items()} == {
        (status, code) for status, codes in CODES.items() for code in codes
    }


def test_documentation_and_cases() -> None:
    """What the bad inputs are answered is what docs/errors.md says."""
    known = documented()
    assert {(case.code, case.status) for case in REFUSED} <= {(code, status) for code, (status, _) in known.items()}
    assert {known[case.code][1] for case in REFUSED} == {"invalid_request_error"}


def test_each_code_of_a_body_has_a_case() -> None:
    """No code of a body or a medium is only promised."""
    assert {*BODY, *FORMS, *MEDIA} <= {case.code for case in REFUSED}
