"""What other people wrote: builders of networks in plugins, and torchvision beside any torch.

May import the rest of `config`.
"""
