"""The golden rows that the registry gets: nobody's personal data, nothing of where a row came from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.reference import write_reference


def test_the_registry_gets_golden_rows_without_personal_data(tmp_path: Path) -> None:
    columns = {"id": ["1", "2"], "text": ["call 020 7946 0958", "plain"], "target": ["a", "write to me@x.org"],
               "output": ["a", "b"], "confidence": [0.5, 1.0], "channel": ["chat", "mail"], "label:a": [True, False],
               "group": ["me@x.org", ""], "time": ["2026-01-01T00:00:00Z", ""], "line": ["1", "2"]}  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    (tmp_path / "out").mkdir()
    written = write_reference(tmp_path / "scores.parquet", tmp_path / "out")
    assert written.name == "scores.parquet"
    expected = {name: column for name, column in columns.items() if name not in ("group", "time", "line")}
    expected |= {"text": ["call <PHONE>", "plain"], "target": ["a", "write to <EMAIL>"]}
    assert pq.read_table(written).to_pydict() == expected
    assert pq.read_table(tmp_path / "scores.parquet").to_pydict() == columns
