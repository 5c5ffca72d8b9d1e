import threading

from digits import tracing


def test_what_a_thread_does_is_collected() -> None:
    begun = tracing.begin()
    with tracing.span("decode"):
        pass
    with tracing.span("decode"):
        pass
    tracing.batch(3)
    tracing.outcome(tracing.DIGIT)
    other = threading.Thread(target=lambda: tracing.outcome("blank"))
    other.start()
    other.join()
    assert tracing.end() is begun
    assert list(begun.seconds) == ["decode"]
    assert begun.seconds["decode"] > 0
    assert begun.batch_sizes == [3]
    assert begun.outcomes == {"digit": 1}


def test_without_a_record_nothing_is_collected() -> None:
    assert tracing.end() is None
    with tracing.span("decode"):
        tracing.batch(1)
        tracing.outcome(tracing.DIGIT)
    assert tracing.end() is None
