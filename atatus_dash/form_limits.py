"""Limits on forms, on pages and in the API, checked before a form is parsed. A multipart form must be whole too.

They limit what makes parsing slow (bytes alone are cheap), and are far above any normal use. The slowest body
within them took 50 ms, measured with 1 MiB of each kind.
"""

from io import BytesIO
from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.http.multipartparser import MultiPartParserError
from django.utils.datastructures import MultiValueDict

from accounts.errors import Invalid

#: Bytes of a page's form, which may contain a file. The API's limit is `DATA_UPLOAD_MAX_MEMORY_SIZE`.
MAX_FORM_BYTES = 2 * 1024 * 1024

#: Percent-encoded bytes in one form: enough for 64 KiB of text with every byte encoded.
MAX_ESCAPES = 70_000
#: Parts of one multipart body, and lines and parameters in the headers of one part.
MAX_PARTS, MAX_HEADERS = 200, 12


def require_few_escapes(body: bytes) -> None:
    """Refuse an urlencoded form that takes long to decode. Raises `Invalid`."""
    if body.count(b"%") > MAX_ESCAPES:
        raise Invalid("The form has too many percent-encoded characters. Send it as multipart/form-data.")


class BoundedUploadHandler(FileUploadHandler):
    """Checks every multipart body, of pages and API, before it is parsed. The handlers after it store the files.

    Raises `TooManyFieldsSent` and `MultiPartParserError`, which are a 400.
    """

    request: HttpRequest

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803  as Django names it
        content_length: int,  # noqa: ARG002  the size is counted while reading
        boundary: Any,  # bytes, although the stubs say str
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict[str, Any]]:
        body = input_data.read(MAX_FORM_BYTES + 1)
        if len(body) > MAX_FORM_BYTES:
            raise RequestDataTooBig("The body is larger than 2 MiB.")
        delimiter = b"--" + boundary
        _require_few_parts(body, delimiter)
        _require_end(body, delimiter)
        handlers = list(self.request.upload_handlers)[1:]
        return DjangoMultiPartParser(META, BytesIO(body), handlers, encoding).parse()


def _require_end(body: bytes, delimiter: bytes) -> None:
    """Refuse a body without its last delimiter, at the start of a line. Django would read the fields that arrived."""
    end = delimiter + b"--"
    if not body.startswith(end) and b"\n" + end not in body:
        raise MultiPartParserError("The body does not end with its boundary.")


def _require_few_parts(body: bytes, delimiter: bytes) -> None:
    if body.count(delimiter) > MAX_PARTS + 1:
        raise TooManyFieldsSent(f"There are more than {MAX_PARTS} parts.")
    for part in body.split(delimiter):
        headers, end, _ = part[:1024].partition(b"\r\n\r\n")
        if end and headers.count(b"\r\n") + headers.count(b";") > MAX_HEADERS:
            raise TooManyFieldsSent("A part has too many headers.")
