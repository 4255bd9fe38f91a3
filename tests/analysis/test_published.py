"""Published figures: numbers as papers print them, and how they stand beside the exact ones."""

import pytest

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.published import PUBLISHED, published_rows
from cnnstat.errors import SpecError
from cnnstat.numbers import QuantityError, parse_quantity
from cnnstat.sources.request import Request
from cnnstat.spec.spec_graph import parse_spec

SPEC = """
input: [3, 8, 8]
layers:
  - conv: Conv2d(4, 3, padding=1)
  - relu: ReLU
  - stage:
      - pool: MaxPool2d(2)
      - deep: Conv2d(8, 3, bias=false)
  - flatten: Flatten
  - fc: Linear(10)
published:
"""


def rows(*entries, request=None):
    """The rows of a small network with these published entries."""
    lines = "".join(f"  - {{{entry}, source: here}}\n" for entry in entries)
    return published_rows(analyze_graph(parse_spec(SPEC + lines, request)))


def row(entry):
    """The only row."""
    (only,) = rows(entry)
    return only


# Numbers as printed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("196", 196, ""),
        ("122,304", 122_304, ""),
        ("61,100,840", 61_100_840, ""),
        ("4096 neurons", 4096, ""),
        ("138 M", 138_000_000, "M"),
        ("138M", 138_000_000, "M"),
        ("~25.6 M parameters", 25_600_000, "M"),
        ("60 million", 60_000_000, "M"),
        ("60 million trainable parameters", 60_000_000, "M"),
        ("11.3 billion", 11_300_000_000, "G"),
        ("11.3 B", 11_300_000_000, "G"),
        ("559 k", 559_000, "K"),
        ("0.5M", 500_000, "M"),
        ("3.6 × 10^9", 3_600_000_000, "G"),
        ("3.6 x 10^9 FLOPs", 3_600_000_000, "G"),
        ("3.6·10⁹", 3_600_000_000, "G"),
        ("3.6 × 10**9", 3_600_000_000, "G"),
        ("3.6e9", 3_600_000_000, "G"),
        ("2 × 10^4", 20_000, "× 10^4"),
        ("0.7 GFLOP", 700_000_000, "G"),
        ("4.09 GFLOPS", 4_090_000_000, "G"),
        ("300 MMAdds", 300_000_000, "M"),
        ("569 million multiply-adds", 569_000_000, "M"),
        ("1.8 GMACs", 1_800_000_000, "G"),
        ("720 MFLOPs", 720_000_000, "M"),
        ("12 FLOPs", 12, ""),
    ],
)
def test_counts(text, value, unit):
    quantity = parse_quantity(text)
    assert (quantity.value, quantity.unit) == (value, unit)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48.6 MB", 48_600_000),
        ("48.5 MiB", 48.5 * 2**20),
        ("2 KiB", 2048),
        ("2 kB", 2000),
        ("1 GB", 10**9),
        ("1 GiB", 2**30),
        ("12 B", 12),
        ("12 bytes", 12),
        ("12", 12),
    ],
)
def test_bytes(text, value):
    assert parse_quantity(text, is_bytes=True).value == value


@pytest.mark.parametrize(
    "text",
    ["", "many", "M", "-3", "1.2.3", "12,34", "1,2345", "3 × 100", "10^9", "3 Q", "138 M 5", "3 × 10^9 M", "3 M G",
     "48.6 MB", "∞", "nan", "1" * 90, "3 × 10^999"],
)  # fmt: skip
def test_what_is_no_count(text):
    with pytest.raises(QuantityError):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1.9 M", "1.9 GFLOP", "1.9 Mb", "big"])
def test_what_is_no_size(text):
    with pytest.raises(QuantityError):
        parse_quantity(text, is_bytes=True)


