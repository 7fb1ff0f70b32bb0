"""Training scripts in space files: the section `script:`, and how a script becomes one."""
