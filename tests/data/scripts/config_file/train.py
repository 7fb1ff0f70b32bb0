"""Adversarial training from a config file; one JSON object a line; writes beside itself."""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from net import SmallNet
from sklearn.datasets import load_digits

with open(sys.argv[1]) as file:
    args = argparse.Namespace(**yaml.safe_load(file)['train'])

torch.manual_seed(args.seed)
torch.set_num_threads(1)
digits = load_digits()
images = torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
order = np.random.RandomState(0).permutation(len(labels))
train, val = order[:600], order[600:800]
counts = torch.bincount(labels[train], minlength=10).float()


def pgd(model, x, y, steps=3):
    eps = float(args.epsilon)
    adv = x + torch.empty_like(x).uniform_(-eps, eps)
    for _ in range(steps):
        adv = adv.clamp(0, 1).detach().requires_grad_()
        grad = torch.autograd.grad(F.cross_entropy(model(adv), y), adv)[0]
        adv = (x + (adv + eps / 2 * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)
    return adv.detach()


model = SmallNet()
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=args.nesterov)
os.makedirs(args.out, exist_ok=True)
for epoch in range(args.epochs):
    model.train()
    generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
    torch.manual_seed(args.seed * 1000 + epoch)
    for i in torch.randperm(len(train), generator=generator).split(args.batch_size):
        x, y = images[train[i]], labels[train[i]]
        adv = pgd(model, x, y)
        shift = counts.log() if args.loss == 'bsl' else 0
        clean = model(x)
        kl = F.kl_div(F.log_softmax(model(adv), 1), F.softmax(clean, 1), reduction='batchmean')
        loss = F.cross_entropy(clean + shift, y) + args.beta * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    right = (model(pgd(model, images[val], labels[val])).argmax(1) == labels[val]).float().mean()
    torch.save({'net': model.state_dict(), 'acc': right.item()},
               os.path.join(args.out, 'ckpt_%d.pth' % (epoch + 1)))
    torch.save({'net': model.state_dict(), 'acc': right.item()}, os.path.join(args.out, 'ckpt.pth'))
    print(json.dumps({'epoch': epoch, 'loss': loss.item(), 'robust_acc': right.item()}))
