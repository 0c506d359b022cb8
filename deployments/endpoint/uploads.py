"""The one image in a request's body: the body itself, or the field `image` of a form."""

from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.endpoint.problems import MalformedUpload, UnsupportedContent

IMAGE_FIELD = "image"
FORM_TYPE = "multipart/form-data"
FORM_OVERHEAD_BYTES = 65_536
"""Room for a form's own lines around the image."""
MAX_FORM_FIELDS = 8
RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Of a body that is the image itself; the last is what curl says of any file."""


class _InMemoryParser(MultiPartParser):
    # The body was counted and is in memory already: a file on disk would only cost time.
    spool_max_size = 0


def is_form(headers: Headers) -> bool:
    """Return whether a body is a form, by its content type; what has no type is taken for an image.

    Raises:
        UnsupportedContent: when it is neither a form nor an image.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM_TYPE:
        return True
    if kind not in RAW_TYPES and not kind.startswith("image/"):
        raise UnsupportedContent(
            f"the content type {kind[:100]!r} holds no image; send image/*, application/octet-stream or {FORM_TYPE}"
        )
    return False


async def image_of_form(headers: Headers, body: bytes) -> bytes:
    """Return the file in the field `image` of a form.

    Raises:
        MalformedUpload: when the body is no form, or does not hold exactly one such file.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemoryParser(headers, stream(), max_files=1, max_fields=MAX_FORM_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedUpload(f"the form cannot be read: {error.message}") from None
    found = form.getlist(IMAGE_FIELD)
    if len(found) != 1 or not isinstance(found[0], UploadFile):
        raise MalformedUpload(f"the form has no file in the field {IMAGE_FIELD!r}; send one, with a file name")
    image = await found[0].read()
    await form.close()
    return image
