"""PyTorch and convkit in one process: tensors as arrays, and weights that move; see `peer` for how this is run."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, max_pool2d, relu

import convkit as ck
from convkit import data, errors, nn, optim
from convkit import functional as F
from convkit.interop.torch import from_torch, to_torch
from moved_networks import Net, parts, raised, trainer_of, worst
from peer import serve


class TorchNet(torch.nn.Module):
    """`moved_networks.Net`, attribute by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = torch.nn.Conv2d(1, 8, 5), torch.nn.BatchNorm2d(8)
        self.conv2, self.norm2 = torch.nn.Conv2d(8, 16, 3), torch.nn.BatchNorm2d(16)
        self.fc1, self.fc2 = torch.nn.Linear(400, 32), torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = max_pool2d(relu(self.norm1(self.conv1(x))), 2)
        x = max_pool2d(relu(self.norm2(self.conv2(x))), 2)
        return self.fc2(relu(self.fc1(x.flatten(1))))


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    """The network with running moments that are not those it was born with."""
    torch.manual_seed(1)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 1, 28, 28) + 0.3)
    return net.eval()


def renamed(net: torch.nn.Module) -> torch.nn.Module:
    """The layers of the network under other names, in their order."""
    names = {"conv1": "b0", "norm1": "b1", "conv2": "b2", "norm2": "b3", "fc1": "head_a", "fc2": "head_b"}
    return torch.nn.Sequential(OrderedDict((names[name], layer) for name, layer in net.named_children()))


def outputs(net: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(x)).numpy()


# --- tensors as arrays --------------------------------------------------------------------------------------


def tensors_are_arrays() -> None:
    """The same memory, the same results, all of them NumPy's."""
    x = torch.randn(6, 1, 28, 28)
    weight, labels = torch.randn(4, 1, 3, 3), torch.randint(0, 10, (6,))
    assert np.shares_memory(errors.view("f", "x", x), x.numpy())
    y = F.conv2d(x, weight)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, F.conv2d(x.numpy(), weight.numpy()))
    turned = torch.randn(28, 28, 6, 1).permute(2, 3, 0, 1)
    np.testing.assert_array_equal(F.conv2d(turned, weight), F.conv2d(turned.numpy(), weight.numpy()))
    images = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8)
    for given in (x, images, x.to(memory_format=torch.channels_last), x.double()):
        model = Net()
        np.testing.assert_array_equal(model(given), model(given.numpy()))
        evaluate = ck.value_and_grad(model, nn.CrossEntropyLoss(), training=False)
        np.testing.assert_equal(evaluate(given, labels), evaluate(given.numpy(), labels.numpy()))
    mean, var = torch.zeros(1), torch.ones(1)
    F.batch_norm(x, mean, var, training=True)
    assert abs(mean.item() - 0.1 * x.mean().item()) < 1e-6


