"""The commands of `workbench`, a thin module each."""
