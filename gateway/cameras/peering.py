"""What both ends of WebRTC share: connections of the library, offers read into them, and the end of both.

What the library raises is turned into refusals here: its parser raises whatever Python does.
"""

from typing import Any

import aiortc

from gateway.cameras.offers import MALFORMED, UNUSABLE, Refusal

# What the library's parser raises; a StopIteration of its own comes out of its coroutine as a RuntimeError.
_PARSER_FAULTS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
_LIBRARY_FAULTS = (aiortc.InvalidStateError, aiortc.exceptions.OperationError, ConnectionError, OSError)


def new_connection() -> Any:
    """Return a connection that asks nobody for its own address: without a word the library would, a public server."""
    return aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))


async def read(connection: Any, sdp: str, kind: str) -> None:
    """Read an offer or an answer into a connection.

    Raises:
        Refusal: It cannot be read, or nothing in it can be taken.
    """
    try:
        await connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp, kind))
    except _PARSER_FAULTS:
        raise Refusal(MALFORMED, "the offer cannot be read") from None
    except _LIBRARY_FAULTS:
        raise Refusal(UNUSABLE, "nothing in it can be taken: H.264 or VP8 is needed") from None


async def answer(connection: Any) -> str:
    """Return the answer to the offer that was read.

    Raises:
        Refusal: The offer contradicts itself, or no address of ours leads to an allowed network.
    """
    try:
        await connection.setLocalDescription(await connection.createAnswer())
    except _PARSER_FAULTS:
        raise Refusal(MALFORMED, "the offer contradicts itself") from None
    except _LIBRARY_FAULTS:
        raise Refusal(UNUSABLE, "no address of this machine leads to an allowed network") from None
    return str(connection.localDescription.sdp)


async def end(connection: Any) -> None:
    """Close a connection and every socket of it."""
    try:
        await connection.close()
    except _PARSER_FAULTS:
        # It stumbles over a line of the offer that got no transport, and lets the sockets of the others stand.
        for transport in {each.receiver.transport for each in connection.getTransceivers()} - {None}:
            await transport.stop()
            await transport.transport.stop()