def a_data_loader_trains() -> None:
    """Batches of tensors give what the same batches of arrays do."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(40, 1, 28, 28, generator=generator), torch.randint(0, 10, (40,), generator=generator)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    arrays = [(x.numpy()[i : i + 16], y.numpy()[i : i + 16]) for i in (0, 16, 32)]
    losses = []
    for batches in (loader, arrays, (x, y)):
        ck.set_seed(4)
        trainer = trainer_of(Net())
        trainer.fit(batches, epochs=2, batch_size=16, verbose=0)
        assert type(trainer.predict(x)) is np.ndarray
        losses.append([*trainer.history["loss"], trainer.evaluate(batches)["loss"]])
    assert losses[0] == losses[1] != losses[2]  # the third is shuffled
    step = ck.compile_step(Net(), nn.CrossEntropyLoss(), optim.SGD(0.1))
    assert step(x, y) > 0
    assert len(data.Batches((x, y), 16)) == 3


def refused_tensors() -> list[str]:
    x = torch.randn(2, 3)
    return [
        raised(F.relu, tensor)
        for tensor in (x.clone().requires_grad_(), x.to_sparse(), x.to("meta"), x.bfloat16(), x.half(), x.long())
    ]


# --- weights that move --------------------------------------------------------------------------------------


def files_load(folder: str, dtype: str, by_order: bool) -> float:
    """A state_dict saved by PyTorch gives the outputs that the module has; how far off they are."""
    net = shaken(TorchNet()).to(getattr(torch, dtype))
    path, match = Path(folder) / f"{dtype}.safetensors", "order" if by_order else "name"
    state = {f"features.{i}": layer for i, layer in enumerate(list(net.children())[:4])}
    state |= {f"classifier.{i}": layer for i, layer in enumerate(list(net.children())[4:])}
    other = {f"{at}.{name}": t for at, layer in state.items() for name, t in layer.state_dict().items()}
    save_file(other if by_order else net.state_dict(), path)
    model = Net()
    ck.load(model, path, match=match)
    assert model.norm1.num_batches_tracked.value == 3
    x = np.random.default_rng(0).standard_normal((5, 1, 28, 28), np.float32)
    return worst(model(x), outputs(net.float(), x))


def weights_move_both_ways(match: str, dtype: str) -> None:
    net = shaken(TorchNet()).to(getattr(torch, dtype))
    outer = renamed(net) if match == "order" else net
    model, x = Net(), np.random.default_rng(1).standard_normal((5, 1, 28, 28), np.float32)
    if dtype == "float64":
        model.astype("float64")
    from_torch(outer, model, match=match)
    single = net.float() if dtype == "bfloat16" else net
    assert worst(model(x.astype(model.dtype)), outputs(single, x.astype(model.dtype))) < 1e-5
    before = {name: tensor.clone() for name, tensor in outer.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in outer.parameters()]
    with torch.no_grad():
        for tensor in outer.state_dict().values():
            tensor.zero_()
    to_torch(model, outer, match=match)
    after = outer.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]), name
    assert addresses == [parameter.data_ptr() for parameter in outer.parameters()]
    model.fc1.weight.assign(np.zeros((32, 400)))
    assert outer.state_dict()["head_a.weight" if match == "order" else "fc1.weight"].any(), "memory is shared"


def moving_is_refused_whole() -> list[str]:
    """Messages; neither side has changed after any of them."""
    net, model = TorchNet(), Net()
    net.fc2 = torch.nn.Linear(32, 11)
    ours = model.state_dict()
    theirs = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sparse = torch.nn.Linear(2, 2)
    sparse.weight = torch.nn.Parameter(sparse.weight.detach().to_sparse())
    messages = [
        raised(from_torch, net, model),
        raised(to_torch, model, net),
        raised(from_torch, net, model, match="order"),
        raised(to_torch, model, renamed(TorchNet())),
        raised(from_torch, sparse, nn.Linear(2, 2)),
        raised(from_torch, model, net),
        raised(from_torch, net.state_dict(), model),
        raised(to_torch, net, net),
    ]
    assert all(np.array_equal(values, ours[name]) for name, values in model.state_dict().items())
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in net.state_dict().items())
    return messages


def a_graph_of_pytorch_notices() -> str:
    """Weights that change between forward and backward are an error of PyTorch's, not a wrong gradient."""
    net, x = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)), torch.randn(2, 3)
    loss = net(x).sum()
    to_torch(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), net)
    try:
        loss.backward()
    except RuntimeError as error:
        return str(error)
    return ""


# --- training there and here --------------------------------------------------------------------------------


def train(net: torch.nn.Module, dataset: data.Dataset) -> None:
    """One epoch with Adam, in batches of 64."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net.train()
    for images, labels in data.Batches(dataset, 64, seed=1).epoch(0):
        optimizer.zero_grad()
        cross_entropy(net(torch.from_numpy(images) / 255), torch.from_numpy(labels)).backward()
        optimizer.step()


def accuracy(net: torch.nn.Module, dataset: data.Dataset) -> float:
    net.eval()
    right = 0
    with torch.no_grad():
        for images, labels in data.Batches(dataset, 500, shuffle=False).epoch(0):
            right += int((net(torch.from_numpy(images) / 255).argmax(1) == torch.from_numpy(labels)).sum())
    return right / len(dataset)


def trained_there_and_here(source: str) -> dict[str, float]:
    """Accuracies of a network trained in PyTorch, moved here, trained on, and moved back."""
    torch.manual_seed(0)
    learn, test = parts(source)
    net, model = TorchNet(), Net()
    train(net, learn)
    there = accuracy(net, test)
    from_torch(net, model)
    trainer = trainer_of(model)
    here = trainer.evaluate(test)["accuracy"]
    trainer.fit(learn, epochs=1, batch_size=64, seed=2, verbose=0)
    on = trainer.evaluate(test)["accuracy"]
    to_torch(model, net)
    return {"there": there, "here": here, "trained on here": on, "back there": accuracy(net, test)}


if __name__ == "__main__":
    serve(
        tensors_are_arrays, a_data_loader_trains, refused_tensors, files_load, weights_move_both_ways,
        moving_is_refused_whole, a_graph_of_pytorch_notices, trained_there_and_here,
    )  # fmt: skip
