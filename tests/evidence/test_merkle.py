"""The tree: the reference roots of RFC 6962's implementation, a slow oracle, every proof, and pymerkle both ways."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency
from pymerkle.proof import MerkleProof

from unlearn.evidence.merkle import (
    ProofBroken,
    check_consistency,
    check_inclusion,
    completed,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    peaks,
    root,
    root_of,
)

# Inputs and roots of certificate-transparency's tests (C++: merkletree/merkle_tree_test.cc; Go: trillian's merkle).
INPUTS = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(data) for data in INPUTS]
MANY = [leaf_hash(str(i).encode()) for i in range(70)]


def slow_root(leaves):
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(slow_root(leaves[:k]), slow_root(leaves[k:]))


def nodes(leaves):
    return lambda level, index: slow_root(leaves[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_of_the_reference_implementation(size):
    assert root(LEAVES[:size]).hex() == ROOTS[size - 1]
    assert root_of(size, nodes(LEAVES)).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert root([]) == root_of(0, nodes([])) == hashlib.sha256(b"").digest()


def test_the_proofs_of_the_reference_implementation():
    # The same tests: paths of leaf 0 of 8 and leaf 5 of 8; from 1 to 8 and from 6 to 8 leaves.
    at = nodes(LEAVES)
    assert [one.hex() for one in inclusion_path(0, 8, at)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [one.hex() for one in inclusion_path(5, 8, at)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in consistency_path(1, 8, at)] == [one.hex() for one in inclusion_path(0, 8, at)]
    assert [one.hex() for one in consistency_path(6, 8, at)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_leaf_of_every_tree_is_proven_and_no_other_stands_in_its_place():
    for size in range(1, 34):
        at, top = nodes(MANY), slow_root(MANY[:size])
        for index in range(size):
            path = inclusion_path(index, size, at)
            assert len(path) <= (size - 1).bit_length()
            check_inclusion(index, size, MANY[index], path, top)
            for wrong in {0, index - 1, index + 1, size - 1} - {index}:
                with pytest.raises(ProofBroken):
                    check_inclusion(wrong, size, MANY[index], path, top)
            with pytest.raises(ProofBroken, match="another root"):
                check_inclusion(index, size, MANY[index + 1], path, top)


def test_every_tree_is_shown_to_go_on_from_every_one_before():
    at, tops = nodes(MANY), [slow_root(MANY[:size]) for size in range(34)]
    for new in range(34):
        for old in range(new + 1):
            path = consistency_path(old, new, at)
            check_consistency(old, new, tops[old], tops[new], path)
            if old:
                with pytest.raises(ProofBroken):
                    check_consistency(old, new, MANY[69], tops[new], path)
            with pytest.raises(ProofBroken):
                check_consistency(old, new, tops[old], tops[new], [*path, MANY[0]])
            if path:
                with pytest.raises(ProofBroken):
                    check_consistency(old, new, tops[old], tops[new], path[:-1])


@given(st.integers(1, 60), st.data())
def test_a_rewritten_leaf_shows_in_every_consistency_proof_over_it(new, data):
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    forged = [*MANY[:changed], leaf_hash(b"forged"), *MANY[changed + 1 :]]
    path = consistency_path(old, new, nodes(forged))
    with pytest.raises(ProofBroken):
        check_consistency(old, new, slow_root(MANY[:old]), slow_root(forged[:new]), path)


@given(st.integers(1, 60), st.data())
def test_a_flipped_bit_of_a_path_breaks_it(size, data):
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, nodes(MANY))
    check_inclusion(index, size, MANY[index], path, slow_root(MANY[:size]))
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        path[place] = bytes([path[place][0] ^ 1]) + path[place][1:]
        with pytest.raises(ProofBroken):
            check_inclusion(index, size, MANY[index], path, slow_root(MANY[:size]))


def test_what_can_be_no_proof_says_so():
    at, top = nodes(MANY), slow_root(MANY[:5])
    with pytest.raises(ProofBroken, match="leaf 5 lies outside a tree of 5"):
        check_inclusion(5, 5, MANY[5], [], top)
    with pytest.raises(ProofBroken, match="too short"):
        check_inclusion(1, 5, MANY[1], inclusion_path(1, 5, at)[:-1], top)
    with pytest.raises(ProofBroken, match="too long"):
        check_inclusion(1, 5, MANY[1], [*inclusion_path(1, 5, at), top], top)
    with pytest.raises(ProofBroken, match="31 bytes"):
        check_inclusion(1, 5, MANY[1], [b"x" * 31], top)
    with pytest.raises(ProofBroken, match="5 leaves can't go on from one of 6"):
        check_consistency(6, 5, top, top, [])
    with pytest.raises(ProofBroken, match="two trees of 5 leaves have different roots"):
        check_consistency(5, 5, top, MANY[0], [])
    with pytest.raises(ValueError, match="no leaf 5"):
        inclusion_path(5, 5, at)
    with pytest.raises(ValueError, match="no part of 6"):
        consistency_path(6, 5, at)


@given(st.integers(0, 300))
def test_each_appended_leaf_completes_the_nodes_that_peaks_then_name(size):
    known = {(0, i) for i in range(size)} | {node for i in range(size) for node in completed(i)}
    assert set(peaks(size)) <= known
    assert len(known) <= 2 * size
    assert sum(1 << level for level, _ in peaks(size)) == size


def test_pymerkle_makes_the_same_roots_and_each_checks_the_others_proofs():
    tree = InmemoryTree(algorithm="sha256")
    for size, data in enumerate(INPUTS, 1):
        tree.append(data)
        assert tree.get_state() == root(LEAVES[:size])
    for index in range(8):
        theirs = tree.prove_inclusion(index + 1)
        check_inclusion(index, 8, LEAVES[index], theirs.path[1:], tree.get_state())
        ours = inclusion_path(index, 8, nodes(LEAVES))
        made = MerkleProof("sha256", True, 8, theirs.rule, theirs.subset, [LEAVES[index], *ours])
        assert made.resolve() == root(LEAVES)
    for size in range(1, 8):  # of consistency it keeps other hashes, so that each checks against the other's roots
        verify_consistency(root(LEAVES[:size]), root(LEAVES), tree.prove_consistency(size, 8))
        check_consistency(size, 8, tree.get_state(size), tree.get_state(), consistency_path(size, 8, nodes(LEAVES)))
