"""What a reason code means to the operator."""

import pytest

from gateway.delivery.packets import CHECK_TWIN, LinkReason, explain_code


@pytest.mark.parametrize(
    ("code", "word"),
    [(0x8E, LinkReason.TAKEN_OVER), (0x86, LinkReason.AUTH), (0x85, LinkReason.CLIENT_ID), (0x80, LinkReason.LOST)],
)
def test_reason_code_when_explained(code: int, word: LinkReason) -> None:
    """Each code an operator can act on has its word; the others get the one that fits the moment."""
    check, found = explain_code(code, otherwise=LinkReason.LOST)

    assert found is word
    assert (check == CHECK_TWIN) == (word is LinkReason.TAKEN_OVER)
