"""Archives of Glance releases, each built once in the nodes' own root from its pinned requirements.

An archive holds a relocatable virtual environment below one folder named as the version. Beside the archive lie its
checksum and the key of what it was made from. A layer is the same archive unpacked, for nodes that are made new.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from include.lab import root
from include.lab.commands import privately, run, run_logged
from include.lab.errors import LabError
from include.lab.settings import PROJECT_ROOT, LabSettings

REQUIREMENTS = PROJECT_ROOT / "include" / "releases"
_UV = PROJECT_ROOT / ".venv" / "bin" / "uv"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON = ("UV_", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# $1 root  $2 builder layer  $3 work area  $4 version  $5 lock  $6 uv  $7 certificates
_BUILD = """
merged=$3/merged
mkdir -p "$3/upper" "$3/work" "$merged"
mount -t overlay overlay -o "lowerdir=$2:$1,upperdir=$3/upper,workdir=$3/work" "$merged"
mount -t proc proc "$merged/proc"
mount --rbind /dev "$merged/dev"
mkdir -p "$merged/build/cache" "$merged/etc/ssl/certs"
touch "$merged/build/uv" "$merged/build/requirements.lock" "$merged/etc/resolv.conf" "$merged$7"
mount --bind /etc/resolv.conf "$merged/etc/resolv.conf"
mount --bind "$7" "$merged$7"
mount --bind "$6" "$merged/build/uv"
mount --bind "$5" "$merged/build/requirements.lock"
mount --bind "$3/../uv-cache" "$merged/build/cache"
release=/opt/glance/releases/$4
chroot "$merged" /build/uv venv --no-config --relocatable --python /usr/bin/python3 "$release"
chroot "$merged" /build/uv pip install --no-config --python "$release/bin/python" --require-hashes \
    --link-mode=copy --compile-bytecode -r /build/requirements.lock
test -e "$merged$release/etc/glance/glance-api-paste.ini"
chroot "$merged" "$release/bin/glance-manage" --version
"""


def available() -> tuple[str, ...]:
    """Versions that have pinned requirements, oldest first."""
    found = (path.parent.name for path in REQUIREMENTS.glob("*/requirements.lock"))
    return tuple(sorted(found, key=lambda version: tuple(map(int, version.split(".")))))


def lock(version: str) -> Path:
    """The version's pinned requirements. Raises LabError for a version that has none."""
    if version not in available():
        raise LabError(
            f"release {version!r} is not one that the lab can build.",
            expected=f"one of {', '.join(available())}.",
            safe="nothing was changed.",
            next_step="choose one of these, or pin it in include/releases/<version>/.",
        )
    return REQUIREMENTS / version / "requirements.lock"


def key(settings: LabSettings, version: str) -> str:
    """Changes when the archive would come out differently: pins, root, compiler, recipe."""
    parts = (lock(version).read_text(), root.key(), root.builder_path(settings).name, _BUILD)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def archive(settings: LabSettings, version: str) -> Path:
    return settings.archives / f"glance-{version}.tar.gz"


def _key_file(settings: LabSettings, version: str) -> Path:
    return settings.archives / f"glance-{version}.key"


def layer(settings: LabSettings, version: str) -> Path:
    """The archive unpacked at its place on a node."""
    return settings.cache / "layers" / f"{version}-{key(settings, version)[:12]}"


def is_built(settings: LabSettings, version: str) -> bool:
    """True if archive and layer are there, are of today's pins, and the archive still has its checksum."""
    try:
        made_from = _key_file(settings, version).read_text().strip()
        said = _checksum_file(settings, version).read_text()
        written = _checksum_line(archive(settings, version))
    except OSError:
        return False
    return made_from == key(settings, version) and said == written and layer(settings, version).is_dir()


def checksum(settings: LabSettings, version: str) -> str:
    """The SHA-256 that is written beside the archive."""
    return _checksum_file(settings, version).read_text().split()[0]


def _checksum_file(settings: LabSettings, version: str) -> Path:
    return settings.archives / f"glance-{version}.tar.gz.sha256"


def _checksum_line(file: Path) -> str:
    """The file's line in the form of sha256sum."""
    with file.open("rb") as content:
        return f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {file.name}\n"


def ensure(settings: LabSettings, version: str) -> bool:
    """Build the version's archive and layer if they are not there; tells whether it had to. Raises LabError."""
    if is_built(settings, version):
        return False
    builder = root.ensure_builder(settings)
    area = settings.cache / "work" / version
    shutil.rmtree(area, ignore_errors=True)
    area.mkdir(parents=True)
    (area.parent / "uv-cache").mkdir(exist_ok=True)
    run_logged(
        privately(_BUILD, "build", root.path(settings), builder, area, version, lock(version), _UV, _certificates()),
        what=f"release {version}",
        group=root.BUILD_GROUP,
        log=settings.cache / "logs" / f"release-{version}.log",
        environment=_build_environment(),
    )
    _pack(settings, version, area / "upper/opt/glance/releases")
    shutil.rmtree(area)
    return True


def _certificates() -> Path:
    if not _CERTIFICATES.is_file():
        raise LabError(
            f"{_CERTIFICATES} is missing.",
            expected="the machine's certificates, to fetch packages safely.",
            safe="nothing was built.",
            next_step="run `make install`, or `apt-get install ca-certificates`.",
        )
    return _CERTIFICATES


def _build_environment() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return {
        **passed,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "UV_CACHE_DIR": "/build/cache",
        "UV_PYTHON_DOWNLOADS": "never",
        "SSL_CERT_FILE": str(_CERTIFICATES),
    }


def _pack(settings: LabSettings, version: str, releases: Path) -> None:
    """Archive, checksum, layer, and the key last: only with it they count."""
    settings.archives.mkdir(parents=True, exist_ok=True)
    final = archive(settings, version)
    _key_file(settings, version).unlink(missing_ok=True)
    new = final.with_name(f".{final.name}.new")
    packed = 'tar --sort=name --owner=0 --group=0 --numeric-owner -C "$1" -cf - "$2" | gzip -6 -n > "$3"'
    run(["bash", "-o", "pipefail", "-c", packed, "pack", releases, version, new], seconds=600)
    new.rename(final)
    _checksum_file(settings, version).write_text(_checksum_line(final))
    _unpack(settings, version)
    _key_file(settings, version).write_text(f"{key(settings, version)}\n")


def _unpack(settings: LabSettings, version: str) -> None:
    target = layer(settings, version)
    if target.is_dir():
        return  # made from the same pins, and nodes may stand on it
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    place = new / "opt/glance/releases"
    place.mkdir(parents=True)
    run(["tar", "-xzf", archive(settings, version), "-C", place], seconds=600)
    new.rename(target)


def forget_outdated(settings: LabSettings) -> None:
    """Remove roots, compilers and layers that today's pins and recipes no longer lead to. No node may use them."""
    wanted = {root.path(settings), root.builder_path(settings)}
    wanted |= {layer(settings, version) for version in available()}
    for kind in ("roots", "builders", "layers"):
        for directory in (settings.cache / kind).glob("*"):
            if directory not in wanted:
                shutil.rmtree(directory, ignore_errors=True)
