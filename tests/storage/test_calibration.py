"""What runs measured is found again, by what decides it; what cannot be read is passed over."""

from dataclasses import replace
from pathlib import Path

from storage.calibration import (
    FILE,
    PAIRS_FILE,
    PairRates,
    Rates,
    Setting,
    read_pair_rates,
    read_rates,
    record_pair_rates,
    record_rates,
)

SETTING = Setting("here", "tiny", "cpu", "4x4x5", 2, "exact")
RATES = Rates(2, 10.0, 1.0, 5.0, 6.0, 100.0, 200.0, 1.5)
DAMAGED = '{"setting": {}, "rates": 3}\n[]\n{"kind": "one"\n'


def test_the_mean_of_runs_in_one_setting_goes_by_their_segments(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert read_rates(folder, SETTING) is None
    record_rates(folder, SETTING, RATES)
    with (folder / FILE).open("a") as file:
        file.write(DAMAGED)
    record_rates(folder, SETTING, replace(RATES, segments=6, segment_seconds=2.0))
    record_rates(folder, replace(SETTING, steps=50), replace(RATES, segment_seconds=250.0))
    assert read_rates(folder, SETTING) == replace(RATES, segments=8, segment_seconds=4.0)


def test_the_last_run_over_pairs_of_a_kind_counts(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert read_pair_rates(folder, "one") is None
    record_pair_rates(folder, "one", PairRates(3.0, 1000.0))
    with (folder / PAIRS_FILE).open("a") as file:
        file.write(DAMAGED)
    record_pair_rates(folder, "one", PairRates(2.0, 900.0))
    record_pair_rates(folder, "other", PairRates(8.0, 50.0))
    assert read_pair_rates(folder, "one") == PairRates(2.0, 900.0)


def test_a_run_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    record_pair_rates(tmp_path, "one", PairRates(3.0, 1000.0))
    path = tmp_path / PAIRS_FILE
    path.write_bytes(2 * path.read_bytes() + b'{"kind": "on')
    record_pair_rates(tmp_path, "one", PairRates(2.0, 900.0))
    assert read_pair_rates(tmp_path, "one") == PairRates(2.0, 900.0)
    assert path.read_text().count("\n") == 4
