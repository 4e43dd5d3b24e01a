/**
 * Debian packages that the build needs beyond Node and the essential ones (util-linux, tar, dpkg, apt), each with who
 * needs it. scripts/debian-packages.json lists the same for the bootstrap, which runs before TypeScript can.
 */
export const requiredDebianPackages = [
  "bc", // kernel: kernel/time/timeconst.h
  "bison", // kernel: Kconfig's parser
  "cpio", // tests of the archive
  "debian-archive-keyring", // keys of both suites, for apt's signature checks
  "flex", // kernel: Kconfig's lexer
  "gcc", // kernel
  "libc6-dev", // kernel's host programs
  "libelf-dev", // kernel: objtool
  "make", // kernel
  "musl-tools", // runtime: musl-gcc
  "xz-utils", // kernel image, source archives, firmware volumes
] as const;