@pytest.mark.parametrize(
    ("text", "exact", "agrees"),
    [
        ("138 M", 138_357_544, True),
        ("138 M", 138_500_001, False),
        ("138 M", 137_499_999, False),
        ("138.4 M", 138_357_544, True),
        ("138.3 M", 138_357_544, False),
        ("3.8 × 10^9", 3_857_973_248, False),
        ("3.9 × 10^9", 3_857_973_248, True),
        ("60,000", 60_000, True),
        ("60,000", 60_001, False),
        ("60 million", 60_965_224, False),
    ],
)
def test_a_figure_agrees_if_it_is_the_exact_one_rounded(text, exact, agrees):
    assert parse_quantity(text).is_rounded(exact) is agrees


@pytest.mark.parametrize("exact", [1_234_567, 999_949, 60_965_224, 61_100_840])
@pytest.mark.parametrize("decimals", [0, 1, 2, 3])
def test_what_is_printed_by_rounding_agrees(exact, decimals):
    assert parse_quantity(f"{exact / 1e6:.{decimals}f} M").is_rounded(exact)


@pytest.mark.parametrize(
    ("text", "exact", "shown"),
    [
        ("138 M", 138_357_544, "138.36 M"),
        ("0.714 G", 714_188_480, "0.7142 G"),
        ("3.6 billion", 3_663_761_408, "3.66 G"),
        ("253,440", 290_400, "290,400"),
        ("0.5 M", 559_114, "0.56 M"),
        ("2 × 10^4", 21_234, "2.12 × 10^4"),
    ],
)
def test_the_exact_value_is_shown_in_the_printed_unit(text, exact, shown):
    assert parse_quantity(text).text_of(exact) == shown


def test_sizes_are_shown_in_the_printed_unit():
    assert parse_quantity("48.6 MiB", is_bytes=True).text_of(54_218_656) == "51.71 MiB"
    assert parse_quantity("48.6 MB", is_bytes=True).text_of(54_218_656) == "54.22 MB"


# Figures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("params", 112 + 288 + 330),
        ("trainable_params", 112 + 288 + 330),
        ("weights", 108 + 288 + 320),
        ("macs", 256 * 27 + 32 * 36 + 320),
        ("flops", 2 * (256 * 27 + 32 * 36 + 320) + 256 + 256 + 64 * 3 + 10),
        ("connections", 256 * 28 + 32 * 36 + 330),
        ("neurons", 256 + 32 + 10),
        ("inputs", 192),
        ("outputs", 10),
        ("activation_bytes", 4 * (256 + 256 + 64 + 32 + 32 + 10)),
        ("weighted_activation_bytes", 4 * (256 + 32 + 10)),
        ("peak_inference_bytes", 4 * (256 + 256)),
        ("receptive_field", 8),
        ("convolutions", 2),
    ],
)
def test_figures_of_the_network(figure, value):
    assert row(f"figure: {figure}, value: 1").value == value


@pytest.mark.parametrize(
    ("layer", "figure", "value"),
    [
        ("conv", "params", 112),
        ("conv", "weights", 108),
        ("conv", "macs", 256 * 27),
        ("conv", "connections", 256 * 28),
        ("conv", "inputs", 192),
        ("conv", "outputs", 256),
        ("conv", "receptive_field", 3),
        ("relu", "neurons", 0),
        ("relu", "activation_bytes", 1024),
        ("stage", "params", 288),
        ("stage", "inputs", 256),
        ("stage", "outputs", 32),
        ("stage", "neurons", 32),
        ("stage", "weighted_activation_bytes", 128),
        ("stage", "convolutions", 1),
        ("stage.deep", "macs", 32 * 36),
        ("fc", "connections", 330),
    ],
)
def test_figures_of_a_layer_or_block(layer, figure, value):
    assert row(f"layer: {layer}, figure: {figure}, value: 1").value == value


def test_training_memory_is_that_of_the_batch_in_hand():
    analysis = analyze_graph(parse_spec(SPEC.replace("published:", ""), Request(batch=8)))
    (found,) = rows("figure: training_bytes, value: 1", request=Request(batch=8))
    assert found.value == analysis.memory.training_bytes


@pytest.mark.parametrize("figure", [name for name, figure in PUBLISHED.items() if figure.is_per_image])
def test_figures_are_those_of_one_image(figure):
    entry = f"figure: {figure}, value: 1"
    assert rows(entry, request=Request(batch=8)) == rows(entry)


