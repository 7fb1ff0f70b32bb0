"""The figures and tables of REAT. Part of `figures`; the registry imports the specifications."""
