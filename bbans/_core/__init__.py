"""The compiled core: C that is built when the package is, called by ctypes. `library` says how it is found and called.

It holds every loop over symbols and pixels, and the integer layers of the networks. It allocates nothing, knows no floating point,
and checks what it is given: arrays by type and layout here, lengths where it begins. The GIL is free while it runs. The Python that
each loop stands for is in `tests/reference`, and tests compare the two.
"""
