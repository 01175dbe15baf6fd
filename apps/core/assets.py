"""Scripts, styles and icons: served from where they lie, compressed, cached for ever.

No build step: Django's finders know the files (ours, and those in wheels), and their
address holds the version, see `project.asset_version`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpResponse
from django.middleware.gzip import GZipMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from whitenoise.responders import StaticFile

VERSIONED = re.compile("^/static/[0-9a-f]{12}/")


class Assets(WhiteNoiseMiddleware):  # type: ignore[misc]  # (untyped)
    """WhiteNoise, for files whose address holds their version."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with a file, or leave it to the others.

        While several hosts are brought up to date, the page of one may ask another:
        it gives the version it has, which nobody shall keep.
        """
        path = VERSIONED.sub(self.static_prefix, request.path_info)
        file = self.find_file(path) if self.autorefresh else self.files.get(path)
        if file is None:
            return self.get_response(request)  # type: ignore[no-any-return]  # (untyped)
        response = self.serve(file, request)
        if path != request.path_info:
            response["Cache-Control"] = "no-cache"
        return response

    def immutable_file_test(self, path: str, url: str) -> bool:
        return not settings.DEBUG

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """Answer with the whole body: it can be compressed, and its length is true.

        WhiteNoise's own answer is a synchronous iterator, which Django under ASGI
        collects in another thread; and it promises the length of the process's start.
        """
        answer = static_file.get_response(request.method, request.META)
        body = b""
        if answer.file is not None:
            with answer.file as file:
                body = file.read()
        response = HttpResponse(body, status=int(answer.status))
        del response["Content-Type"]
        for name, value in answer.headers:
            response[name] = value
        if answer.file is not None:
            response["Content-Length"] = str(len(body))
        return response


class Compression(GZipMiddleware):
    """Compresses pages, JSON and assets; never a stream, never a part of a file.

    A stream's events must leave at once. As for BREACH, an attack on compressed
    secrets: Django masks the CSRF token anew in each page, and adds random bytes.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.streaming or response.has_header("Content-Range"):
            return response
        return super().process_response(request, response)
