"""Lines survive the sudden end of their writer."""

from __future__ import annotations

from pathlib import Path

from include.lab.load.lines import Begun, Operation, Recorder, read_begun, read_operations
from tests.unit.lab.load.builders import line


def test_what_is_written_can_be_read_before_the_file_is_closed(tmp_path: Path) -> None:
    seen: list[Operation] = []
    recorder = Recorder(tmp_path / "operations", tmp_path / "begun", seen.append)
    recorder.begin(Begun("delete", "load-1", "i1"))
    recorder.write(line("delete", "i1"))
    assert read_begun(tmp_path / "begun") == [Begun("delete", "load-1", "i1")]
    assert read_operations(tmp_path / "operations") == [line("delete", "i1")] == seen
    recorder.close()


def test_a_line_cut_in_the_middle_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "operations"
    recorder = Recorder(path, tmp_path / "begun", lambda _: None)
    recorder.write(line("list"))
    recorder.write(line("create", "i1"))
    recorder.close()
    path.write_text(path.read_text()[:-20])
    assert read_operations(path) == [line("list")]


def test_no_file_means_no_lines(tmp_path: Path) -> None:
    assert read_operations(tmp_path / "nothing") == []
