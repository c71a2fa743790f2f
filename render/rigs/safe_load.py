"""Arrays out of the body models' official files, without running anything a file contains.

A pickle is a program. This reader gives that program no function of Python, numpy, scipy or chumpy: every
name it may use stands for a record below that only stores what it is handed, and any other name is refused.
The records become plain numpy arrays after the program has ended.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import AvatarError

_PLAIN_DTYPE = re.compile(r"[<>|=]?(?:[biufcSU]\d*|\?)")


class _Refused(Exception):
    """The file holds something else than data; the text completes 'FILE ...'."""


class _Sealed(type):
    """A class a pickle cannot change: `BUILD` may set attributes on whatever the program names."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise _Refused(f"tries to change {cls.__name__}")


class _Record(metaclass=_Sealed):
    """Stores its construction arguments and its pickled state; computes nothing."""

    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        record = super().__new__(cls)
        record.args = args
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> Any:
        raise _Refused(f"holds {type(self).__name__.strip('_')}, which is no data")


class _Dtype(_Record):
    """numpy.dtype(code, align, copy) with its state (version, byte order, ...)."""

    def value(self) -> np.dtype[Any]:
        code = self.args[0] if self.args else None
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if code in ("O", "O8", "|O"):
            return np.dtype(object)
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise _Refused(f"holds an array of type {code!r}")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        order = order.decode("ascii") if isinstance(order, bytes) else order
        return np.dtype(code).newbyteorder(">" if order == ">" else "=" if order == "=" else "<")


