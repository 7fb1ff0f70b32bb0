"""DataParallel: names in the checkpoint begin with module.; a progress bar with \\r."""
import argparse
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from net import SmallNet
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description='PyTorch AT on long-tailed digits')
parser.add_argument('--lr', type=float, default=0.1, metavar='LR', help='learning rate')
parser.add_argument('--beta', type=float, default=6.0, help='weight of the robust term')
parser.add_argument('--epochs', default=4, type=int)
parser.add_argument('--batch-size', type=int, default=64)
parser.add_argument('--epsilon', default=0.1)
parser.add_argument('--loss', choices=['ce', 'bsl'], default='ce')
parser.add_argument('--nesterov', action='store_true', default=False)
parser.add_argument('--seed', type=int, default=1, metavar='S')
parser.add_argument('--resume', default='', type=str)
parser.add_argument('--out', default='./checkpoint')
args = parser.parse_args()

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


model = nn.DataParallel(SmallNet())
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=args.nesterov)
start = 0
if args.resume:
    state = torch.load(args.resume)
    model.load_state_dict(state['model'])
    optimizer.load_state_dict(state['optimizer'])
    start = state['epoch']
    print('=> resumed at epoch', start)
os.makedirs(args.out, exist_ok=True)
for epoch in range(start, args.epochs):
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
        print('\r%d training' % epoch, end='')
    model.eval()
    right = (model(pgd(model, images[val], labels[val])).argmax(1) == labels[val]).float().mean()
    torch.save({'epoch': epoch + 1, 'model': model.state_dict(),
                'optimizer': optimizer.state_dict()}, os.path.join(args.out, 'last.pt'))
    print(f'\rEpoch: [{epoch}]\tRobust Prec@1 {100 * right.item():.3f}')
