"""From a grid to cells and groups of cells, checked and sized before anything runs."""
