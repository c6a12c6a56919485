"""Costs are those that one computes by hand from a file of prices; a bad file is one line."""

import dataclasses

import pytest

from must_tf.errors import UserError
from must_tf.pricing import Prices, Usage, bill, priced, read_prices, requests_to_list, requests_to_write, total

TEXT = """
currency: EUR
hour: {label: 0.5, a100: 4}
egress_gb: 0.1
reads_1000: 0.0004
writes_1000: 0.005
storage_gb_month: 0.02
"""


@pytest.fixture
def prices(tmp_path):
    (tmp_path / "prices.yaml").write_text(TEXT)
    return read_prices(tmp_path / "prices.yaml")


def test_a_file_of_prices_is_read_as_it_is_written(prices):
    assert prices == Prices("EUR", {"label": 0.5, "a100": 4.0}, 0.1, 0.0004, 0.005, 0.02)


def test_costs_are_those_computed_by_hand(prices):
    usage = Usage("label", 2000.0, 30e12, 40e12, 300_000_000, 600_000)
    # 2,000 hours · 0.5 = 1,000; 30,000 GB · 0.1 = 3,000; 300,000 thousands · 0.0004 = 120; 600 · 0.005 = 3
    assert total(usage, prices) == pytest.approx(4123)
    said = bill(usage, prices)
    assert "in all 4,123.00 EUR" in said and "each month 800.00 for 40,000.0 GB" in said  # 40,000 · 0.02
    for line in ("2,000.0 hours of label at 0.5: 1,000.00", "30,000.0 GB read, at 0.1 per GB: 3,000.00"):
        assert line in said


def test_requests_are_counted_as_they_are_made():
    assert [requests_to_write(size) for size in (0, 2**20, 100 * 2**20, 128e6)] == [1, 1, 4, 5]
    assert [requests_to_list(names) for names in (0, 1000, 1001, 300_000)] == [1, 1, 2, 300]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("egress_gb: 0.1\n", "", "'egress_gb' is missing"),
        ("egress_gb: 0.1", "egres_gb: 0.1", "'?egres_gb'? is unknown; .*egress_gb"),
        ("0.0004", "free", "reads_1000: 'free' received; expected a number"),
        ("0.005", "-1", "writes_1000: -1 received; expected a price of 0 or more"),
        ("a100: 4", "a100: -4", "hour.a100: -4 received"),
        ("{label: 0.5, a100: 4}", "3", "hour: 3 received"),
        ("0.02", ".inf", "storage_gb_month: inf received"),
        (TEXT, "[1]", "names with values"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, old, new, said):
    path = tmp_path / "prices.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError, match=rf"prices\.yaml: .*{said}") as error:
        read_prices(path)
    assert "\n" not in str(error.value)


def test_a_machine_without_a_price_is_named(prices, tmp_path):
    assert priced(tmp_path / "prices.yaml", "a100") == prices
    with pytest.raises(UserError, match=r"prices\.yaml: hour: no price of 'a10'; .*a100"):
        priced(tmp_path / "prices.yaml", "a10")
    with pytest.raises(UserError, match="no such file"):
        read_prices(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"--prices=s3://b/p\.yaml: is not a local path"):
        read_prices("s3://b/p.yaml")


@pytest.mark.parametrize("price", [-1, -0.5, float("nan"), float("inf")])
def test_a_price_that_none_can_have_is_refused_in_code_too(prices, price):
    for fields in ({"egress_gb": price}, {"hour": {"label": price}}):
        with pytest.raises(ValueError, match=f": {price:g} received; expected a price of 0 or more"):
            dataclasses.replace(prices, **fields)
