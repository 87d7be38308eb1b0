#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The public headers, the symbol map and the shared library name the same functions.
# check-symbols.sh SOURCE-ROOT LIBRARY
set -eu
export LC_ALL=C
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# Without comments and typedefs, each vfm_name( in a header is a declaration.
cat "$1"/include/vfio-migrate/*.h |
	sed -e 's@/\*.*\*/@@' -e '/\/\*/,/\*\//d' -e '/^typedef/d' -e '/^static inline/d' |
	grep -oE '\bvfm_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$dir/headers"
grep -oE '\bvfm_[a-z0-9_]+;' "$1/src/libvfio-migrate.map" | tr -d ';' | sort >"$dir/map"
nm -D --defined-only "$2" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$dir/library"
status=0
diff "$dir/headers" "$dir/map" || { echo "headers (<) and map (>) differ"; status=1; }
diff "$dir/map" "$dir/library" || { echo "map (<) and library (>) differ"; status=1; }
[ "$status" != 0 ] || echo "$(wc -l <"$dir/map") functions, the same in all three"
exit "$status"
