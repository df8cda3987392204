"""What a cell's ticks have to compute, before anything is computed.

``structure`` reads off the zeros of the parameters which gates and units matter, ``trace`` writes the ticks down as a
graph of operations (``graph``, ``sums``), ``outputs`` and ``packing`` prepare it for kernels.
"""
