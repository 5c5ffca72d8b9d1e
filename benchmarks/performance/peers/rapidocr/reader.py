"""RapidOCR with the models in its wheel, on one thread. Text that it finds side by side becomes one line."""

import logging

from rapidocr import RapidOCR

from benchmarks.performance.peers.reading import serve

logging.disable(logging.CRITICAL)
engine = RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": 1})


def read(path: str) -> list[str]:
    found = engine(path)
    if found.boxes is None:
        return []
    places = sorted(
        (min(y for _, y in box), max(y for _, y in box), min(x for x, _ in box), text)
        for box, text in zip(found.boxes.tolist(), found.txts, strict=True)
    )
    lines: list[list[tuple[float, float, float, str]]] = []
    for place in places:
        middle = (place[0] + place[1]) / 2
        beside = [line for line in lines if any(top < middle < bottom for top, bottom, _, _ in line)]
        if beside:
            beside[-1].append(place)
        else:
            lines.append([place])
    return ["".join(text for *_, text in sorted(line, key=lambda one: one[2])) for line in lines]


serve(read)
