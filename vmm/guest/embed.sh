#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# embed.sh OBJCOPY ELF OUTPUT: the flat image of a program as a list of numbers for a C array.
set -eu
flat=$3.flat
"$1" -O binary "$2" "$flat"
od -An -v -tu1 "$flat" | sed 's/  *\([0-9][0-9]*\)/\1,/g' >"$3"
rm -f "$flat"
