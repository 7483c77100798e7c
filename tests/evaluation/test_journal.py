"""The journal of an evaluation: what was written is there, a torn line is not, two evaluations do not mix."""

import errno
import json
import os
from pathlib import Path

import pytest

from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.journal import Answer, AnsweredBatch, AnswerJournal

FIRST = AnsweredBatch(0, (Answer("a", "a dog"), Answer("b", "", "b: broken")), 1.5)
SECOND = AnsweredBatch(7, (Answer("c", "naïve ☃", confidence=0.75),), 0.25)

PLAN = [["a", "b"], *([[]] * 6), ["c"]]


@pytest.fixture
def journal(tmp_path: Path) -> AnswerJournal:
    journal = AnswerJournal(tmp_path / "run")
    journal.begin({"model": "m"})
    return journal


def write(journal: AnswerJournal, rank: int, *batches: AnsweredBatch) -> None:
    with journal.writer(rank) as writer:
        for batch in batches:
            writer.write(batch.number, batch.answers, batch.seconds)


def test_batches_of_several_processes_come_back(journal: AnswerJournal) -> None:
    assert journal.batches(PLAN) == {}
    write(journal, 0, FIRST)
    write(journal, 3, SECOND)
    assert journal.batches(PLAN) == {0: FIRST, 7: SECOND}
    assert journal.count() == 2


def test_every_cut_of_the_last_line_costs_that_batch_alone(journal: AnswerJournal) -> None:
    write(journal, 0, FIRST, SECOND)
    file = journal.folder / "answers" / "0.jsonl"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        file.write_bytes(whole[:length])
        assert journal.batches(PLAN) == {0: FIRST}
        write(journal, 0, SECOND)
        assert file.read_bytes() == whole


def test_a_damaged_line_is_named(journal: AnswerJournal) -> None:
    write(journal, 0, FIRST, SECOND)
    file = journal.folder / "answers" / "0.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"seconds"', b'"minutes"', 1))
    with pytest.raises(InputError, match=r"0\.jsonl: line 1 is damaged"):
        journal.batches(PLAN)


@pytest.mark.parametrize(
    ("was", "edited", "words"),
    [
        ('"id": "a"', '"id": "z"', "not those of the examples of batch 0"),
        ('{"id": "a", "text": "a dog", "error": "", "confidence": null}, ', "", "not those of the examples of batch 0"),
        ('"number": 0', '"number": 7', "not those of the examples of batch 7"),
        ('"number": 0', '"number": 8', "there is no batch 8"),
        ('"number": 0', '"number": -1', "there is no batch -1"),
        ('"number": 0', '"number": "0"', "there is no batch '0'"),
        ('"text": "a dog"', '"text": 5', "must be texts"),
        ('"a dog", "error": "", "confidence": null', '"a dog", "confidence": "high"', "confidence must be a number"),
        ('"seconds": 1.5', '"seconds": "long"', "seconds must be a number"),
        ('"number": 0, ', "", "number"),
    ],
)
def test_a_line_edited_by_hand_is_named(journal: AnswerJournal, was: str, edited: str, words: str) -> None:
    write(journal, 0, FIRST)
    file = journal.folder / "answers" / "0.jsonl"
    text = file.read_text()
    assert text.count(was) == 1
    file.write_text(text.replace(was, edited))
    with pytest.raises(InputError, match=rf"0\.jsonl: line 1 is damaged \(.*{words}.*remove the line"):
        journal.batches(PLAN)


def test_of_a_nested_option_only_what_differs_is_named(tmp_path: Path) -> None:
    AnswerJournal(tmp_path).begin({"model": "m", "generation": {"beams": 4, "words": 20}})
    with pytest.raises(ConfigurationError, match=r"another evaluation \(generation\.beams was 4, is 1\)"):
        AnswerJournal(tmp_path).begin({"model": "m", "generation": {"beams": 1, "words": 20}})


def test_another_evaluation_is_refused_by_what_differs(journal: AnswerJournal) -> None:
    journal.begin({"model": "m"})
    with pytest.raises(ConfigurationError, match=r"model was m, is n.*name another folder"):
        journal.begin({"model": "n"})
    assert journal.identity() == {"model": "m"}


def test_a_report_without_its_journal_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({}))
    with pytest.raises(ConfigurationError, match="report of another evaluation"):
        AnswerJournal(tmp_path).begin({"model": "m"})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="name another folder"):
        AnswerJournal(tmp_path / "file" / "run").begin({"model": "m"})


def test_a_full_disk_is_named_and_the_batches_before_stay(
    journal: AnswerJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal, 0, FIRST)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"0\.jsonl: cannot be written \(No space left.*continues"):
            write(journal, 0, SECOND)
    assert journal.batches(PLAN)[0] == FIRST


def test_counting_reads_what_is_new_and_no_line_twice(journal: AnswerJournal) -> None:
    write(journal, 0, FIRST)
    write(journal, 1, SECOND)
    assert journal.count() == 2
    file = journal.folder / "answers" / "0.jsonl"
    content = file.read_bytes()
    file.write_bytes(b" " * (len(content) - 1) + b"\n")  # what was counted is not looked at again
    with file.open("ab") as stream:
        stream.write(b'{"number": 2')
    assert journal.count() == 2
    with file.open("ab") as stream:
        stream.write(b"}\n{}\n{")
    assert journal.count() == 4
    write(journal, 0, SECOND)  # cuts the torn line off
    assert journal.count() == 5
