"""Pure functions and Flax (Linen) modules; nothing here imports from `experiments`."""
