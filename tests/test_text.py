"""Numbers, lists and tables as people read them."""

from jbatch.text import (
    byte_size,
    clock,
    counted,
    duration,
    listed,
    rounded,
    signed,
    significant,
    span,
    text_table,
    with_error,
)


def test_one_is_singular():
    assert [counted(count, "update") for count in (0, 1, 1500)] == [
        "0 updates",
        "1 update",
        "1,500 updates",
    ]
    assert [counted(count, "epoch", "g") for count in (1.0, 0.5)] == ["1 epoch", "0.5 epochs"]


def test_sizes_have_a_unit_that_fits():
    shown = [byte_size(size) for size in (0, 999, 1000, 2**20, 5 * 2**30, 2**41, float("inf"))]
    assert shown == [
        *("0 B", "999 B", "0.977 KiB", "1 MiB", "5.00 GiB", "2,048.00 GiB"),
        "more than there is",
    ]


def test_durations():
    assert [clock(seconds) for seconds in (0, 59.6, 36061)] == ["0:00:00", "0:01:00", "10:01:01"]
    assert [duration(hours) for hours in (0.5, 1.99, 2, 1234)] == [
        *("30 minutes", "119 minutes"),
        *("2.0 hours", "1,234.0 hours"),
    ]


def test_digits_that_count():
    assert [significant(value, 2) for value in (0.0123, 9.87, 10.4, 12345)] == [
        *("0.012", "9.9", "10", "12,345"),
    ]
    assert [significant(value, 3) for value in (99.44, 100.4)] == ["99.4", "100"]
    assert rounded(0.10000000149, 7) == 0.1


def test_differences_have_a_sign_and_zero_has_no_minus():
    assert [signed(value, 0.5) for value in (1, -0.126, -0.004)] == ["+1.00", "−0.13", "+0.00"]
    assert [signed(0.0101, margin) for margin in (0.1, 0.02, 0.01)] == [
        "+0.01",
        "+0.0101",
        "+0.0101",
    ]


def test_errors_that_are_known_are_shown():
    assert with_error(12.34, 0.45, ".1f") == "12.3 ± 0.5"
    assert with_error(12.34, None, ".1f") == "12.3"
    assert with_error(1.90269, 0.005638, ".4g") == "1.9027 ± 0.0056"
    assert with_error(12345.6, 789.0, ".4g") == "12346 ± 789"
    assert with_error(2.5, 0.0, ".4g") == "2.5 ± 0"
    assert with_error(2.5, float("inf"), ".4g") == "2.5 ± inf"


def test_spans_repeat_nothing():
    assert span(0.1, 0.5, 0.02) == "0.1 → 0.5 → 0.02"
    assert span(0.1, 0.1, 0.0008) == "0.1 → 0.0008"
    assert span(0.1, 0.10000001, 0.1) == "0.1"


def test_long_lists_count_what_they_leave_out():
    names = ["a", "b", "c"]
    assert listed(names, 3) == "a; b; c"
    assert listed(names, 2) == "a; b; and 1 more"
    assert listed(names, 1, ", ", " and ") == "a and 2 more"


def test_tables_are_aligned_and_have_no_spaces_at_the_ends_of_lines():
    rows = [("small", "1"), ("[b]中[/b]", "1,500")]
    assert text_table(("network", "updates"), rows).splitlines() == [
        "network     updates",
        "───────────────────",
        "small             1",
        "[b]中[/b]     1,500",
    ]
