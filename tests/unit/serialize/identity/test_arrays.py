"""Arrays that a function can distinguish have different identities, whatever their class; all others have one."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parslab.serialize.code.hashing import digest_of
from parslab.serialize.identity.calls import ArgumentTerms

if TYPE_CHECKING:
    from pathlib import Path


def identity_of(value: Any) -> bytes:
    return digest_of(ArgumentTerms().term(value))


class Measured(np.ndarray):
    """A subclass with an attribute, as NumPy's own manual defines one."""

    unit: str

    def __array_finalize__(self, other: Any) -> None:
        self.unit = getattr(other, "unit", "")


class Pickled(Measured):
    """A subclass that pickles its attribute."""

    def __reduce__(self) -> Any:
        parts: Any = super().__reduce__()
        make, args, state = parts
        return make, args, (*state, self.unit)

    def __setstate__(self, state: Any) -> None:
        self.unit = state[-1]
        super().__setstate__(state[:-1])


def as_matrix(values: Any) -> Any:
    return np.asarray(values).view(np.matrix)  # its constructor warns


def measured(kind: type[Measured], values: Any, unit: str) -> Any:
    array = np.asarray(values).view(kind)
    array.unit = unit
    return array


def mapped(path: Path, shape: tuple[int, ...], dtype: Any = "i8", order: Any = "C") -> Any:
    if not path.exists():
        np.arange(6, dtype=dtype).tofile(path)
    return np.memmap(path, dtype, "r", shape=shape, order=order)


CELL = np.dtype([("a", "i1"), ("b", "i4")])
ALIGNED = np.dtype([("a", "i1"), ("b", "i4")], align=True)
six = np.arange(6)

DIFFERENT = {
    "matrix and array": (as_matrix([[1, 2]]), np.array([[1, 2]])),
    "matrices by shape": (as_matrix(six), as_matrix(six.reshape(2, 3))),
    "matrices by order": (as_matrix(six.reshape(2, 3)), as_matrix(np.asfortranarray(six.reshape(2, 3)))),
    "C and Fortran order": (six.reshape(2, 3), np.asfortranarray(six.reshape(2, 3))),
    "large, C and Fortran order": (np.zeros((60, 100)), np.zeros((60, 100), order="F")),
    "a transpose": (six.reshape(2, 3), six.reshape(3, 2).T),
    "record and structure": (np.zeros(2, CELL).view(np.recarray), np.zeros(2, CELL)),
    "types of records": (np.zeros(2, CELL), np.zeros(2, np.dtype((np.record, CELL)))),
    "aligned and packed": (np.zeros(2, CELL), np.zeros(2, ALIGNED)),
    "names of fields": (np.zeros(2, [("a", "i4")]), np.zeros(2, [("b", "i4")])),
    "values of fields": (np.array([(1, 2)], ALIGNED), np.array([(1, 3)], ALIGNED)),
    "fields with objects": (np.array([(1, {1})], "i4,O"), np.array([(1, {2})], "i4,O")),
    "types of fields with objects": (np.array([(1, {1})], "i4,O"), np.array([(1, {1})], "i8,O")),
    "shape of an object array": (np.array([[1, "a"]], object), np.array([[1], ["a"]], object)),
    "masked and not": (np.ma.array([1, 2]), np.array([1, 2])),
    "masks": (np.ma.array([1, 2], mask=[False, True]), np.ma.array([1, 2], mask=[True, False])),
    "shapes of masked arrays": (np.ma.array(six.reshape(2, 3)), np.ma.array(six)),
    "fill values": (np.ma.array([1, 2], fill_value=3), np.ma.array([1, 2], fill_value=4)),
    "hard masks": (np.ma.array([1, 2], hard_mask=True), np.ma.array([1, 2])),
    "data below a mask": (np.ma.array([1, 2], mask=[False, True]), np.ma.array([1, 3], mask=[False, True])),
    "units": (measured(Measured, [1], "m"), measured(Measured, [1], "s")),
    "pickled units": (measured(Pickled, [1], "m"), measured(Pickled, [1], "s")),
    "a subclass and its base": (measured(Pickled, [1], "m"), measured(Measured, [1], "m")),
    "shapes of a subclass": (measured(Measured, six, "m"), measured(Measured, six.reshape(2, 3), "m")),
    "no dimension and a scalar": (np.array(1), np.int64(1)),
    "no dimension and one": (np.array(1), np.array([1])),
    "empty arrays by shape": (np.zeros((0, 2)), np.zeros((2, 0))),
    "units of time": (np.array([1], "M8[s]"), np.array([1], "M8[ms]")),
    "times and spans": (np.array([1], "M8[s]"), np.array([1], "m8[s]")),
    "byte orders": (np.arange(3, dtype=">f4"), np.arange(3, dtype="<f4")),
    "long doubles": (np.array([1, 2], "g"), np.array([1, 3], "g")),
    "texts and bytes": (np.array(["a"]), np.array([b"a"])),
    "lengths of texts": (np.array(["a"], "U1"), np.array(["a"], "U2")),
    "character arrays": (np.array(["a "]).view(np.char.chararray), np.array(["a "])),
    "structured scalars": (np.array([(1, 2)], CELL)[0], np.array([(1, 3)], CELL)[0]),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_arrays_that_a_function_can_distinguish(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert identity_of(one) != identity_of(other)
    assert identity_of(one) == identity_of(copy.deepcopy(one))


def test_memory_maps_count_by_class_shape_order_and_content(tmp_path: Path) -> None:
    """`app(memmap)` with `cache=True` had the result of another shape: `(6,)` for an array of shape `(2, 3)`."""
    path = tmp_path / "six"
    maps = [
        mapped(path, (6,)),
        mapped(path, (2, 3)),
        mapped(path, (3, 2)),
        mapped(path, (2, 3), order="F"),
        mapped(path, (6,), "u8"),
        np.array(mapped(path, (6,))),
        mapped(path, (6,))[1:],
    ]
    assert len({identity_of(one) for one in maps}) == len(maps)
    assert identity_of(mapped(tmp_path / "copy", (2, 3))) == identity_of(mapped(path, (2, 3)))


def with_garbage(dtype: Any, byte: int) -> Any:
    """An array of (1, 2) whose gaps between the fields hold `byte`."""
    array = np.frombuffer(bytearray([byte] * 2 * dtype.itemsize), dtype).copy()
    for name in dtype.names:
        array[name] = 1
    return array


def garbage_in_long_double(byte: int) -> Any:
    array = np.frombuffer(bytearray([byte] * 16), "g").copy()
    array[0] = 1.5
    return array


table = np.arange(6000.0).reshape(60, 100)
EQUAL = {
    "a slice and its copy": (table[::2], table[::2].copy()),
    "a reversed view and its copy": (table[::-1], table[::-1].copy()),
    "a transpose and a Fortran copy": (table.T, np.array(table.T, order="F")),
    "one row in either order": (np.zeros((1, 5)), np.zeros((1, 5), order="F")),
    "gaps between fields": (with_garbage(ALIGNED, 0), with_garbage(ALIGNED, 255)),
    "a mask of zeros and none": (np.ma.array([1, 2]), np.ma.array([1, 2], mask=[False, False])),
    "read-only and not": (np.broadcast_to(np.array([1]), 3), np.array([1, 1, 1])),
    "units": (measured(Measured, [1], "m"), measured(Measured, [1], "m")),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_arrays_that_are_equal_after_they_have_travelled(pair: tuple[Any, Any]) -> None:
    assert identity_of(pair[0]) == identity_of(pair[1])


@pytest.mark.skipif(np.dtype("g").itemsize != 16, reason="long doubles have no padding here")
def test_the_padding_of_long_doubles_does_not_count() -> None:
    assert identity_of(garbage_in_long_double(0)) == identity_of(garbage_in_long_double(255))


dtypes = (
    hnp.scalar_dtypes().filter(lambda dtype: dtype.kind not in "mM")  # NaT is unequal to itself
    | hnp.array_dtypes(st.sampled_from(["i1", "<f8", ">i4", "U2", "?"]), max_size=3, allow_subarrays=False)
)
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=3)))
orders = st.sampled_from("CF")
kinds = st.sampled_from([np.ndarray, np.ma.MaskedArray, Measured, Pickled, np.recarray])


