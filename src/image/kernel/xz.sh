#!/bin/sh
# Stands in for xz in the kernel's build, which offers no setting for the encoder's parameters. Called as
#   xz --check=crc32 --threads=1 --x86 --lzma2=,dict=128MiB
# Measured on the flash profile's kernel (14.3 MB unpacked): the kernel's own parameters 2,095,332 bytes, these
# 2,090,336; preset 9e 2,106,768, pb=0 2,100,484, nice=128 2,101,936, lc=4,pb=1 2,091,448.
case "$*" in
  *--lzma2=,dict=128MiB) exec xz --check=crc32 --threads=1 --x86 --lzma2=lc=4,nice=48,dict=128MiB ;;
  *) exec xz "$@" ;;
esac
