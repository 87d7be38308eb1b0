/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that writes, and whose every write is known: the ring of sim/regs.h in memory that is
 * lent to it.
 *
 *	WRITER_IOVA  | index | never written | records, 128 pages | never written |
 *	page           0       1               61                   189       ... WRITER_PAGES
 *
 * A page that is not 0 where it was cleared before was written.
 */
#ifndef CHECK_WRITER_H
#define CHECK_WRITER_H

#include "check/check.h"

#define WRITER_PAGE  4096u
#define WRITER_IOVA  (UINT64_C(4) << 30)
#define WRITER_PAGES 256u
#define WRITER_SIZE  (WRITER_PAGES * (uint64_t)WRITER_PAGE)
#define WRITER_WORDS (WRITER_PAGES / 64)
#define WRITER_HALF  (WRITER_SIZE / 2) /* the edge of two mappings, or of two ranges */

typedef struct vfm_feature_logging_range log_range;

/* All of the memory. */
extern const log_range writer_all;

struct writer {
	struct check *check;
	uint8_t *memory;
	int fd;
	unsigned mappings; /* that it consists of */
	unsigned mapped;   /* of them, now */
	uint64_t page_size; /* of reports: WRITER_PAGE unless set */
	uint64_t written[WRITER_WORDS]; /* pages, as of when writer_stop() ended */
};

/*
 * Open a writer, call @rule, close it, with logging off again: @mappings is 1 or 2. Unjudged if it
 * cannot be had.
 */
enum check_verdict with_writer(struct check *check, unsigned mappings,
			       enum check_verdict (*rule)(struct writer *));

/* Of a rule that could not go on. */
enum check_verdict writer_failed(struct writer *writer, int ret);

/* A device in RUNNING that logs these ranges, if it can log at all, and does not write yet.
 * @page_size (may be NULL): is asked for, and what came back. */
int writer_log(struct writer *writer, const log_range *ranges, uint32_t count,
	       uint64_t *page_size);
/* Let it write, into memory that is all 0. */
int writer_go(struct writer *writer);
/* Until it has written so many records. */
int writer_wait(struct writer *writer, uint64_t records);
/* The whole ring, and then to @state: from then on memory and log stand still. */
int writer_stop(struct writer *writer, enum vfm_state state);
/* All of that. */
int writer_fill(struct writer *writer, const log_range *ranges, uint32_t count,
		enum vfm_state state);
/* Has read what was written: it may be written over. */
void writer_consume(struct writer *writer);
uint64_t writer_produced(const struct writer *writer);
bool writer_wrote(const struct writer *writer, unsigned page);

/* The log of @range of the memory, added to @bitmap, a bit for each page of the memory. */
int writer_report(struct writer *writer, const log_range *range, uint64_t *bitmap);
/* Has all in [@from, @to) that was written before been told? A device that writes on is another
 * rule's. @note (may be NULL) goes into the pass. */
enum check_verdict writer_judge(struct writer *writer, const uint64_t *bitmap, unsigned from,
				unsigned to, const char *note);

#endif
