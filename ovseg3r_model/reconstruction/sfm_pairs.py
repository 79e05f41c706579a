"""Which pairs of keyframes to match: neighbours in time, and pictures that look alike (loop closure).

COLMAP closes loops with a vocabulary tree that has to be downloaded. Here each picture's SIFT descriptors are summed up
as a VLAD vector over words learnt from the recording itself, which for some hundred pictures of one place does as well.
"""

import numpy as np
from scipy.cluster.vq import kmeans2

from ovseg3r_model.records import Float32, Int64, UInt8

WORDS = 48
FEATURES_PER_PICTURE = 1000
"""Those of the largest scale, which are the ones found again from elsewhere."""

TRAINING_FEATURES = 12_000


def choose_pairs(descriptors: list[UInt8], overlap: int, loop_neighbours: int, seed: int) -> Int64:
    """Pairs (N,2) int64 of F pictures, first < second, sorted and unique.

    descriptors: per picture (n,128) uint8 SIFT, the most stable first. Every picture goes with its ``overlap``
    successors and with the ``loop_neighbours`` most similar pictures at least twice that far away.
    """
    count = len(descriptors)
    first = np.repeat(np.arange(count), overlap)
    second = first + np.tile(np.arange(1, overlap + 1), count)
    near = np.stack([first, second], axis=1)[second < count]
    pairs = np.concatenate([near, _alike(descriptors, 2 * overlap, loop_neighbours, seed)])
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int64)


def _alike(descriptors: list[UInt8], apart: int, neighbours: int, seed: int) -> Int64:
    count = len(descriptors)
    if neighbours == 0 or count <= apart or sum(map(len, descriptors)) < WORDS:
        return np.empty((0, 2), np.int64)
    similarity = _similarity(descriptors, seed)
    index = np.arange(count)
    similarity[np.abs(index[:, None] - index) < apart] = -np.inf
    pairs = []
    for i in range(count):
        row = similarity[i].copy()
        for _ in range(neighbours):
            best = int(np.argmax(row))
            if not np.isfinite(row[best]):
                break
            pairs.append((i, best))
            # Pictures beside one another look alike too: the others go to other places where the loop may close.
            row[max(0, best - 1) : best + 2] = -np.inf
    return np.array(pairs, np.int64).reshape(-1, 2)


def _similarity(descriptors: list[UInt8], seed: int) -> Float32:
    """(F,F) float32 cosine of the pictures' VLAD vectors."""
    rng = np.random.default_rng([seed, 17])
    roots = [_root(d[:FEATURES_PER_PICTURE]) for d in descriptors]
    everything = np.concatenate(roots)
    sample = everything[rng.permutation(len(everything))[:TRAINING_FEATURES]].astype(np.float64)
    words, _ = kmeans2(sample, WORDS, iter=10, minit="points", rng=np.random.default_rng([seed, 19]))
    words = words.astype(np.float32)
    vectors = np.stack([_vlad(r, words) for r in roots])
    vectors -= vectors.mean(axis=0)  # what all pictures share tells nothing
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similarity: Float32 = vectors @ vectors.T
    return similarity


def _root(descriptors: UInt8) -> Float32:
    values = descriptors.astype(np.float32)
    out: Float32 = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return out


def _vlad(descriptors: Float32, words: Float32) -> Float32:
    """(WORDS * 128,) float32: sums of the differences to the nearest word, each word normalised, then all."""
    out = np.zeros_like(words)
    if len(descriptors):
        nearest = np.argmin((words**2).sum(axis=1) - 2 * descriptors @ words.T, axis=1)
        np.add.at(out, nearest, descriptors - words[nearest])
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    flat: Float32 = out.ravel() / np.maximum(np.linalg.norm(out), 1e-12)
    return flat
