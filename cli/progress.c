/* SPDX-License-Identifier: BSD-3-Clause */
#include "progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "units.h"

#define WIDTH_PLAIN   132u /* where there is no terminal that could wrap */
#define WIDTH_UNKNOWN 80u
#define WIDTH_REASON  30u  /* numbers make room for as much of why it waits */
#define WIDTH_LABELS  116u /* from here on there is room for whole labels, whatever the numbers */

/* A number on the line. Its place in the array below is its place on the line. */
struct part {
	const char *label;       /* where there is room */
	const char *short_label; /* where there is not */
	unsigned rank;           /* the highest is left out first; 0: never */
	char text[UNITS_SIZE + 24];
};

enum { STAGE, ROUND, MEMORY, SENT, DEVICE, RATE, DIRTY, DOWNTIME, PARTS };

static void fill_devices(char *text, size_t size, const struct vfm_progress *numbers)
{
	char bytes[UNITS_SIZE];

	units_bytes(bytes, numbers->device_left);
	snprintf(text, size, "%s%s", bytes, numbers->device_unknown ? "+?" : "");
}

static void fill(struct part parts[PARTS], const struct vfm_progress *numbers)
{
	uint64_t downtime = numbers->predicted_downtime_ns;

	snprintf(parts[STAGE].text, sizeof(parts[STAGE].text), "%s",
		 vfm_stage_name(numbers->stage));
	snprintf(parts[ROUND].text, sizeof(parts[ROUND].text), "%llu",
		 (unsigned long long)numbers->round);
	/* Nothing was measured yet: the zeroes that stand there are not numbers. What was sent tells
	 * that it moves. */
	if (numbers->memory_left || numbers->memory_sent ||
	    (numbers->bandwidth && numbers->memory_total))
		units_bytes(parts[MEMORY].text, numbers->memory_left);
	if (!numbers->bandwidth) {
		if (numbers->memory_sent)
			units_bytes(parts[SENT].text, numbers->memory_sent);
		return;
	}
	fill_devices(parts[DEVICE].text, sizeof(parts[DEVICE].text), numbers);
	units_rate(parts[RATE].text, numbers->bandwidth);
	if (numbers->round > 1 && numbers->memory_total)
		units_rate(parts[DIRTY].text, numbers->dirty_rate);
	if (downtime != VFM_SIZE_UNKNOWN)
		units_ms(parts[DOWNTIME].text, (double)downtime / NS_PER_MSEC);
}

/* Join what has text and a rank below @rank. Returns the length that the whole has. */
static size_t join(char *line, const struct part *parts, bool labels, unsigned rank)
{
	const char *label;
	size_t used = 0;
	unsigned i;

	for (i = 0; i < PARTS; i++) {
		if (!parts[i].text[0] || parts[i].rank >= rank)
			continue;
		label = labels ? parts[i].label : parts[i].short_label;
		used += (size_t)snprintf(line + used, PROGRESS_LINE_MAX - used, "%s%s%s",
					 used ? "  " : "", label, parts[i].text);
	}
	return used;
}

/* Why it waits, without the numbers that stand on the line anyway. */
static const char *brief(const char *why)
{
	const char *largest = strstr(why, "mostly ");

	return largest ? largest : why;
}

/* Or waited, to its end. */
static bool waits(const struct vfm_progress *numbers)
{
	return numbers->stage == VFM_STAGE_PRECOPY || numbers->status == VFM_STATUS_FAILED ||
	       numbers->status == VFM_STATUS_CANCELLED;
}

char *progress_format(char line[PROGRESS_LINE_MAX], const struct vfm_progress *numbers,
		      unsigned width)
{
	struct part parts[PARTS] = {
		[STAGE] = {"", "", 0, ""},
		[ROUND] = {"round ", "", 2, ""},
		[MEMORY] = {"memory left ", "mem ", 3, ""},
		[SENT] = {"sent ", "sent ", 7, ""},
		[DEVICE] = {"device left ", "dev ", 4, ""},
		[RATE] = {"", "", 5, ""},
		[DIRTY] = {"dirty ", "dirty ", 6, ""},
		[DOWNTIME] = {"downtime ~", "~", 1, ""},
	};
	const char *reason = waits(numbers) ? brief(numbers->waiting_for) : "";
	unsigned rank = PARTS, wanted = *reason ? MIN((unsigned)strlen(reason), WIDTH_REASON) + 2 : 0;
	unsigned room = width > wanted ? width - wanted : 0;
	size_t used;

	fill(parts, numbers);
	while (join(line, parts, width >= WIDTH_LABELS, rank) > room && rank > 1)
		rank--;
	used = strlen(line);
	if (*reason)
		snprintf(line + used, PROGRESS_LINE_MAX - used, "  %s", reason);
	if (strlen(line) > width)
		line[width] = '\0';
	return line;
}

void progress_init(struct progress *progress, FILE *out)
{
	*progress = (struct progress){.out = out, .stage = VFM_STAGE_COUNT};
	progress->terminal = out && isatty(fileno(out));
}

/* One less than the terminal has: writing its last column wraps on some. */
static unsigned terminal_width(const struct progress *progress)
{
	struct winsize size;

	if (ioctl(fileno(progress->out), TIOCGWINSZ, &size) || size.ws_col < 2)
		return WIDTH_UNKNOWN - 1;
	return MIN(size.ws_col - 1u, PROGRESS_LINE_MAX - 1u);
}

static void show_plain(struct progress *progress, const struct vfm_progress *numbers)
{
	char line[PROGRESS_LINE_MAX];

	if (numbers->stage == progress->stage &&
	    (numbers->round == progress->round ||
	     numbers->elapsed_ns - progress->elapsed_ns < NS_PER_SEC))
		return;
	progress->stage = numbers->stage;
	progress->round = numbers->round;
	progress->elapsed_ns = numbers->elapsed_ns;
	fprintf(progress->out, "%s\n", progress_format(line, numbers, WIDTH_PLAIN));
	fflush(progress->out);
}

void progress_show(struct progress *progress, const struct vfm_progress *numbers)
{
	char line[PROGRESS_LINE_MAX];

	if (!progress->out || numbers->stage == VFM_STAGE_NONE)
		return;
	if (!progress->terminal) {
		show_plain(progress, numbers);
		return;
	}
	progress_format(line, numbers, terminal_width(progress));
	fprintf(progress->out, "\r%s\033[K", line);
	fflush(progress->out);
	progress->drawn = true;
}

void progress_end(struct progress *progress)
{
	if (!progress->drawn)
		return;
	fputs("\n", progress->out);
	fflush(progress->out);
	progress->drawn = false;
}
