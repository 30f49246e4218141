from __future__ import annotations

import pytest
from hypothesis import given

from protocol.errors import LocalError
from protocol.operation import Operation, operation_name, operation_number, reply_operation
from tests.protocol.strategies import INT32


@pytest.mark.parametrize("operation", list(Operation), ids=lambda operation: operation.name)
def test_every_name_leads_back_to_its_number(operation):
    name = operation_name(operation)

    assert operation_number(name) == operation_number(name.upper().replace("_", "-")) == operation


@given(INT32)
def test_every_number_of_32_bits_is_an_operation(op):
    assert operation_number(f" {op} ") == op


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("authh", "'authh' is no operation; is auth meant?"),
        ("xyz", "'xyz' is no operation; expected a number, or one of handshake, "),
        ("", "'' is no operation"),
        ("7.0", "'7.0' is no operation"),
        (str(2**31), "operation 2147483648 does not fit into 32 bits"),
    ],
)
def test_anything_else_is_refused_by_name(text, problem):
    with pytest.raises(LocalError) as caught:
        operation_number(text)

    assert str(caught.value).startswith(problem)


def test_an_answer_has_goims_number_or_the_one_of_its_request():
    assert [reply_operation(op) for op in (2, 12, 14, 16)] == [3, 13, 15, 17]
    assert [reply_operation(op) for op in (3, 4, 7, 1000)] == [3, 4, 7, 1000]
