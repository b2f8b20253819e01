"""What one makes with a generator, source or adapted: pictures, depth maps, films and meshes.

`python -m adaptation.generate` is the command; `adaptation.pictures`, `film`, `mesh` and `at_strength` the functions.
"""
