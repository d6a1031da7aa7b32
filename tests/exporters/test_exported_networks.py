"""Every network of exporters/, found unaided: what its ONNX file holds, answers, and gives back."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from onnxnnw.errors import UnknownName, UnsupportedNetwork
from onnxnnw.exporters.base import export, write_weights
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.runtime import open_runtime
from onnxnnw.training.networks import find_network, network_names

pytestmark = pytest.mark.slow

SIZES = [(name, size) for name in network_names() for size in find_network(name).sizes]
SLOW = [pytest.mark.slow]  # minutes of tracing: all reference sizes, and torchvision's networks at any size
CASES = [pytest.param(*case, marks=SLOW if "reference" in case or "deeplabv3" in case else []) for case in SIZES]
TRAINABLE = {  # published, or counted in the public implementations that the notes name
    ("vgg16", "reference"): 14_719_818,
    ("resnet8", "reference"): 78_186,
    ("rdn", "reference"): 22_123_395,
    ("pix2pix", "reference"): 54_413_955,
    ("deeplabv3", "reference"): 39_638_355,
}
PATCH_GAN_70 = 2_768_705


def lively(architecture):
    """A module whose statistics and biases are neither zeros nor ones, so that dropping one of them shows."""
    module = architecture.build(seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith(("running_mean", "bias")):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return module


def kept(module):
    return {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(("name", "size"), CASES)
def test_export_keeps_the_network(name, size, tmp_path):
    """Names, bits, answers, slots and parameter counts survive export, and weights come back bit for bit."""
    architecture = find_network(name, size)
    module = lively(architecture)
    module.train()
    path = tmp_path / "network.onnx"
    export(architecture, module, path)
    assert module.training, "export changed its argument"
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]

    counted = sum(parameter.numel() for parameter in module.parameters())
    assert counted == TRAINABLE.get((name, size), counted)

    model = onnx.load(path)
    assert model.ir_version <= 10
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for parameter, value in kept(module).items():
        np.testing.assert_array_equal(stored[parameter], value.numpy(), err_msg=parameter)
    norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert norms == sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules())

    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # among millions of numbers, some spell anything
    text = model.SerializeToString()
    assert b"stack_trace" not in text
    assert b".py" not in text

    assert_parity(architecture, module, path)
    assert_slots_are_parameters(module, path)

    again = architecture.load(path)
    assert not again.training
    for parameter, value in kept(module).items():
        assert torch.equal(again.state_dict()[parameter], value), parameter


def assert_parity(architecture, module, path):
    """onnxruntime answers as torch does, for other batch and image sizes than the traced ones."""
    runtime = open_runtime(path, threads=1)
    channels, height, width = architecture.input_shape
    shapes = [(1, channels, height, width), (3, channels, height, width)]
    if 2 in architecture.dynamic:
        shapes.append((1, channels, height + 32, width + 64))
    module.eval()
    generator = torch.Generator().manual_seed(5)
    for shape in shapes:
        inputs = torch.rand(shape, generator=generator)
        with torch.inference_mode():
            wanted = module(inputs).numpy()
        found = runtime.predict(inputs.numpy())
        assert found.shape == wanted.shape
        assert np.abs(wanted).max() > 1e-3, "a parity of zeros says nothing"
        np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()), rtol=0)


def assert_slots_are_parameters(module, path):
    """What `graph` sees as weights are the module's parameters of two or more dimensions, at the same positions."""
    parameters = {name: value.detach().numpy() for name, value in module.named_parameters() if value.ndim >= 2}
    with open_network(path) as network:
        slots = find_slots(network, min_elements=1).by_name()
        assert set(slots) == set(parameters)
        for name, slot in slots.items():
            positions = np.arange(0, slot.size, max(1, slot.size // 97))
            tensor, stored = slot.constant.locate(positions)
            assert tensor.name == name
            np.testing.assert_array_equal(parameters[name].ravel()[stored], slot.values(positions).astype(np.float32))


def test_patch_gan_has_the_published_size():
    """The 70×70 PatchGAN that pix2pix is trained against has the public implementation's parameters."""
    adversary = find_network("pix2pix").build_adversary()
    assert sum(parameter.numel() for parameter in adversary.parameters()) == PATCH_GAN_70


@pytest.mark.parametrize("name", ["resnet8", "vgg16", "rdn"])
def test_weights_changed_in_a_file_come_back(name, tmp_path):
    """Load after write is the identity: changed weights go into a copy of a file by name and come back bit for bit."""
    architecture = find_network(name, "small")
    first, second = architecture.build(1), lively(architecture)
    source, out = tmp_path / "first.onnx", tmp_path / "second.onnx"
    export(architecture, first, source)
    with open_network(source, for_writing=True) as network:
        write_weights(second, network, out)
    for parameter, value in kept(second).items():
        assert torch.equal(architecture.load(out).state_dict()[parameter], value), parameter
    for parameter, value in kept(first).items():
        assert torch.equal(architecture.load(source).state_dict()[parameter], value), "the source was changed"


def test_build_depends_on_the_seed_alone():
    """Same seed, same weights, whatever torch's generator did before; and that generator stays untouched."""
    architecture = find_network("resnet8", "small")
    torch.manual_seed(1)
    first = architecture.build(7)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    second, other = architecture.build(7), architecture.build(8)
    assert torch.equal(first.stem.weight, second.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)


def test_another_network_is_refused(tmp_path):
    """A file of another architecture or size is an error that names what does not fit."""
    small = find_network("resnet8", "small")
    path = tmp_path / "small.onnx"
    export(small, small.build(), path)
    with pytest.raises(UnsupportedNetwork, match=r"not a resnet8 of size reference: stem.weight is \(8, 3, 3, 3\)"):
        find_network("resnet8").load(path)
    with pytest.raises(UnsupportedNetwork, match=r"not a vgg16 of size small: features.0.weight is missing"):
        find_network("vgg16", "small").load(path)


def test_unknown_names_list_the_known_ones():
    """An unknown network or size raises and says which there are."""
    with pytest.raises(UnknownName, match="deeplabv3, pix2pix, rdn, resnet8, vgg16"):
        find_network("resnet9")
    with pytest.raises(UnknownName, match="reference, small"):
        find_network("resnet8", "huge")


def test_vgg_trains_the_function_it_exports():
    """The matrix-product form that VGG16 trains with computes the convolution, forward and backward."""
    module = find_network("vgg16", "small").build().double()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradients(training):
        module.train(training).zero_grad()
        outputs = module(images)
        outputs.square().sum().backward()
        return outputs.detach(), [parameter.grad.clone() for parameter in module.parameters()]

    (outputs, trained), (wanted, plain) = gradients(True), gradients(False)
    torch.testing.assert_close(outputs, wanted, rtol=1e-12, atol=1e-12)
    for one, two in zip(trained, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)
