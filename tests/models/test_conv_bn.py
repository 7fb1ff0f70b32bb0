"""ConvBN: folded in eval mode, plain in train mode."""

from __future__ import annotations

import copy

import torch

from ltat_tune.models.conv_bn import ConvBN, folded_once


def _trained(stride: int, kernel_size: int) -> ConvBN:
    torch.manual_seed(0)
    module = ConvBN(3, 5, kernel_size, stride=stride).double()
    module.bn.weight.data.uniform_(0.5, 2.0)
    module.bn.bias.data.normal_()
    for _ in range(3):  # running statistics that are not 0 and 1
        module(3 * torch.randn(8, 3, 6, 6, dtype=torch.float64) + 1)
    return module


def test_eval_mode_is_convolution_then_batch_norm_to_round_off() -> None:
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    for stride, kernel_size in ((1, 3), (2, 3), (2, 1)):
        module = _trained(stride, kernel_size).eval()
        expected = module.bn(module.conv(images))
        assert torch.allclose(module(images), expected, rtol=0, atol=1e-12)


def test_eval_mode_has_the_unfolded_gradients_of_images_and_parameters() -> None:
    module = _trained(1, 3).eval()
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    weighing = torch.randn(4, 5, 6, 6, dtype=torch.float64)
    inputs = [images, *module.parameters()]
    folded = torch.autograd.grad((module(images) * weighing).sum(), inputs)
    plain = torch.autograd.grad((module.bn(module.conv(images)) * weighing).sum(), inputs)
    for one, other in zip(folded, plain, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)


def test_train_mode_moves_the_running_statistics_and_eval_mode_does_not() -> None:
    module = _trained(1, 3)
    before = module.bn.running_mean.clone()  # type: ignore[union-attr]
    module.eval()(torch.randn(4, 3, 6, 6, dtype=torch.float64))
    assert torch.equal(module.bn.running_mean, before)  # type: ignore[arg-type]
    module.train()(torch.randn(4, 3, 6, 6, dtype=torch.float64))
    assert not torch.equal(module.bn.running_mean, before)  # type: ignore[arg-type]


def test_kept_folded_weights_are_used_inside_and_forgotten_after() -> None:
    module = _trained(1, 3).eval()
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    fresh = module(images)
    with torch.no_grad(), folded_once(module):
        assert torch.equal(module(images), fresh)
        module.conv.weight.zero_()
        assert torch.equal(module(images), fresh)
    assert not torch.allclose(module(images), fresh)


def test_a_module_in_train_mode_keeps_nothing() -> None:
    module = _trained(1, 3).train()
    with folded_once(module):
        assert module.folded is None


def test_an_inner_use_leaves_the_outer_ones_folded_weights() -> None:
    module = ConvBN(2, 3).eval()
    with folded_once(module):
        kept = module.folded
        with folded_once(module):
            assert module.folded is kept
        assert module.folded is kept and kept is not None
    assert module.folded is None


def test_many_channels_on_a_narrow_map_are_laid_out_anew_with_the_same_numbers() -> None:
    """Against the same layers in float64, with images and weights in channels_last."""
    torch.manual_seed(0)
    module = ConvBN(300, 8).eval()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    exact = copy.deepcopy(module).double()
    for side, narrow in ((4, True), (5, False)):
        images = torch.randn(4, 300, side, side).contiguous(memory_format=torch.channels_last)
        images.requires_grad_(True)
        maps = module(images)
        assert maps.is_contiguous() is narrow
        doubled = images.detach().double().requires_grad_(True)
        expected = exact.bn(exact.conv(doubled))
        assert torch.allclose(maps.double(), expected, rtol=0, atol=1e-5)
        weighing = torch.randn(maps.shape, dtype=torch.float64)
        inputs = [images, module.conv.weight], [doubled, exact.conv.weight]
        found = torch.autograd.grad((maps * weighing).sum(), inputs[0])
        wanted = torch.autograd.grad((expected * weighing).sum(), inputs[1])
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one.double(), other, rtol=1e-4, atol=1e-4)


def test_kept_weights_of_both_layouts_and_types_are_the_folded_ones() -> None:
    module = ConvBN(300, 8).eval()
    maps = {side: torch.randn(2, 300, side, side) for side in (4, 8)}
    plain = {side: module(images) for side, images in maps.items()}
    with folded_once(module):
        for side, images in maps.items():
            assert torch.equal(module(images), plain[side])
            with torch.autocast("cpu", torch.bfloat16):
                coarse = module(images)
            assert coarse.dtype == torch.bfloat16
            assert torch.allclose(coarse.float(), plain[side], rtol=0.05, atol=0.05)
