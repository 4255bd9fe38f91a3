"""A tensor attribute that is a view of a buffer: exported exactly where nothing writes to it, else refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import cnnstat  # noqa: E402

X = torch.arange(8.0).reshape(2, 4)


class Net(nn.Module):
    """A buffer, and an attribute that is its first row."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("table", torch.ones(size, 4))
        self.row = self.table[0]

    def forward(self, x):
        return self.layer(x) + self.row


class BufferTakesInput(Net):
    def forward(self, x):
        self.table[0] = x[0]
        return self.layer(x) + self.row


class BufferGrows(Net):
    def forward(self, x):
        self.table.add_(1.0)
        return self.layer(x) + self.row


class ViewTakesInput(Net):
    def forward(self, x):
        self.row.copy_(x[0])
        return self.layer(x) + self.table[0]


class ViewGrows(Net):
    def forward(self, x):
        self.row.add_(1.0)
        return self.layer(x) + self.table[0]


@pytest.mark.parametrize("size", [2, 5000])
@pytest.mark.parametrize("kind", [BufferTakesInput, BufferGrows, ViewTakesInput, ViewGrows])
def test_views_of_written_memory_are_refused(kind: type[Net], size: int) -> None:
    with pytest.raises(cnnstat.CnnstatError, match="changed while|written to in several places"):
        cnnstat.build(kind(size), (2, 4))
    with pytest.raises(cnnstat.CnnstatError):
        cnnstat.export(kind(size), (2, 4), to="torch")


def test_views_of_memory_that_stays_are_exact() -> None:
    model = Net().eval()
    built = cnnstat.build(model, (2, 4)).eval()
    built.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(built(X), model(X))
