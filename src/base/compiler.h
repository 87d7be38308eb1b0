/* SPDX-License-Identifier: BSD-3-Clause */
/* GNU extensions, each behind a name. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#define PACKED          __attribute__((packed))
#define UNUSED          __attribute__((unused))
#define PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))
#define MUST_CHECK      __attribute__((warn_unused_result))
#define CLEANUP(fn)     __attribute__((cleanup(fn)))
#define FALLTHROUGH     __attribute__((fallthrough))
/* For what reads guest memory beside a running guest. */
#define NO_TSAN         __attribute__((no_sanitize("thread")))

/* The mark of a public symbol; everything else is hidden. */
#define VFM_API __attribute__((visibility("default")))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a = (a);                                                         \
		__typeof__(b) min_b = (b);                                                         \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a = (a);                                                         \
		__typeof__(b) max_b = (b);                                                         \
		max_a > max_b ? max_a : max_b;                                                     \
	})

#endif
