"""Applying nftables transactions, through libnftables: a tenth of a millisecond where the nft command takes ten."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any


class NftError(Exception):
    """The kernel or the parser refused the transaction: nothing of it was applied. The message is nftables' own."""


@cache
def _library() -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("nftables") or "libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def apply(transaction: str) -> None:
    """Runs the commands as one transaction in this process's network namespace. Raises NftError.

    A context is made for each call: a kept one caches chains and sets that other programs may have changed."""
    library = _library()
    context = library.nft_ctx_new(0)
    try:
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)
        if library.nft_run_cmd_from_buffer(context, transaction.encode()):
            raise NftError(library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip())
    finally:
        library.nft_ctx_free(context)
