"""The images Navarch can make by itself: the sandbox's pause, busybox, and nginx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from navarch.images import debian
from navarch.images.archive import Image, write

ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/sbin/nologin\n"
    b"nobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": b"root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"hosts: files dns\n",
}
BASE_DIRECTORIES = {"tmp": 0o1777, "root": 0o700, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755}

NGINX_CONF = b"""\
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
"""
NGINX_DEFAULT_SITE = b"""\
server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
}
"""


def pause(name: str) -> Image:
    """The sandbox's first process: waits, reaps, and does nothing else."""
    files = debian.contents(["catatonit"])
    binary = next(files[path] for path in ("usr/bin/catatonit", "bin/catatonit") if path in files)
    assert isinstance(binary, bytes)
    return Image(name=name, files={"bin/pause": binary}, entrypoint=["/bin/pause", "-P"])


def busybox(name: str) -> Image:
    """A static busybox with all its applets, as the image of that name has."""
    files = debian.contents(["busybox-static"])
    binary = next(files[path] for path in ("usr/bin/busybox", "bin/busybox") if path in files)
    assert isinstance(binary, bytes)
    links = {f"bin/{applet}": "busybox" for applet in _applets(binary) if applet != "busybox"}
    return Image(
        name=name,
        files={"bin/busybox": binary, **ACCOUNTS},
        links={**links, "usr/bin/env": "/bin/busybox"},
        directories={**BASE_DIRECTORIES, "home": 0o755, "var": 0o755, "usr/sbin": 0o755},
        command=["sh"],
    )


def nginx(name: str) -> Image:
    """nginx with its welcome page on port 80, logging to its standard streams, as the image of that name does."""
    available = debian.contents(debian.closure(["nginx-light", "busybox-static"]))
    binary = next(path for path in ("usr/sbin/nginx", "sbin/nginx") if path in available)
    picked = debian.with_libraries([binary], available)
    shell = next(available[path] for path in ("usr/bin/busybox", "bin/busybox") if path in available)
    mime = available["etc/nginx/mime.types"]
    page = available["usr/share/nginx/html/index.html"]
    assert isinstance(shell, bytes) and isinstance(mime, bytes) and isinstance(page, bytes)
    loader = next((path for path in picked if path.rpartition("/")[2].startswith("ld-linux")), "")
    files = {f"usr/{path}" if path.startswith(("lib/", "lib64/")) else path: data for path, data in picked.items()}
    files |= {
        "usr/bin/busybox": shell,
        "etc/nginx/mime.types": mime,
        "etc/nginx/nginx.conf": NGINX_CONF,
        "etc/nginx/conf.d/default.conf": NGINX_DEFAULT_SITE,
        "usr/share/nginx/html/index.html": page,
        **ACCOUNTS,
    }
    links = {f"usr/bin/{applet}": "busybox" for applet in _applets(shell) if applet not in ("busybox", "nginx")}
    links |= {
        "bin": "usr/bin",
        "sbin": "usr/sbin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "var/log/nginx/access.log": "/dev/stdout",
        "var/log/nginx/error.log": "/dev/stderr",
    }
    if loader and not loader.removeprefix("usr/").startswith("lib64/"):
        links[f"usr/lib64/{loader.rpartition('/')[2]}"] = "/" + (
            loader if loader.startswith("usr/") else f"usr/{loader}"
        )
    return Image(
        name=name,
        files=files,
        links=links,
        directories={**BASE_DIRECTORIES, "var/lib/nginx": 0o755, "var/cache/nginx": 0o755, "usr/lib64": 0o755},
        command=["nginx", "-g", "daemon off;"],
        ports=["80/tcp"],
        stop_signal="SIGQUIT",
    )


RECIPES: dict[str, Callable[[str], Image]] = {"pause": pause, "busybox": busybox, "nginx": nginx}


def build(recipe: str, name: str, path: Path) -> None:
    """Makes the image `name` by its recipe and writes the archive to `path`. Raises debian.PackageError."""
    write(RECIPES[recipe](name), path)


def _applets(busybox_binary: bytes) -> list[str]:
    """The applet names, from the table inside the binary (sorted, NUL-separated, starting with `[`)."""
    start = busybox_binary.index(b"[\0[[\0")
    end = busybox_binary.index(b"\0\0", start)
    return [name.decode() for name in busybox_binary[start:end].split(b"\0")]
