import threading

from digits import tracing


def test_trace_collects_its_own_thread_only() -> None:
    trace = tracing.begin()
    with tracing.span("decode"):
        pass
    with tracing.span("decode"):
        pass
    tracing.batch(3)
    tracing.outcome(tracing.DIGIT)
    other = threading.Thread(target=lambda: tracing.outcome("blank"))
    other.start()
    other.join()
    assert tracing.end() is trace
    assert list(trace.seconds) == ["decode"]
    assert trace.seconds["decode"] > 0
    assert trace.batch_sizes == [3]
    assert trace.outcomes == {"digit": 1}


def test_nothing_is_collected_without_a_trace() -> None:
    assert tracing.end() is None
    with tracing.span("decode"):
        tracing.batch(1)
        tracing.outcome(tracing.DIGIT)
    assert tracing.end() is None
