"""The model card says what was done and what was reached."""

from fakes.screening import make_bundle

from gateway.contract.bundle import Calibration, DataDigest, Training
from gateway.contract.calibration import TrackRule
from gateway.contract.network import PROFILES
from trainer.card import CardFacts, FamilyResult, model_card


def test_card_tells_command_data_and_every_result() -> None:
    """Nothing measured is left out, and what was not measured is a dash."""
    training = Training(
        command="spectragate-trainer pretrain --seed 3",
        seed=3,
        epochs=24,
        perturbations=("shadow",),
        data=(DataDigest(name="faces", sha256="ab" * 32, pictures=2742, use="train"),),
    )
    card = model_card(
        CardFacts(
            profile=PROFILES["paper"],
            sha256="cd" * 32,
            version=2,
            parent=make_bundle(),
            training=training,
            calibration=Calibration(rule=TrackRule(), clean_faces=(0.0,), clean_tracks=(0.0, 1.0), source="stills"),
            people_tested=41,
            results=(
                FamilyResult("clean (false alarms)", 200, None, None, 10, (0.027, 0.09)),
                FamilyResult("shadow", 60, 0.912, 0.75, 45, (0.628, 0.842)),
            ),
        )
    )
    for words in (
        "292,002",
        "spectragate-trainer pretrain --seed 3",
        "| train | faces | 2,742 | `abababababababab…` |",
        "| clean (false alarms) | 200 | – | – | 5.0 % [2.7 %, 9.0 %] |",
        "| shadow | 60 | 0.912 | 75.0 % | 75.0 % [62.8 %, 84.2 %] |",
        "41 people",
        "cdcdcd",
        "which was made by",
        "cannot see",
    ):
        assert words in card
