"""Data sets as they lie on disk: arrays, lists of files, the files of MNIST, fixed splits."""
