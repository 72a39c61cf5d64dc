from hypothesis import given
from hypothesis import strategies as st

from jobsys.message import (
    Failure,
    Order,
    Report,
    Said,
    Value,
    decode_order,
    decode_report,
    decode_said,
    encode_message,
    encode_order,
)
from jobsys.record import Blob, JobRecord, Part
from jobsys.requirements import Requirements

PLACE = Blob(3, 4, 5)


@given(st.binary())
def test_a_report_and_its_payload_are_taken_apart_again(payload: bytes) -> None:
    for report in (
        Report(1, 2, 3.0, 4.0),
        Report(
            1,
            2,
            3.0,
            4.0,
            "1.f",
            0.5,
            7,
            "ü",
            PLACE,
            (0, -1),
            (JobRecord("n", PLACE),),
            (Part(PLACE, 9),),
            Blob("logs/1", 0, 9),
            ("files/x",),
        ),
        Report(1, 2, 3.0, 4.0, failure=Failure("memory", "m", "t", "MemoryError")),
    ):
        assert decode_report(encode_message(report, payload)) == (report, payload)
    said = Said(1, 2, "text", 30, PLACE, (1,))
    assert decode_said(encode_message(said, payload)) == (said, payload)


@given(st.dictionaries(st.integers(0, 2**40), st.builds(Value, st.just(PLACE), st.lists(st.integers(0, 9)).map(tuple))))
def test_an_order_survives_the_way(values: dict[int, Value]) -> None:
    order = Order(1, 2, "n", PLACE, "1.f", tuple(values), values, Requirements(memory=1), True)
    assert decode_order(encode_order(order)) == order
    assert decode_order(encode_order(Order(1, 2, "n", PLACE, "t"))) == Order(1, 2, "n", PLACE, "t")
