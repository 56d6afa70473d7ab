"""Compiled loops over the constituents of jets; imported only by `l1dl.data.features` and `l1dl.data.images`.

No fast-math: sums keep their order, so that every machine gives the same numbers. Plain loops instead of array
expressions: they compile several times faster.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"


@numba.njit(cache=True)
def delta_phi(first, second):
    """Return ``first - second`` (radians) wrapped into [-pi, pi]."""
    difference = first - second
    while difference > math.pi:
        difference -= 2.0 * math.pi
    while difference < -math.pi:
        difference += 2.0 * math.pi
    return difference


@numba.njit(cache=True)
def distances(eta, phi):
    """Return the matrix of Delta R between all constituents, float64 of shape (n, n)."""
    count = eta.size
    out = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1, count):
            d_phi = delta_phi(phi[i], phi[j])
            d_eta = eta[i] - eta[j]
            out[i, j] = math.sqrt(d_eta * d_eta + d_phi * d_phi)
            out[j, i] = out[i, j]
    return out


@numba.njit(cache=True)
def add_triplets(sums, z, weight, side, row_i, row_j, start):
    """Add to `sums` (6, n) every triplet (i, j, k >= start); one column per k, so the loop runs in SIMD lanes."""
    for k in range(start, z.size):
        second = row_i[k]
        third = row_j[k]
        w = weight * z[k]
        low = min(side, second)
        high = max(side, second)
        smallest = min(low, third)
        middle = max(low, min(high, third))
        pair = smallest * middle
        product = side * second * third
        sums[0, k] += w * product
        sums[1, k] += w * (product * product)
        sums[2, k] += w * smallest
        sums[3, k] += w * (smallest * smallest)
        sums[4, k] += w * pair
        sums[5, k] += w * (pair * pair)


@numba.njit(cache=True)
def correlators(z, eta, phi):
    """Return the energy correlators of one jet (arXiv:1609.07483), with angular exponents 1 and 2.

    The nine numbers: 1e2 with exponent 0, 1, 2; 3e3 with exponent 1, 2; 1e3 with 1, 2; 2e3 with 1, 2.
    """
    count = z.size
    r = distances(eta, phi)
    pairs = np.zeros(3)
    sums = np.zeros((6, count))
    for i in range(count):
        for j in range(i + 1, count):
            weight = z[i] * z[j]
            side = r[i, j]
            pairs[0] += weight
            pairs[1] += weight * side
            pairs[2] += weight * (side * side)
            add_triplets(sums, z, weight, side, r[i], r[j], j + 1)
    out = np.empty(9)
    for n in range(3):
        out[n] = pairs[n]
    for n in range(6):
        total = 0.0
        for k in range(count):
            total += sums[n, k]
        out[3 + n] = total
    return out


@numba.njit(cache=True)
def rapidity_phi(p):
    """Return rapidity and azimuth of a four-vector (px, py, pz, E)."""
    transverse_mass_2 = max(p[3] * p[3] - p[2] * p[2], 1e-300)
    rapidity = math.log((p[3] + abs(p[2])) / math.sqrt(transverse_mass_2))
    return math.copysign(rapidity, p[2]), math.atan2(p[1], p[0])


@numba.njit(cache=True)
def find_nearest(i, rapidity, phi, active, nearest, distance):
    """Update the nearest active neighbour of `i` and its squared distance."""
    best = np.inf
    where = -1
    for j in range(active.size):
        if active[j] and j != i:
            d_phi = delta_phi(phi[i], phi[j])
            d_rapidity = rapidity[i] - rapidity[j]
            r2 = d_rapidity * d_rapidity + d_phi * d_phi
            if r2 < best:
                best = r2
                where = j
    nearest[i] = where
    distance[i] = best


@numba.njit(cache=True)
def cluster_cambridge(momenta):
    """Cluster massless constituents (n, 4) with Cambridge/Aachen in the E scheme, without a radius.

    Returns the four-vectors (2n - 1, 4) of constituents and merged objects, and the parents (2n - 1, 2) of each,
    -1 for a constituent; the last row is the whole jet.
    """
    count = momenta.shape[0]
    p = np.zeros((2 * count - 1, 4))
    parents = np.zeros((2 * count - 1, 2), np.int64)
    slot = np.zeros(count, np.int64)
    rapidity = np.zeros(count)
    phi = np.zeros(count)
    active = np.zeros(count, np.bool_)
    nearest = np.zeros(count, np.int64)
    distance = np.zeros(count)
    for i in range(count):
        for n in range(4):
            p[i, n] = momenta[i, n]
        parents[i, 0] = -1
        parents[i, 1] = -1
        slot[i] = i
        active[i] = True
        rapidity[i], phi[i] = rapidity_phi(p[i])
    for i in range(count):
        find_nearest(i, rapidity, phi, active, nearest, distance)
    for new in range(count, 2 * count - 1):
        a = -1
        best = np.inf
        for i in range(count):
            if active[i] and (a < 0 or distance[i] < best):
                a = i
                best = distance[i]
        b = nearest[a]
        parents[new, 0] = slot[a]
        parents[new, 1] = slot[b]
        for n in range(4):
            p[new, n] = p[slot[a], n] + p[slot[b], n]
        active[b] = False
        slot[a] = new
        rapidity[a], phi[a] = rapidity_phi(p[new])
        find_nearest(a, rapidity, phi, active, nearest, distance)
        for i in range(count):
            if active[i] and i != a:
                if nearest[i] == a or nearest[i] == b:
                    find_nearest(i, rapidity, phi, active, nearest, distance)
                else:
                    d_phi = delta_phi(phi[i], phi[a])
                    d_rapidity = rapidity[i] - rapidity[a]
                    r2 = d_rapidity * d_rapidity + d_phi * d_phi
                    if r2 < distance[i]:
                        distance[i] = r2
                        nearest[i] = a
    return p, parents


@numba.njit(cache=True)
def mmdt_mass(momenta, z_cut):
    """Return the mass (GeV) of a jet (n, 4) after the modified mass-drop tagger (arXiv:1307.0007)."""
    if momenta.shape[0] < 2:
        return 0.0
    p, parents = cluster_cambridge(momenta)
    node = p.shape[0] - 1
    while parents[node, 0] >= 0:
        a = parents[node, 0]
        b = parents[node, 1]
        pt_a = math.sqrt(p[a, 0] * p[a, 0] + p[a, 1] * p[a, 1])
        pt_b = math.sqrt(p[b, 0] * p[b, 0] + p[b, 1] * p[b, 1])
        if min(pt_a, pt_b) > z_cut * (pt_a + pt_b):
            q = p[node]
            return math.sqrt(max(q[3] * q[3] - q[0] * q[0] - q[1] * q[1] - q[2] * q[2], 0.0))
        node = a if pt_a >= pt_b else b
    return 0.0


@numba.njit(cache=True)
def massless(pt, eta, phi):
    """Return massless four-vectors (px, py, pz, E) in GeV, float64 of shape (n, 4)."""
    out = np.empty((pt.size, 4))
    for i in range(pt.size):
        out[i, 0] = pt[i] * math.cos(phi[i])
        out[i, 1] = pt[i] * math.sin(phi[i])
        out[i, 2] = pt[i] * math.sinh(eta[i])
        out[i, 3] = pt[i] * math.cosh(eta[i])
    return out


@numba.njit(cache=True)
def ratio(numerator, denominator):
    """Return the quotient, or 0 where the denominator vanishes (a jet with too few constituents)."""
    return numerator / denominator if denominator > 0.0 else 0.0


@numba.njit(cache=True)
def fill_features(pt, eta, phi, offsets, z_cut, out):
    """Fill `out` (jets, 16) in the order of `l1dl.data.features.FEATURES`."""
    for jet in range(offsets.size - 1):
        low = offsets[jet]
        high = offsets[jet + 1]
        total = 0.0
        for i in range(low, high):
            total += pt[i]
        z = np.empty(high - low)
        zlogz = 0.0
        for i in range(z.size):
            z[i] = pt[low + i] / total
            zlogz += z[i] * math.log(z[i])
        e = correlators(z, eta[low:high], phi[low:high])
        row = out[jet]
        row[0] = zlogz
        for n in range(3):
            row[1 + n] = e[n]
        row[4] = ratio(e[3], e[1] ** 2)
        row[5] = ratio(e[4], e[2] ** 2)
        row[6] = ratio(e[3], e[1] ** 3)
        row[7] = ratio(e[4], e[2] ** 3)
        row[8] = row[6]
        row[9] = ratio(e[3], e[2] ** 1.5)
        row[10] = ratio(e[5], e[1])
        row[11] = ratio(e[6], e[2])
        row[12] = ratio(e[7], e[1] ** 2)
        row[13] = ratio(e[8], e[2] ** 2)
        row[14] = mmdt_mass(massless(pt[low:high], eta[low:high], phi[low:high]), z_cut)
        row[15] = high - low


@numba.njit(cache=True)
def image_frame(pt, d_eta, d_phi):
    """Return centre and axis (eta0, phi0, cos, sin) of a jet; the axis points to the side of the longer tail."""
    total = eta0 = phi0 = 0.0
    for i in range(pt.size):
        total += pt[i]
        eta0 += pt[i] * d_eta[i]
        phi0 += pt[i] * d_phi[i]
    eta0 /= total
    phi0 /= total
    mixed = difference = 0.0
    for i in range(pt.size):
        a = d_eta[i] - eta0
        b = d_phi[i] - phi0
        mixed += pt[i] * a * b
        difference += pt[i] * (a * a - b * b)
    angle = 0.5 * math.atan2(2.0 * mixed, difference)
    cosine = math.cos(angle)
    sine = math.sin(angle)
    skew = 0.0
    for i in range(pt.size):
        along = (d_eta[i] - eta0) * cosine + (d_phi[i] - phi0) * sine
        skew += pt[i] * along * along * along
    if skew < 0.0:
        cosine = -cosine
        sine = -sine
    return eta0, phi0, cosine, sine


@numba.njit(cache=True)
def find_pixels(pt, eta, phi, offsets, half_width, size, pixel, share):
    """Fill the pixel of each constituent and its share of the jet's transverse momentum.

    A pixel is a number in the images of all jets, ``(jet * size + row) * size + column``; -1 is outside.
    """
    for jet in range(offsets.size - 1):
        low = offsets[jet]
        high = offsets[jet + 1]
        total = 0.0
        d_eta = np.empty(high - low)
        d_phi = np.empty(high - low)
        for i in range(high - low):
            total += pt[low + i]
            d_eta[i] = eta[low + i] - eta[low]
            d_phi[i] = delta_phi(phi[low + i], phi[low])
        eta0, phi0, cosine, sine = image_frame(pt[low:high], d_eta, d_phi)
        for i in range(high - low):
            a = d_eta[i] - eta0
            b = d_phi[i] - phi0
            row = math.floor(((a * cosine + b * sine) / half_width + 1.0) * (size / 2))
            column = math.floor(((b * cosine - a * sine) / half_width + 1.0) * (size / 2))
            inside = 0 <= row < size and 0 <= column < size
            pixel[low + i] = (jet * size + row) * size + column if inside else -1
            share[low + i] = pt[low + i] / total