def seen(array: Any) -> Any:
    """All that a function can see of an array that has travelled."""
    plain = np.asarray(array)
    mask = np.ma.getmaskarray(array).tolist() if isinstance(array, np.ma.MaskedArray) else None
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    values = repr(plain.view(np.ndarray).tolist())  # repr distinguishes -0.0 from 0.0
    return type(array), repr(array.dtype), array.shape, fortran, values, mask


@given(arrays, arrays, orders, orders, kinds, kinds)
def test_identities_are_equal_when_all_that_can_be_seen_is(
    one: Any, other: Any, first: Any, second: Any, kind: Any, kind_of_other: Any
) -> None:
    one = np.array(one, order=first).view(kind)
    other = np.array(other, order=second).view(kind_of_other)
    if seen(one) != seen(other):
        assert identity_of(one) != identity_of(other)
    elif "nan" not in repr(seen(one)):
        assert identity_of(one) == identity_of(other)


@given(arrays, orders, kinds)
def test_an_array_has_the_identity_of_its_copies(array: Any, order: Any, kind: Any) -> None:
    array = np.array(array, order=order).view(kind)
    assert identity_of(array) == identity_of(array.copy("K"))
    # Pickle keeps less of other classes: NumPy changes the byte order, and the fill value of masked arrays.
    if kind is np.ndarray:
        assert identity_of(array) == identity_of(pickle.loads(pickle.dumps(array, 5)))


@given(hnp.arrays("i4", (2, 3)), st.permutations(range(6)))
def test_each_view_of_the_same_bytes_has_its_own_identity(array: Any, order: list[int]) -> None:
    views = [array, array.view("u4"), array.view("f4"), array.reshape(3, 2), array.ravel(), array.reshape(1, 2, 3)]
    chosen = [views[n] for n in order]
    assert len({identity_of(view) for view in chosen}) == len(views)
