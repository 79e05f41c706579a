"""Engine ``dust3r``, the learned one: DUSt3R (Wang et al., CVPR 2024) predicts the points of two pictures in the first
one's camera frame; our own global alignment makes one scene of many such pairs.

engine: the whole. model: the network, behind ``PairModel``. crops: what the network sees of a picture. pairs: which
pictures go together, and in which window. similarity: robust closed forms. graph: frames from similarities between
them. initial: where the alignment starts. refine: the paper's section 3.4. window: all of that for one window. join:
how the windows lie to one another.
"""
