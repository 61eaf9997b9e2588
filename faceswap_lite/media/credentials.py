"""Content credentials: a signed C2PA manifest inside a file says what it is and who says so.

Needs the extra `c2pa`. Nothing here goes to the network: no time stamps, no revocation, no remote
manifests. Signing comes last: any byte written after it makes the manifest invalid.
"""

import datetime
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import platformdirs
from PIL import Image

from ..config import OutputConfig
from ..errors import FaceswapError
from ..outputs import whole_file, whole_folder
from .marks import IPTC, Signing, SyntheticMark

FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
"""What is signed, as the library calls it."""

CREDENTIALS_VARIABLE = "FACESWAP_LITE_CREDENTIALS"
FACTS_LABEL = "faceswap_lite.conversion"
UNTRUSTED = "signingCredential.untrusted"
INSTALL = 'pip install "faceswap_lite[c2pa]"'
YEARS = 10
"""Validity of the self-made certificate: without time stamps, signatures lapse with it."""

_CLIP_ID = "clip"
_UNKNOWN_KIND = "application/octet-stream"

# How a manifest store begins, in every format: a JUMBF description box of the type "c2pa".
_STORE = b"jumdc2pa" + bytes.fromhex("00110010800000aa00389b71")
# Bytes. The store stands before the pictures.
_STORE_WITHIN = 4 << 20

SIGNING_PURPOSES = {
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.3.6.1.4.1.62558.2.1": "c2pa-kp-claimSigning",
}
"""Extended key usages of which a signer's certificate has one."""

