"""A program that passes connections on to another port: as a node's service, or with a certificate before it."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# As the small services, it maps a file of the tree it comes from, where there is one.
_RELAY = """\
import asyncio, mmap, pathlib, ssl, sys
library = pathlib.Path(__file__).resolve().parent.parent / "library.so"
if library.exists():
    with library.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

async def pass_on(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def both_ways(reader, writer):
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", {target})
    await asyncio.gather(pass_on(reader, to_writer), pass_on(to_reader, writer), return_exceptions=True)

async def main():
    tls = None
    if pem := {pem!r}:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
    server = await asyncio.start_server(both_ways, "127.0.0.1", int(sys.argv[1]), ssl=tls, reuse_port=True)
    pathlib.Path(sys.argv[2]).write_text("ready")
    await server.serve_forever()

asyncio.run(main())
"""


def relay_to(target: int, pem: Path | None = None) -> str:
    """The program's text. It takes as words its own port and a file to write when it is ready."""
    return _RELAY.format(target=target, pem=str(pem or ""))


def own_certificate(path: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that only itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
