"""Dense depth of posed pictures, in torch: see :mod:`ovseg3r_model.reconstruction.dense.depth_maps`. Import nothing
from here where torch is not wanted.
"""
