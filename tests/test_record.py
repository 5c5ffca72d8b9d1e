import threading

from service import record


def test_what_a_thread_does_is_collected() -> None:
    begun = record.begin()
    with record.stage("decode"):
        pass
    with record.stage("decode"):
        pass
    record.batch(3)
    record.outcome(record.DIGIT)
    other = threading.Thread(target=lambda: record.outcome("blank"))
    other.start()
    other.join()
    assert record.end() is begun
    assert list(begun.seconds) == ["decode"]
    assert begun.seconds["decode"] > 0
    assert begun.batch_sizes == [3]
    assert begun.outcomes == {"digit": 1}


def test_without_a_record_nothing_is_collected() -> None:
    assert record.end() is None
    with record.stage("decode"):
        record.batch(1)
        record.outcome(record.DIGIT)
    assert record.end() is None
