/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Static trace points of the provider vfio_migrate, for perf, bpftrace and systemtap:
 *     VFM_TRACE(device_state, name, from, to);
 * Each is one nop in the code and a note in the ELF file; bpftrace -l 'usdt:LIBRARY:*' lists them.
 * Arguments are integers and pointers, at most twelve, cheap and without side effects: where the
 * build has no sys/sdt.h they are not evaluated.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#ifdef HAVE_SDT

#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define VFM_TRACE(name, ...) STAP_PROBEV(vfio_migrate, name, ##__VA_ARGS__)

#else

/* Never called: it makes the arguments count as used. */
static inline int trace_arguments(int none, ...)
{
	return none;
}
#define VFM_TRACE(name, ...) ((void)sizeof(trace_arguments(0, ##__VA_ARGS__)))

#endif
#endif