def test_a_row_says_how_far_print_and_truth_are_apart():
    wrong, right = rows("figure: params, value: 657, cause: a slip", "figure: params, value: 0.7 k")
    assert (wrong.printed, wrong.exact, wrong.source, wrong.cause) == ("657", "730", "here", "a slip")
    assert (wrong.agrees, wrong.difference, wrong.verdict) == (False, -10.0, "−10.0 %")
    assert (right.agrees, right.exact, right.verdict) == (True, "0.73 K", "agrees")


@pytest.mark.parametrize(
    ("printed", "verdict"), [("731", "+0.1 %"), ("1460", "+100.0 %"), ("0", "−100.0 %"), ("729.9", "−0.01 %")]
)
def test_verdicts(printed, verdict):
    assert row(f"figure: params, value: {printed}").verdict == verdict


def test_a_figure_that_is_exactly_zero_has_no_percentage():
    found = row("figure: macs, layer: relu, value: 5")
    assert (found.difference, found.verdict) == (None, "differs")


def test_what_a_figure_means_is_compared_and_what_is_printed_is_kept():
    found = row("figure: activation_bytes, value: 2.5 MB, means: 2.5 KiB")
    assert (found.printed, found.means, found.exact, found.agrees) == ("2.5 MB", "2.5 KiB", "2.54 KiB", True)


def test_networks_without_published_figures_have_no_rows():
    assert published_rows(analyze_graph(parse_spec(SPEC.replace("published:", "")))) == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("figure: parms, value: 1", "there is no figure called parms; did you mean params?"),
        ("figure: accuracy, value: 1", "there is no figure called accuracy; known: params, "),
        ("figure: params, value: some", "'some' is not a number; write one as in 138 M"),
        ("figure: params, value: 1, means: lots", "'lots' is not a number"),
        ("figure: params, value: 1 MB", "cannot read 'MB'; write K, M, G, million or billion"),
        ("figure: activation_bytes, value: 1 M", "write the unit as B, MB (10^6) or MiB (2^20)"),
        ("figure: params, layer: cnov, value: 1", "there is no layer called cnov; did you mean conv?"),
        ("figure: training_bytes, layer: conv, value: 1", "a figure of the whole network; leave layer: out"),
        ("figure: peak_inference_bytes, layer: conv, value: 1", "a figure of the whole network; leave layer: out"),
        ("figure: receptive_field, layer: fc, value: 1", "the whole input is seen here; name an earlier layer:"),
    ],
)
def test_faults_are_told_with_their_place(entry, message):
    with pytest.raises(SpecError) as caught:
        rows("figure: params, value: 730", entry)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert (problem.location.line, problem.location.column) == (SPEC.count("\n") + 2, 5)


def test_all_faults_are_told_at_once():
    with pytest.raises(SpecError) as caught:
        rows("figure: a, value: 1", "figure: params, value: 730", "figure: params, value: b")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "entry",
    ["figure: params", "figure: params, value: [1]", "figure: {}, value: 1", "figure: params, value: 1, page: 3", "1"],
)
def test_entries_that_are_none_are_refused_when_the_spec_is_read(entry):
    with pytest.raises(SpecError, match="published figure|unknown key page|cannot|text"):
        rows(entry)


def test_a_child_does_not_inherit_what_was_published_about_its_parent(tmp_path):
    (tmp_path / "parent.yaml").write_text(f"{SPEC}  - {{figure: params, value: 1, source: here}}\n")
    (tmp_path / "child.yaml").write_text("extends: parent.yaml\ntitle: Child\n")
    assert published_rows(cnnstat.analyze(tmp_path / "child.yaml")) == ()
    assert len(published_rows(cnnstat.analyze(tmp_path / "parent.yaml"))) == 1


def test_a_ratio_can_be_published():
    intensity = row("figure: intensity, value: 1.3 FLOPs")
    analysis = analyze_graph(parse_spec(SPEC + "  - {figure: params, value: 1, source: here}\n"))
    assert intensity.value == analysis.totals.intensity
    assert rows("figure: intensity, value: 1e1", request=Request(batch=2))[0].value > intensity.value
