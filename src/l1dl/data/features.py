"""The 16 substructure features of a jet, as in the hls4ml jet-tagging benchmark (arXiv:1804.06913)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEATURES = (
    "zlogz",
    "c1_b0",
    "c1_b1",
    "c1_b2",
    "c2_b1",
    "c2_b2",
    "d2_b1",
    "d2_b2",
    "d2_a1_b1",
    "d2_a1_b2",
    "m2_b1",
    "m2_b2",
    "n2_b1",
    "n2_b2",
    "mass_mmdt",
    "multiplicity",
)
"""Column names: Σ z ln z; C1, C2, D2, M2 and N2 with their angular exponents; groomed mass (GeV); constituents."""

MMDT_Z_CUT = 0.1

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def jet_features(pt: FloatArray, eta: FloatArray, phi: FloatArray, offsets: IntArray) -> FloatArray:
    r"""Return the 16 features of each jet from its ungroomed, massless constituents.

    With :math:`z_i = p_{T,i} / \sum p_T` and the correlators :math:`{}_v e_n` of arXiv:1609.07483,
    :math:`C_1 = e_2`, :math:`C_2 = e_3 / e_2^2` (arXiv:1305.0007), :math:`D_2 = e_3 / e_2^3` and
    :math:`D_2^{(1,\beta)} = e_3^{(1)} / (e_2^{(\beta)})^{3/\beta}` (arXiv:1409.6298, 1411.0665),
    :math:`M_2 = {}_1 e_3 / e_2`, :math:`N_2 = {}_2 e_3 / e_2^2`; the mass is that of the modified mass-drop tagger
    with :math:`z_{cut} = 0.1` (arXiv:1307.0007). A ratio with a vanishing denominator is 0.

    Parameters
    ----------
    pt, eta, phi
        Constituents of all jets, float64 of shape (C,), in GeV and radians; every `pt` is positive.
    offsets
        int64 of shape (jets + 1,): jet `i` holds the constituents ``offsets[i]`` to ``offsets[i + 1] - 1``,
        at least one.

    Returns
    -------
    numpy.ndarray
        float64 of shape (jets, 16), columns as in `FEATURES`.
    """
    from l1dl.data import kernels

    out = np.zeros((offsets.size - 1, len(FEATURES)))
    kernels.fill_features(pt, eta, phi, offsets, MMDT_Z_CUT, out)
    return out


def leading_constituents(
    pt: FloatArray, eta: FloatArray, phi: FloatArray, offsets: IntArray, *, axis: FloatArray, count: int = 16
) -> npt.NDArray[np.float32]:
    """Return the hardest constituents of each jet, relative to its axis, padded with zeros.

    Parameters
    ----------
    pt, eta, phi, offsets
        Constituents of all jets, as in `jet_features`.
    axis
        Pseudorapidity and azimuth of each jet, float64 of shape (jets, 2).
    count
        Constituents to keep.

    Returns
    -------
    numpy.ndarray
        float32 of shape (jets, count, 3): transverse momentum (GeV), Delta eta, Delta phi; hardest first.
    """
    sizes = np.diff(offsets)
    jet = np.repeat(np.arange(sizes.size), sizes)
    order = np.lexsort((-pt, jet))
    rank = np.arange(pt.size) - np.repeat(offsets[:-1], sizes)
    chosen = order[rank < count]
    jet, rank = jet[rank < count], rank[rank < count]
    out = np.zeros((sizes.size, count, 3), np.float32)
    d_phi = phi[chosen] - axis[jet, 1]
    out[jet, rank, 0] = pt[chosen]
    out[jet, rank, 1] = eta[chosen] - axis[jet, 0]
    out[jet, rank, 2] = (d_phi + np.pi) % (2 * np.pi) - np.pi
    return out