def _array_from_bytes(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> NDArray[Any]:
    if isinstance(raw, str):  # a Python 2 string read with encoding latin1
        raw = raw.encode("latin1")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise _Refused(f"holds an array of shape {shape} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


class _Array(_Record):
    """numpy's _reconstruct(ndarray, (0,), b'b') with its state (version, shape, dtype, fortran, data)."""

    def value(self) -> Any:
        _version, shape, dtype, fortran, raw = self.state
        shape, dtype, raw = tuple(int(n) for n in shape), _plain(dtype), _plain(raw)
        if dtype.hasobject:
            items = np.empty(len(raw), object)
            items[:] = [_plain(item) for item in raw]
            return items.reshape(shape)
        return _array_from_bytes(raw, dtype, shape, bool(fortran))


class _ArrayFromBuffer(_Record):
    """numpy's _frombuffer(data, dtype, shape, order) of pickle protocol 5."""

    def value(self) -> NDArray[Any]:
        raw, dtype, shape, order = self.args
        return _array_from_bytes(bytes(raw), _plain(dtype), tuple(int(n) for n in shape), order == "F")


class _Scalar(_Record):
    """numpy's scalar(dtype, data)."""

    def value(self) -> Any:
        dtype, raw = self.args
        return _array_from_bytes(_plain(raw), _plain(dtype), (), False)[()]


class _Text(_Record):
    """_codecs.encode(text, 'latin1'): how Python 3 writes bytes for Python 2."""

    def value(self) -> bytes:
        text, encoding = self.args
        if encoding not in ("latin1", "latin-1"):
            raise _Refused(f"uses the text encoding {encoding!r}")
        return str(text).encode("latin1")


class _Reconstructed(_Record):
    """copyreg._reconstructor(class, base, state): an object of Python 2 written field by field."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        named = args[0] if args else None
        if not (isinstance(named, type) and issubclass(named, _Record)):
            raise _Refused("rebuilds an object of an unknown class")
        return named.__new__(named)


class _Sparse(_Record):
    """A scipy.sparse matrix in compressed columns or rows, read as a dense array."""

    by_column = True

    def value(self) -> NDArray[Any]:
        fields = {str(key): _plain(value) for key, value in _fields(self.state).items()}
        shape = tuple(int(n) for n in fields.get("_shape", fields.get("shape", ())))
        values, indices, starts = (np.asarray(fields[key]) for key in ("data", "indices", "indptr"))
        columns, rows = (shape[1], shape[0]) if self.by_column else shape
        counts = np.diff(starts)
        if len(starts) != columns + 1 or (counts < 0).any() or len(indices) != counts.sum():
            raise _Refused("holds a sparse matrix whose index does not fit its shape")
        if len(values) != len(indices) or (len(indices) and not 0 <= indices.min() <= indices.max() < rows):
            raise _Refused("holds a sparse matrix with entries outside its shape")
        dense = np.zeros((columns, rows), values.dtype)
        np.add.at(dense, (np.repeat(np.arange(columns), counts), indices), values)  # duplicates add up
        return dense.T if self.by_column else dense


class _SparseRows(_Sparse):
    by_column = False


class _Chumpy(_Record):
    """A chumpy expression of a kind that has no known meaning here."""


class _ChumpyArray(_Chumpy):
    """chumpy.ch.Ch: a plain array."""

    def value(self) -> Any:
        return np.asarray(_plain(_fields(self.state)["x"]))


class _ChumpyOperation(_Chumpy):
    """A chumpy node with operands; subclasses say what it does to them."""

    def operand(self, name: str) -> Any:
        return np.asarray(_plain(_fields(self.state)[name]))

    def option(self, name: str, default: Any = None) -> Any:
        return _plain(_fields(self.state).get(name, default))


class _ChumpySelect(_ChumpyOperation):
    def value(self) -> Any:
        picked = self.operand("a").ravel()[np.asarray(self.option("idxs"), np.int64)]
        shape = self.option("preferred_shape")
        return picked if shape is None else picked.reshape(tuple(np.atleast_1d(shape)))


class _ChumpyReshape(_ChumpyOperation):
    def value(self) -> Any:
        return self.operand("a").reshape(tuple(np.atleast_1d(self.option("newshape"))))


class _ChumpyTranspose(_ChumpyOperation):
    def value(self) -> Any:
        return self.operand("a").transpose(self.option("axes"))


class _ChumpyConcatenate(_ChumpyOperation):
    def value(self) -> Any:
        return np.concatenate(
            [self.operand(name) for name in self.option("dterms")], int(self.option("axis", 0))
        )


class _ChumpyAdd(_ChumpyOperation):
    def value(self) -> Any:
        return self.operand("a") + self.operand("b")


class _ChumpySubtract(_ChumpyOperation):
    def value(self) -> Any:
        return self.operand("a") - self.operand("b")


class _ChumpyMultiply(_ChumpyOperation):
    def value(self) -> Any:
        return self.operand("a") * self.operand("b")


class _Object(_Record):
    """builtins.object and numpy.ndarray, named only as the class or base of something above."""


def _fields(state: Any) -> Mapping[Any, Any]:
    if not isinstance(state, dict):
        raise _Refused("holds an object without fields")
    return state


def _plain(value: Any) -> Any:
    return value.value() if isinstance(value, _Record) else value


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _Text,
    ("copy_reg", "_reconstructor"): _Reconstructed,
    ("copyreg", "_reconstructor"): _Reconstructed,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Object,
}
for _module in ("numpy.core", "numpy._core"):
    _NAMES[f"{_module}.multiarray", "_reconstruct"] = _Array
    _NAMES[f"{_module}.multiarray", "scalar"] = _Scalar
    _NAMES[f"{_module}.numeric", "_frombuffer"] = _ArrayFromBuffer
for _module in ("builtins", "__builtin__"):
    _NAMES[_module, "object"] = _Object
    _NAMES[_module, "set"] = set
for _module in ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse._csc"):
    _NAMES[_module, "csc_matrix"] = _Sparse
    _NAMES[_module, "csc_array"] = _Sparse
for _module in ("scipy.sparse", "scipy.sparse.csr", "scipy.sparse._csr"):
    _NAMES[_module, "csr_matrix"] = _SparseRows
    _NAMES[_module, "csr_array"] = _SparseRows
_CHUMPY: dict[str, type[_Chumpy]] = {
    "Ch": _ChumpyArray,
    "Select": _ChumpySelect,
    "Reshape": _ChumpyReshape,
    "transpose": _ChumpyTranspose,
    "Concatenate": _ChumpyConcatenate,
    "add": _ChumpyAdd,
    "subtract": _ChumpySubtract,
    "multiply": _ChumpyMultiply,
}
_CHUMPY_MODULES = ("chumpy", "chumpy.ch", "chumpy.ch_ops", "chumpy.reordering")


class _Unpickler(pickle._Unpickler):
    """The unpickler written in Python: the one in C lets a file reserve any amount of memory for its memo."""

    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None and module in _CHUMPY_MODULES:
            found = _CHUMPY.get(name)
        if found is None:
            raise _Refused(f"names {module}.{name}, which is no data: it tries to run code")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("refers to objects outside the file")


def _read_pickle(path: Path) -> dict[str, Any]:
    content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    if not isinstance(content, dict):
        raise _Refused(f"holds a {type(content).__name__}, not a dictionary of arrays")
    return {str(key): value for key, value in content.items()}


def _read_npz(path: Path) -> dict[str, Any]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if not entry.endswith(".npy"):
                continue
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                header = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                dtype = (header or np.lib.format.read_array_header_2_0)(file)[2]
            if dtype.hasobject:  # a pickle inside the archive: never read (official files have names there)
                continue
            with archive.open(entry) as file:
                arrays[entry.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


class ModelFile:
    """The arrays of one .pkl or .npz model file, looked up by their official names."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self._content = content

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def array(self, name: str, *, ndim: int | None = None) -> NDArray[Any]:
        """One array as float32, or int64 when it holds integers.

        Raises AvatarError naming the file when it is missing, no numbers, not finite or of another `ndim`.
        """
        if name not in self._content:
            raise AvatarError(f"{self.path}: has no '{name}'; is it the model's official file?")
        try:
            value = np.asarray(_plain(self._content[name]))
        except Exception as error:
            raise AvatarError(
                f"{self.path}: '{name}' {_reason(error)}; get the official file again"
            ) from error
        if value.dtype.kind not in "biuf":
            raise AvatarError(f"{self.path}: '{name}' holds {value.dtype}, not numbers")
        if ndim is not None and value.ndim != ndim:
            raise AvatarError(f"{self.path}: '{name}' has shape {value.shape}, expected {ndim} dimensions")
        if value.dtype.kind in "biu":
            return value.astype(np.int64)
        if not np.isfinite(value).all():
            raise AvatarError(
                f"{self.path}: '{name}' holds values that are not finite; get the official file again"
            )
        return value.astype(np.float32)


def _reason(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    return f"cannot be read ({text[:120]})"


def read_model_file(path: Path | str) -> ModelFile:
    """Read a body model's .pkl or .npz file as plain data.

    Raises AvatarError, in one line, for a missing, truncated or foreign file, and for a pickle that names
    anything but the containers of plain arrays; nothing in the file is ever run.
    """
    path = Path(path)
    readers = {".pkl": _read_pickle, ".npz": _read_npz}
    if path.suffix.lower() not in readers:
        raise AvatarError(f"{path}: is no model file; give the official .pkl or .npz")
    try:
        return ModelFile(path, readers[path.suffix.lower()](path))
    except _Refused as error:
        raise AvatarError(f"{path}: {error}; refused, get the official file") from error
    except FileNotFoundError as error:
        raise AvatarError(f"{path}: no such file; download the model from its official site") from error
    except Exception as error:  # what a damaged pickle can raise has no end
        raise AvatarError(f"{path}: {_reason(error)}; get the official file again") from error
