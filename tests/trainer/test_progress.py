"""Progress without a terminal: plain lines, one a step and no flood."""

import pytest

from trainer.progress import Steps


def test_steps_are_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A new step and its end are told; what lies between is told only after a pause."""
    with Steps() as steps:
        for done in range(1, 101):
            steps.show("generator", done, 100)
        steps.show("fine-tuning, loss 0.7", 1, 20)
        steps.show("fine-tuning, loss 0.6", 2, 20)
        steps.show("writing", 0, 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "generator  1/100",
        "generator  100/100",
        "fine-tuning, loss 0.7  1/20",
        "writing",
    ]