_OFFLINE = {
    # Left to itself the library takes the first of them alone.
    "trust": {"trust_config": "\n".join(SIGNING_PURPOSES)},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
    # MB. Above it one of the library's copies of a file goes to the disk, the other does not.
    "core": {"backing_store_memory_threshold_in_mb": 16},
    # A thumbnail would keep a picture of the clip as it was before the swap.
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class Credentials:
    """What a file's manifest says, and whether it holds.

    Valid: the signature and every byte of the file fit. Trusted: a trust list knows the signer
    besides; none is loaded here. Elsewhere: the file only names an address, which is not fetched.
    """

    state: Literal["Trusted", "Valid", "Invalid", "Elsewhere"]
    signer: str
    problems: list[str]
    """The library's codes, such as signingCredential.untrusted; or its one complaint in words."""
    digital_source_type: str | None
    facts: dict[str, Any]
    """Job and run of the mark that `sign_file` was given; empty in other tools' files."""

    def line(self) -> str:
        """The state in words."""
        told = ", ".join(problem for problem in self.problems if problem != UNTRUSTED)
        if self.state == "Elsewhere":
            return f"not read: the manifest lies elsewhere and is not fetched ({told})"
        if self.state == "Invalid":
            return f"INVALID: {told or 'the library gives no reason'}"
        whose = "a trust list knows" if self.state == "Trusted" else "no trust list here knows"
        return f"valid, signed by {self.signer} ({whose} who that is)"


def signing_for(output: OutputConfig) -> Signing | None:
    """What signs a conversion's output, as its options have it; None: nothing does."""
    if not output.c2pa:
        return None
    files = (output.c2pa_certificate, output.c2pa_key)
    certificate, key = (None if file is None else Path(file) for file in files)

    def sign(path: Path, mark: SyntheticMark, title: str, clip: Path) -> None:
        sign_file(path, mark, title=title, clip=clip, certificate=certificate, key=key)

    return Signing(lambda path: check_signing(path, certificate, key), sign)


def sign_file(
    path: Path,
    mark: SyntheticMark,
    *,
    title: str | None = None,
    clip: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Sign a finished file in place: a manifest says what `mark` says, and seals every byte.

    `clip` is what was edited: credentials that it has travel along, otherwise its name alone does.
    Without certificate (PEM, the signer's first) and key (PEM), the local self-made ones sign: see
    `local_credentials`. Takes as much memory as the file is large.
    Raises: FaceswapError, one line, for a format that C2PA or this module does not know, without
    the extra, for a certificate or key that will not do, a disk that refuses.
    """
    signing = _load_signing(path, certificate, key)
    manifest = _manifest(mark, title or path.name, clip)
    kind = FORMATS[path.suffix.lower()]
    with (
        whole_file(path) as partial,
        _readable(path),
        path.open("rb") as source,
        partial.open("w+b") as signed,
    ):
        _sign(signing, manifest, kind, source, signed, clip)


def check_signing(path: Path, certificate: Path | None = None, key: Path | None = None) -> None:
    """Refuse now, before the work, what `sign_file` would refuse after it.

    Signs a picture of a few pixels in memory. Raises: FaceswapError as `sign_file`.
    """
    signing = _load_signing(path, certificate, key)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    picture.seek(0)
    manifest = _manifest(SyntheticMark("0", None), "test", None)
    with _readable(certificate or path):
        _sign(signing, manifest, "image/png", picture, io.BytesIO(), None)


def read_credentials(path: Path) -> Credentials | None:
    """What the manifest of a file says, checked against the file's bytes; None without one.

    Raises: FaceswapError when there is a manifest and the extra is not installed.
    """
    if path.is_dir():
        return None
    try:
        c2pa = _library()
    except FaceswapError:
        if not carries_manifest(path):
            return None
        raise
    try:
        with path.open("rb") as file, c2pa.Context.from_dict(_OFFLINE) as context:
            reader = c2pa.Reader.try_create(FORMATS.get(path.suffix.lower()), file, None, context)
            if reader is None:
                return None
            with reader:
                return _as_credentials(json.loads(reader.json()))
    except c2pa.C2paError.NotSupported:
        return None
    except c2pa.C2paError as error:
        elsewhere = str(error).startswith("Remote:")
        state: Literal["Elsewhere", "Invalid"] = "Elsewhere" if elsewhere else "Invalid"
        return Credentials(state, "", [_plain(error)], None, {})
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be read ({error.strerror})") from error


def carries_manifest(path: Path) -> bool:
    """Whether a file holds a C2PA manifest, told by its bytes alone; without the extra."""
    try:
        with path.open("rb") as file:
            return _STORE in file.read(_STORE_WITHIN)
    except OSError:
        return False


def local_credentials() -> tuple[Path, Path]:
    """Certificate chain and key that sign when none are given; made at the first call.

    They lie in the user's data folder, or in $FACESWAP_LITE_CREDENTIALS; the key is the user's
    alone to read. Nobody else trusts this signer: it shows that files came from one place and were
    not altered, not whose place that is.
    """
    named = os.environ.get(CREDENTIALS_VARIABLE)
    data = Path(platformdirs.user_data_dir("faceswap_lite")) / "credentials"
    folder = (Path(named).expanduser() if named else data) / "self_made"
    chain, key = folder / "chain.pem", folder / "key.pem"
    if chain.is_file() and key.is_file() and not _has_expired(chain):
        return chain, key
    if folder.exists():
        # A key is never thrown away: what it signed may have to be shown to be one's own.
        os.replace(folder, folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.old"))
    chain_pem, key_pem = _self_made()
    try:
        with whole_folder(folder) as partial:
            partial.chmod(0o700)
            (partial / chain.name).write_bytes(chain_pem)
            (partial / key.name).touch(mode=0o600)
            (partial / key.name).write_bytes(key_pem)
    except FaceswapError:
        # Another process may have been first; its pair is as good.
        if not (chain.is_file() and key.is_file()):
            raise
    return chain, key


@dataclass(frozen=True)
class _Signing:
    algorithm: str
    chain: bytes
    key: bytes = field(repr=False)


def _library() -> Any:
    try:
        import c2pa
        import cryptography  # noqa: F401
    except ImportError as error:
        raise FaceswapError(f"content credentials need the extra c2pa: {INSTALL}") from error
    return c2pa


def _load_signing(path: Path, certificate: Path | None, key: Path | None) -> _Signing:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = {".mkv": "C2PA does not support Matroska", "": "a folder cannot be signed"}
        what = known.get(suffix, f"a {suffix} is not signed here")
        raise FaceswapError(f"{path}: {what}; write .mp4, .mov, .png or .jpg")
    _library()
    if (certificate is None) != (key is None):
        raise FaceswapError("a certificate and its key go together: name both or neither")
    if certificate is None or key is None:
        certificate, key = local_credentials()
    from cryptography.hazmat.primitives import serialization

    chain_pem = _bytes_of(certificate)
    chain = _certificates(chain_pem, certificate)
    try:
        private = serialization.load_pem_private_key(_bytes_of(key), None)
    except TypeError as error:
        raise FaceswapError(f"{key}: is encrypted; C2PA signs with a plain PEM key") from error
    except ValueError as error:
        raise FaceswapError(f"{key}: is not a private key in PEM format") from error
    if private.public_key() != chain[0].public_key():
        raise FaceswapError(f"{key}: is not the key of the first certificate in {certificate}")
    if faults := _profile_faults(chain[0]):
        raise FaceswapError(f"{certificate}: C2PA asks for another certificate: {faults}")
    # The library reads PKCS 8 alone; openssl still writes older forms.
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_pem = private.private_bytes(serialization.Encoding.PEM, form, plain)
    return _Signing(_algorithm(private, key), chain_pem, key_pem)


def _algorithm(private: Any, key: Path) -> str:
    """COSE's name of the signature that goes with a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey):
        names = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if private.curve.name in names:
            return names[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise FaceswapError(f"{key}: C2PA signs with P-256, P-384, P-521, Ed25519 or RSA of 2048 bits")


def _profile_faults(certificate: Any) -> str:
    """What keeps a certificate from signing, in words; empty when nothing does.

    Source: C2PA Technical Specification 2.1, "X.509 Certificates". The library checks the same and
    more, and says only that a certificate is invalid.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    def extension(kind: Any) -> Any:
        try:
            return certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    try:
        # Parsed when first asked for.
        _ = certificate.extensions
    except ValueError:
        return "its extensions cannot be read"

    basic, usage = extension(x509.BasicConstraints), extension(x509.KeyUsage)
    purposes = {purpose.dotted_string for purpose in extension(x509.ExtendedKeyUsage) or []}
    lacks_purpose = purposes.isdisjoint(SIGNING_PURPOSES)
    for_anything = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    issuer = extension(x509.AuthorityKeyIdentifier)
    now = datetime.datetime.now(datetime.timezone.utc)
    faults = {
        "it is not yet valid": now < certificate.not_valid_before_utc,
        "it has expired": now > certificate.not_valid_after_utc,
        "it is a certificate authority's": basic is not None and basic.ca,
        "its key usage lacks digitalSignature": usage is None or not usage.digital_signature,
        f"its extended key usage has none of {', '.join(SIGNING_PURPOSES.values())}": lacks_purpose,
        "it is for any purpose": for_anything.dotted_string in purposes,
        "it does not say whose key issued it (authorityKeyIdentifier)": issuer is None,
    }
    return ", ".join(fault for fault, holds in faults.items() if holds)


def _certificates(pem: bytes, path: Path) -> list[Any]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise FaceswapError(f"{path}: holds no certificate in PEM format") from error


def _has_expired(chain: Path) -> bool:
    until = _certificates(_bytes_of(chain), chain)[0].not_valid_after_utc
    return bool(datetime.datetime.now(datetime.timezone.utc) > until)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be read ({error.strerror})") from error


def _manifest(mark: SyntheticMark, title: str, clip: Path | None) -> dict[str, Any]:
    agent = {"name": mark.tool, "version": mark.version}
    made = {
        "action": "c2pa.created" if clip is None else "c2pa.edited",
        "digitalSourceType": IPTC + mark.digital_source_type,
        "softwareAgent": agent,
        "description": "faces were replaced by a trained network",
    }
    # Whoever edits has opened something: the specification wants it said first.
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_CLIP_ID]}}
    actions = [made] if clip is None else [opened, made]
    own = {"job": mark.job, "run": mark.run}
    return {
        "title": title,
        "claim_generator_info": [agent],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": FACTS_LABEL, "data": own, "kind": "Json"},
        ],
    }


def _sign(
    signing: _Signing,
    manifest: dict[str, Any],
    kind: str,
    source: io.IOBase,
    signed: io.IOBase,
    clip: Path | None,
) -> None:
    c2pa = _library()
    info = c2pa.C2paSignerInfo(signing.algorithm, signing.chain, signing.key, None)
    with c2pa.Context.from_dict(_OFFLINE) as context, c2pa.Builder(manifest, context) as builder:
        if clip is not None:
            _add_clip(builder, clip)
        with c2pa.Signer.from_info(info) as signer:
            builder.sign(signer, kind, source, signed)


def _add_clip(builder: Any, clip: Path) -> None:
    """Name the clip as what was edited, with its own credentials when it has readable ones."""
    c2pa = _library()
    parent = {"title": clip.name, "relationship": "parentOf", "label": _CLIP_ID}
    if clip.is_file():
        kind = FORMATS.get(clip.suffix.lower(), _UNKNOWN_KIND)
        try:
            with clip.open("rb") as file:
                builder.add_ingredient(parent, kind, file)
            return
        except c2pa.C2paError:
            # Damaged credentials cannot travel; that the clip is there can be said all the same.
            pass
    builder.add_ingredient(parent, _UNKNOWN_KIND, io.BytesIO())


def _as_credentials(store: dict[str, Any]) -> Credentials:
    """The library's report of a manifest store, its active manifest alone."""
    manifest = store["manifests"][store["active_manifest"]]
    signature = manifest.get("signature_info", {})
    names = (signature.get("common_name"), signature.get("issuer"))
    contents = {a["label"]: a.get("data") for a in manifest.get("assertions", [])}
    actions = next((v for k, v in contents.items() if k.startswith("c2pa.actions")), None) or {}
    sources = [
        a["digitalSourceType"] for a in actions.get("actions", []) if "digitalSourceType" in a
    ]
    failures = store["validation_results"]["activeManifest"]["failure"]
    return Credentials(
        state=store["validation_state"],
        signer=", ".join(dict.fromkeys(name for name in names if name)) or "nobody named",
        problems=[failure["code"] for failure in failures],
        digital_source_type=sources[-1].rpartition("/")[2] if sources else None,
        facts=contents.get(FACTS_LABEL) or {},
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """The library's refusals as one line that names the file."""
    c2pa = _library()
    try:
        yield
    except c2pa.C2paError as error:
        raise FaceswapError(f"{path}: cannot be signed ({_plain(error)})") from error


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())


def _self_made() -> tuple[bytes, bytes]:
    """A certificate chain and its key, in PEM: a signer, under a root made for it alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_name = "the root of a key of one machine"

    def named(name: str) -> x509.Name:
        # No user's or machine's name: whoever gets a file could read it.
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "self-made by faceswap_lite")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(name: str, public: ec.EllipticCurvePublicKey, *, issues: bool) -> bytes:
        begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        usage = x509.KeyUsage(
            digital_signature=not issues,
            key_cert_sign=issues,
            crl_sign=issues,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        basic = x509.BasicConstraints(ca=issues, path_length=0 if issues else None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(root_name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=365 * YEARS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(basic, critical=True)
            .add_extension(usage, critical=True)
        )
        if not issues:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            certificate = certificate.add_extension(purpose, critical=False)
        return certificate.sign(root_key, hashes.SHA256()).public_bytes(pem)

    # The root's key is forgotten here, so that nothing else can ever be issued under it.
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    root = signed(root_name, root_key.public_key(), issues=True)
    signer = signed("a key of one machine", key.public_key(), issues=False)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return signer + root, key.private_bytes(pem, form, plain)
