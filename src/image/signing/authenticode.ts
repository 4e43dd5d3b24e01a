/**
 * Signs an EFI program for Secure Boot: PKCS #7 SignedData (RFC 2315) around the program's digest, as Microsoft's "Windows
 * Authenticode Portable Executable Signature Format" has it. RSA with SHA-256, which all firmware checks.
 *
 * There is no signing time in it, so the same key and image give the same bytes.
 */
import { createHash, createPrivateKey, createSign, type KeyObject, X509Certificate } from "node:crypto";
import { messageOf, ThimbleError } from "../../base/errors.ts";
import {
  contextTag,
  element,
  integer,
  NULL,
  objectIdentifier,
  octetString,
  readElements,
  sequence,
  set,
  Tag,
} from "./der.ts";
import { signable } from "./pe.ts";

const Oid = {
  signedData: objectIdentifier("1.2.840.113549.1.7.2"),
  contentType: objectIdentifier("1.2.840.113549.1.9.3"),
  messageDigest: objectIdentifier("1.2.840.113549.1.9.4"),
  rsaEncryption: objectIdentifier("1.2.840.113549.1.1.1"),
  sha256: objectIdentifier("2.16.840.1.101.3.4.2.1"),
  spcIndirectData: objectIdentifier("1.3.6.1.4.1.311.2.1.4"),
  spcPeImageData: objectIdentifier("1.3.6.1.4.1.311.2.1.15"),
} as const;

const SHA256 = sequence(Oid.sha256, NULL);
/** Smaller ones are refused by current firmware and libraries. */
const RSA_BITS_MIN = 2048;

/** A key and the certificate of its public half. */
export interface Signer {
  readonly key: KeyObject;
  readonly certificate: X509Certificate;
}

/**
 * Reads them from PEM (the certificate also from DER). Throws ThimbleError: "bad_key", "bad_certificate",
 * "key_mismatch".
 */
export function readSigner(key: Uint8Array, certificate: Uint8Array): Signer {
  const privateKey = attempt(
    "bad_key",
    "The key can't be read; a private key in PEM without a password is needed",
    () => createPrivateKey(Buffer.from(key)),
  );
  const bits = privateKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (privateKey.asymmetricKeyType !== "rsa" || bits < RSA_BITS_MIN) {
    throw new ThimbleError(
      "bad_key",
      `The key has to be an RSA key of at least ${RSA_BITS_MIN} bits for firmware.`,
    );
  }
  const x509 = attempt(
    "bad_certificate",
    "The certificate can't be read",
    () => new X509Certificate(certificate),
  );
  if (!x509.checkPrivateKey(privateKey)) {
    throw new ThimbleError("key_mismatch", "The certificate is another key's.");
  }
  return { key: privateKey, certificate: x509 };
}

function attempt<T>(code: string, what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new ThimbleError(code, `${what}: ${messageOf(error)}.`, { cause: error });
  }
}

/** The image, signed. Errors: those of `signable` (pe.ts). */
export function signImage(image: Uint8Array, signer: Signer): Uint8Array {
  const { digest, attach } = signable(image);
  return attach(signedData(digest, signer));
}

function signedData(digest: Uint8Array, { key, certificate }: Signer): Uint8Array {
  const content = indirectData(digest);
  const attributes = [
    sequence(Oid.contentType, set(Oid.spcIndirectData)),
    sequence(Oid.messageDigest, set(octetString(sha256(content)))),
  ];
  // What is signed is the attributes as a set; in the structure they stand under a tag of their own.
  const asSet = set(...attributes);
  const signature = createSign("sha256").update(asSet).sign(key);
  const implicit = Buffer.from(asSet);
  implicit[0] = contextTag(0, true);
  const { issuer, serialNumber } = issuerAndSerial(certificate.raw);
  const signerInfo = sequence(
    integer(1),
    sequence(issuer, serialNumber),
    SHA256,
    implicit,
    sequence(Oid.rsaEncryption, NULL),
    octetString(signature),
  );
  return sequence(
    Oid.signedData,
    element(
      contextTag(0, true),
      sequence(
        integer(1),
        set(SHA256),
        sequence(Oid.spcIndirectData, element(contextTag(0, true), sequence(content))),
        element(contextTag(0, true), certificate.raw),
        set(signerInfo),
      ),
    ),
  );
}

/** The contents of SpcIndirectDataContent: what the digest is of, and the digest. */
function indirectData(digest: Uint8Array): Buffer {
  const noFlags = element(Tag.BitString, Uint8Array.of(0));
  // SpcLink: a file by an empty name. Nobody reads it, everybody expects it.
  const link = element(contextTag(0, true), element(contextTag(2, true), element(contextTag(0, false))));
  return Buffer.concat([
    sequence(Oid.spcPeImageData, sequence(noFlags, link)),
    sequence(SHA256, octetString(digest)),
  ]);
}

/** From a certificate (RFC 5280, 4.1): Certificate, in it TBSCertificate: version, serial number, algorithm, issuer. */
function issuerAndSerial(certificate: Uint8Array): { issuer: Uint8Array; serialNumber: Uint8Array } {
  const [whole] = readElements(certificate);
  const [toBeSigned] = whole === undefined ? [] : readElements(whole.content);
  const fields = toBeSigned === undefined ? [] : readElements(toBeSigned.content);
  const serialAt = fields[0]?.tag === contextTag(0, true) ? 1 : 0;
  const serialNumber = fields[serialAt]?.whole;
  const issuer = fields[serialAt + 2]?.whole;
  if (serialNumber === undefined || issuer === undefined) {
    throw new ThimbleError("bad_certificate", "The certificate has no issuer or serial number.");
  }
  return { issuer, serialNumber };
}

function sha256(data: Uint8Array): Uint8Array {
  return createHash("sha256").update(data).digest();
}
