"""Traffic: the bytes that a pass moves, by hand."""

import cnnstat


def test_a_convolution_reads_its_input_and_weights_and_writes_its_output():
    first = cnnstat.analyze("vgg16").layers[0]
    assert first.moved_bytes == 4 * (3 * 224 * 224 + (64 * 3 * 9 + 64) + 64 * 224 * 224)


def test_a_view_moves_nothing():
    flatten = next(layer for layer in cnnstat.analyze("vgg16").layers if layer.op.kind == "Flatten")
    assert flatten.moved_bytes == 0


def test_half_the_precision_moves_half_the_bytes():
    full, half = (cnnstat.analyze("resnet18", dtype=dtype).totals.moved_bytes for dtype in ("float32", "float16"))
    counters = 8 * 20  # the int64 counter of each of its norms keeps its eight bytes
    assert full - counters == 2 * (half - counters)


def test_a_larger_batch_reads_the_weights_once():
    one, two = (cnnstat.analyze("vgg16", batch=batch).totals for batch in (1, 2))
    assert 2 * one.moved_bytes - two.moved_bytes == one.memory.params_bytes
