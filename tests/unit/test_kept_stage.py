"""A cascade's first stage is fitted once for all cascades of an origin, and never read half."""

import pytest

from tasks.compress.cascading.kept import NOTES, keep_stage


class Fit:
    """A stage that counts how often it was fitted, and may break."""

    def __init__(self, breaks=False):
        self.times, self.breaks = 0, breaks

    def __call__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.json").write_text("words", "utf-8")
        if self.breaks:
            raise KeyboardInterrupt
        self.times += 1
        return {"first_features": 3.0}


def test_what_was_kept_is_copied_and_what_is_made_of_other_things_is_fitted(tmp_path):
    fit = Fit()
    for number, made_of in enumerate((["a", 1], ["a", 1], ["a", 2])):
        assert keep_stage(tmp_path / "kept", made_of, fit, tmp_path / f"to{number}") == {"first_features": 3.0}
        assert [path.name for path in (tmp_path / f"to{number}").iterdir()] == ["words.json"]
    assert fit.times == 2


def test_without_a_place_it_is_fitted_where_it_is_wanted(tmp_path):
    fit = Fit()
    for number in range(2):
        assert keep_stage(None, [], fit, tmp_path / f"to{number}") == {"first_features": 3.0}
    assert fit.times == 2


def test_what_a_killed_process_left_counts_as_none(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        keep_stage(tmp_path / "kept", [], Fit(breaks=True), tmp_path / "to")
    assert not (tmp_path / "to").exists()
    fit = Fit()
    keep_stage(tmp_path / "kept", [], fit, tmp_path / "to")
    assert fit.times == 1
    [place] = (tmp_path / "kept").glob("stage-*")
    (place / NOTES).unlink()  # torn
    keep_stage(tmp_path / "kept", [], fit, tmp_path / "again")
    assert fit.times == 2 and (tmp_path / "again" / "words.json").is_file()
