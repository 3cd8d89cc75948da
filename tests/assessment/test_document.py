import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.reading.radiograph import read_file
from boneage.sex import Sex
from boneage.warnings_ import WarningCode
from boneage.words import age_in_words
from tests.assessment.radiographs import FloatArray, change_facts, codes, radiograph
from tests.bundles import CALIBRATION


def test_checksum_of_decoded_bytes(png: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file changes right after it was read."""
    radiograph = tmp_path / "radiograph.png"
    radiograph.write_bytes(png.read_bytes())

    def changing(path: Path) -> bytes:
        data = read_file(path)
        path.write_bytes(b"changed since")
        return data

    monkeypatch.setattr("boneage.composition.read_file", changing)
    assert assess(radiograph, "F", bundle).source_sha256 == hashlib.sha256(png.read_bytes()).hexdigest()


def test_to_json_is_plain_and_complete(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    change_facts(monkeypatch, patient_age="090M", side="L", sex=Sex.FEMALE, spacing_mm=(0.1, 0.1))
    document = json.loads(json.dumps(assess(png, "F", bundle).to_json(), allow_nan=False))
    assert document["schema"] == 1 and document["image"] == "radiograph.png" and document["sex"] == "F"
    assert document["chronological_age"]["months"] == 90.5
    assert document["difference"]["months"] == pytest.approx(document["age_months"] - 90.5, abs=0.011)
    assert document["reference"]["id"] == "gp-brush-sd"
    digest = hashlib.sha256(png.read_bytes()).hexdigest()
    assert document["radiograph"] == {"height_pixels": 400, "width_pixels": 300, "sha256": digest}
    assert assess(png.read_bytes(), "F", bundle).source_sha256 == digest
    assert document["interval_coverage"] is None
    assert set(document["timings_ms"]) == {"read", "cut", "run", "combine", "draw", "total"}
    assert all(wall >= 0 for wall in document["timings_ms"].values())
    assert "birth_date" not in json.dumps(document)
    assert {"age_text", "typical_error_months", "interval_months", "warnings", "facts", "bundle", "notice"} <= set(
        document
    )


def test_to_json_states_calibration(png: Path, bundle: Bundle) -> None:
    plain = assess(png, "F", bundle).to_json()
    manifest = replace(bundle.manifest, calibration=CALIBRATION)
    document = assess(png, "F", Bundle(bundle.directory, manifest, threads=1)).to_json()
    assert (plain["interval_calibrated"], document["interval_calibrated"]) == (False, True)
    assert document["member_ages_months"] == plain["member_ages_months"]
    for one in (plain, document):
        wide, narrow = one["interval_months"], one["interval_80_months"]
        assert 0 <= wide[0] <= narrow[0] <= one["age_months"] <= narrow[1] <= wide[1]
        assert all(round(bound, 2) == bound for bound in (*wide, *narrow))
    of_sex = CALIBRATION.by_sex[Sex.FEMALE]
    corrected = of_sex.corrected(plain["age_months"])
    assert document["age_months"] == pytest.approx(corrected, abs=0.011)
    assert document["typical_error_months"] == of_sex.band(corrected).typical_error_months


def data_set(pixels: FloatArray) -> pydicom.Dataset:
    """A DX object with what a modality writes about a patient."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = pydicom.uid.generate_uid()
    file.Modality, file.BodyPartExamined = "DX", "HAND"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Doe^Jane", "4711", "20120203"
    file.PatientSex, file.PatientAge, file.StudyDate = "F", "007Y", "20190304"
    file.ImageLaterality, file.PixelSpacing = "R", [0.15, 0.15]
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = np.rint(pixels * 4095).astype(np.uint16).tobytes()
    return file


def test_to_json_of_dicom_omits_identity(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "hand.dcm"
    data_set(radiograph()).save_as(path, enforce_file_format=True)
    for source in (path, data_set(radiograph())):
        assessment = assess(source, "M", bundle)
        written = json.dumps(assessment.to_json(), allow_nan=False)
        assert not any(secret in written for secret in ("Doe", "4711", "2012"))
        document = json.loads(written)
        assert (
            document["facts"]["sex"] == "F"
            and document["facts"]["side"] == "R"
            and document["facts"]["modality"] == "DX"
        )
        assert document["facts"]["spacing_mm"] == [0.15, 0.15]
        assert document["chronological_age"]["months"] == pytest.approx(85, abs=0.1)
        assert {WarningCode.SEX_DIFFERS_FROM_FILE, WarningCode.RIGHT_HAND_DECLARED} <= codes(assessment)


@given(st.floats(min_value=0, max_value=300))
def test_ages_in_words_round_to_nearest_month(months: float) -> None:
    words = age_in_words(months).split()
    counts = dict(zip((unit.rstrip("s") for unit in words[1::2]), map(int, words[::2]), strict=True))
    total = 12 * counts.get("year", 0) + counts.get("month", 0)
    assert abs(total - months) <= 0.5
    assert all((unit.endswith("s")) == (int(count) != 1) for count, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("months", "words"),
    [
        (87.3, "7 years 3 months"),
        (13, "1 year 1 month"),
        (84, "7 years"),
        (9, "9 months"),
        (0, "0 months"),
        (11.6, "1 year"),
    ],
)
def test_ages_in_words(months: float, words: str) -> None:
    assert age_in_words(months) == words
