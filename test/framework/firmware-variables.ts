/** Variables that a firmware has from the factory, keys of one's own among them. */

import { packed, u32 } from "../../src/base/layout.ts";
import { alignUp, volumeHeader } from "../../src/image/firmware/format.ts";
import { guid } from "../../src/image/firmware/guid.ts";
import {
  authenticatedHeader,
  storeHeader,
  VARIABLE_ALIGNMENT_BYTES,
  VARIABLE_IN_USE,
  VARIABLE_START,
} from "../../src/image/firmware/nvram.ts";

const SignatureList = packed("EFI_SIGNATURE_LIST", "UEFI 2.10, 32.4.1.1", {
  signatureType: guid,
  signatureListSize: u32,
  signatureHeaderSize: u32,
  signatureSize: u32,
});
const SignatureOwner = packed("EFI_SIGNATURE_DATA", "UEFI 2.10, 32.4.1.1", { signatureOwner: guid });

const EFI_CERT_X509 = "A5C059A1-94E4-4AA7-87B5-AB155C2BF072";
const EFI_GLOBAL_VARIABLE = "8BE4DF61-93CA-11D2-AA0D-00E098032B8C";
const EFI_IMAGE_SECURITY_DATABASE = "D719B2CB-3D3A-4596-A3BC-DAD00E67656F";
/** Any will do: it says who put a certificate there. */
const OWNER = "6B2D1C9E-6D0F-4C58-9C8E-2A5E0F3B7A11";
/** Non-volatile, for boot and run time, changed only by updates that are signed and have a time. */
const KEY_ATTRIBUTES = 0x27;
/** EFI_TIME of 2026-01-01. */
const TIME = Uint8Array.of(0xea, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** A variable as it is stored. */
export interface StoredVariable {
  readonly name: string;
  readonly vendorGuid: string;
  readonly attributes: number;
  readonly value: Uint8Array;
}

/** `variables` (an empty store) with these in it. */
export function withVariables(variables: Uint8Array, stored: readonly StoredVariable[]): Uint8Array {
  const out = Uint8Array.from(variables);
  let at = volumeHeader.decode(out).headerLength + alignUp(storeHeader.size, VARIABLE_ALIGNMENT_BYTES);
  for (const { name, vendorGuid, attributes, value } of stored) {
    const encodedName = Buffer.from(`${name}\0`, "utf16le");
    authenticatedHeader.patch(out, at, {
      startId: VARIABLE_START,
      state: VARIABLE_IN_USE,
      reserved: 0,
      attributes,
      monotonicCount: 0,
      timeStamp: attributes === KEY_ATTRIBUTES ? TIME : new Uint8Array(TIME.length),
      pubKeyIndex: 0,
      nameSize: encodedName.length,
      dataSize: value.length,
      vendorGuid,
    });
    out.set(encodedName, at + authenticatedHeader.size);
    out.set(value, at + authenticatedHeader.size + encodedName.length);
    at = alignUp(at + authenticatedHeader.size + encodedName.length + value.length, VARIABLE_ALIGNMENT_BYTES);
  }
  return out;
}

/** `variables` (an empty store) with one certificate as platform key, key exchange key and for images. */
export function withKeys(variables: Uint8Array, certificate: Uint8Array): Uint8Array {
  const key = { attributes: KEY_ATTRIBUTES, value: signatureList(certificate) };
  return withVariables(variables, [
    { name: "PK", vendorGuid: EFI_GLOBAL_VARIABLE, ...key },
    { name: "KEK", vendorGuid: EFI_GLOBAL_VARIABLE, ...key },
    { name: "db", vendorGuid: EFI_IMAGE_SECURITY_DATABASE, ...key },
  ]);
}

function signatureList(certificate: Uint8Array): Uint8Array {
  const signatureSize = SignatureOwner.size + certificate.length;
  return Buffer.concat([
    SignatureList.encode({
      signatureType: EFI_CERT_X509,
      signatureListSize: SignatureList.size + signatureSize,
      signatureHeaderSize: 0,
      signatureSize,
    }),
    SignatureOwner.encode({ signatureOwner: OWNER }),
    certificate,
  ]);
}
