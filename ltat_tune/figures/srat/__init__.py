"""The figures of SRAT. Part of `figures`; the registry imports the specifications."""
