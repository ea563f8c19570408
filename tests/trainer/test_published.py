"""The paper's printed figures: whole, and with the rates that its text states."""

import pytest

from trainer.published import ENVIRONMENTS, OURS_WORST_BDR, TABLE_II, TABLE_III, TABLES, TRIGGERS


def test_tables_are_whole() -> None:
    """Every row has ACC and BDR for all six triggers, every environment both rows and a rate."""
    rows = [
        *TABLE_II.values(),
        *(row for table in TABLES for part in (table.before, table.after) for row in part.values()),
    ]
    assert all(len(row.acc) == len(row.bdr) == len(TRIGGERS) for row in rows)
    for table in TABLES:
        assert tuple(table.before) == tuple(table.after) == tuple(table.fpr) == ENVIRONMENTS


def test_rates_agree_with_what_acc_and_bdr_imply() -> None:
    """FPR = 100 - (2·ACC - BDR): the stated 16.2 % is what most cells of the first row imply."""
    row = TABLE_III.after["original"]
    implied = [100 - (2 * acc - bdr) for acc, bdr in zip(row.acc, row.bdr, strict=True)]
    assert sorted(implied)[2] == pytest.approx(TABLE_III.fpr["original"], abs=0.1)


def test_worst_cases_are_the_least_of_the_tables() -> None:
    """The text's worst cases are the smallest BDR of the tuned rows."""
    for table in TABLES:
        assert min(min(row.bdr) for row in table.after.values()) == OURS_WORST_BDR[table.faces]
