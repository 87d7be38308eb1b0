/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of `vfio-migrate sim`: a row per option, with the function that reads its
 * value. Values that depend on each other are checked at the end.
 */
#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "base/checked.h"
#include "sim/options.h"
#include "sim/personality.h"
#include "sim/words.h"

#define KEY_BASE 0x100
#define UNSET    UINT64_MAX

int options_refuse(struct reading *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- the socket ---- */

static int read_socket(struct reading *r, const char *name, const char *text)
{
	if (!*text)
		return options_refuse(r, "%s: the path is empty: give the path of a unix socket",
				      name);
	r->config->server.socket_path = text;
	return 0;
}

static int read_fd(struct reading *r, const char *name, const char *text)
{
	uint32_t fd;
	int ret = parse_u32(name, text, 0, 1 << 20, &fd, r->why);

	if (!ret)
		r->config->server.fd = (int)fd;
	return ret;
}

static int read_once(struct reading *r, const char *name, const char *text)
{
	r->config->server.once = true;
	return 0;
}

static int read_reset(struct reading *r, const char *name, const char *text)
{
	r->config->server.reset_on_disconnect = true;
	return 0;
}

static int read_transfer(struct reading *r, const char *name, const char *text)
{
	uint64_t bytes;
	int ret = parse_size(name, text, VFM_VFIO_USER_XFER_MIN, VFM_VFIO_USER_XFER_LIMIT, &bytes,
			     r->why);

	if (!ret)
		r->config->server.max_transfer = (uint32_t)bytes;
	return ret;
}

static int read_tick(struct reading *r, const char *name, const char *text)
{
	return parse_u32(name, text, SIM_TICK_US_MIN, SIM_TICK_US_MAX, &r->config->server.tick_us,
			 r->why);
}

static int read_no_extension(struct reading *r, const char *name, const char *text)
{
	r->config->server.extension = 0;
	return 0;
}

/* ---- the device ---- */

/* Bytes, rounded up to whole pages. */
static int read_pages(struct reading *r, const char *name, const char *text, uint64_t min,
		      uint64_t *out)
{
	uint64_t bytes;
	int ret = parse_size(name, text, min, SIM_STATE_SIZE_MAX, &bytes, r->why);

	if (!ret && !checked_align_up(bytes, SIM_PAGE_SIZE, out))
		return -ERANGE;
	return ret;
}

static int read_state_size(struct reading *r, const char *name, const char *text)
{
	return read_pages(r, name, text, 1, &r->config->device.state_size);
}

static int read_initial_size(struct reading *r, const char *name, const char *text)
{
	return read_pages(r, name, text, 0, &r->config->device.initial_size);
}

static int read_dirty_rate(struct reading *r, const char *name, const char *text)
{
	return parse_rate(name, text, 0, SIM_RATE_MAX, &r->config->device.dirty_rate, r->why);
}

static int read_dma_rate(struct reading *r, const char *name, const char *text)
{
	return parse_u32(name, text, 0, SIM_DMA_RATE_MAX, &r->config->device.dma_rate, r->why);
}

static int read_vectors(struct reading *r, const char *name, const char *text)
{
	return parse_u32(name, text, 1, SIM_MSIX_VECTORS_MAX, &r->config->device.vectors, r->why);
}

static int read_seed(struct reading *r, const char *name, const char *text)
{
	return parse_u64(name, text, 0, UINT64_MAX, &r->config->device.seed, r->why);
}

static int read_no_logging(struct reading *r, const char *name, const char *text)
{
	r->config->device.dma_logging = false;
	return 0;
}

static int read_personality(struct reading *r, const char *name, const char *text)
{
	const struct sim_personality *who = sim_personality_find(text);

	if (!who)
		return options_refuse(r, "%s: no personality \"%.32s\": they are listed in --help",
				      name, text);
	r->config->device.personality = who;
	return 0;
}

/* ---- peers ---- */

static int read_p2p_target(struct reading *r, const char *name, const char *text)
{
	uint64_t *target = &r->config->device.p2p_target;
	int ret = parse_u64(name, text, 1, UINT64_MAX, target, r->why);

	if (!ret && !is_aligned(*target, sizeof(uint64_t)))
		return options_refuse(
			r,
			"%s: %.32s is not a multiple of 8: give the address of a word in "
			"a mailbox",
			name, text);
	return ret;
}

static int read_p2p_rate(struct reading *r, const char *name, const char *text)
{
	return parse_u32(name, text, 0, SIM_DMA_RATE_MAX, &r->config->device.p2p_rate, r->why);
}

/* ---- migration ---- */

static int read_migration(struct reading *r, const char *name, const char *text)
{
	char copy[TEXT_MAX], *word, *save = NULL;
	uint32_t flags = 0;
	int ret = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (word = strtok_r(copy, ",", &save); word && !ret; word = strtok_r(NULL, ",", &save))
		ret = strcmp(word, "none") ? words_add_capability(word, &flags) : 0;
	if (ret || !*text || (flags && !(flags & VFM_MIG_STOP_COPY)))
		return options_refuse(
			r,
			"%s: \"%.64s\" is not known: none, or stop-copy with ,p2p and ,pre-copy "
			"where wanted",
			name, text);
	r->config->device.mig_flags = flags;
	r->migration_set = true;
	return 0;
}

const char *options_read_arc(struct reading *r, const char *name, const char *text,
			     enum vfm_state *from, enum vfm_state *to)
{
	const char *value = words_find_arc(text, from, to);

	if (value)
		return value;
	options_refuse(r,
		       "%s: \"%.64s\" does not begin with FROM:TO=, two states as in RUNNING:STOP=",
		       name, text);
	return NULL;
}

static int read_latency(struct reading *r, const char *name, const char *text)
{
	enum vfm_state from, to;
	const char *value = options_read_arc(r, name, text, &from, &to);
	uint64_t ms;
	int ret;

	if (!value)
		return -EINVAL;
	ret = parse_duration_ms(name, value, 0, SIM_LATENCY_MAX_MS, &ms, r->why);
	if (!ret)
		r->config->device.latency_ms[from][to] = (uint32_t)ms;
	return ret;
}

static int read_load_cost(struct reading *r, const char *name, const char *text)
{
	return parse_u32(name, text, 0, SIM_LATENCY_MAX_MS * 1000u,
			 &r->config->device.load_cost_us_per_mib, r->why);
}

static int read_load_at(struct reading *r, const char *name, const char *text)
{
	static const char *const words[] = {"write", "end", "both"};
	static const enum sim_load_at when[] = {SIM_LOAD_AT_WRITE, SIM_LOAD_AT_END,
						SIM_LOAD_AT_BOTH};
	unsigned place;
	int ret = parse_word(name, text, words, ARRAY_SIZE(words), &place, r->why);

	if (!ret)
		r->config->device.load_at = when[place];
	r->load_at_set = true;
	return ret;
}

static int read_alloc_cost(struct reading *r, const char *name, const char *text)
{
	uint64_t ms;
	int ret = parse_duration_ms(name, text, 0, SIM_LATENCY_MAX_MS, &ms, r->why);

	if (!ret)
		r->config->device.alloc_cost_ms = (uint32_t)ms;
	return ret;
}

/* The digits at @text as thousandths: "2" is 2000, "0.25" is 250. False: it is no such number. */
static bool thousandths(const char *text, uint64_t *out)
{
	unsigned digits = 0;
	bool point = false;

	for (*out = 0; *text && digits < 4 && *out < UINT32_MAX; text++) {
		if (*text == '.' && !point && digits < 4) {
			point = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			return false;
		*out = *out * 10 + (uint64_t)(*text - '0');
		digits += point;
	}
	for (; digits < 3; digits++)
		*out *= 10;
	return !*text && digits == 3;
}

static int read_size_error(struct reading *r, const char *name, const char *text)
{
	uint64_t value;

	if (!thousandths(text, &value) || !value || value > SIM_SIZE_ERROR_MAX)
		return options_refuse(
			r,
			"%s: \"%.32s\" is not a factor: 0.001 to 1000, with three decimals "
			"at most",
			name, text);
	r->config->device.size_permille = (uint32_t)value;
	return 0;
}

/* ---- the table ---- */

static const struct row {
	const char *name; /* NULL: a heading */
	const char *value;
	read_fn *read;
	const char *help;
	int flags; /* of argp */
} rows[] = {
	{NULL, NULL, NULL, "Where clients connect (one of the two):", 0},
	{"socket", "PATH", read_socket, "listen on a unix socket, for its owner only", 0},
	{"fd", "N", read_fd, "use an inherited socket, listening or connected", 0},
	{"once", NULL, read_once, "end when the first client has left", 0},
	{"reset-on-disconnect", NULL, read_reset,
	 "reset the device when a client leaves (else the next one finds it as it was)", 0},
	{"max-transfer", "SIZE", read_transfer,
	 "data of one request, 4K to 16M (1M)", 0},
	{"no-extension", NULL, read_no_extension,
	 "speak plain vfio-user: no P2P states, no sizes", 0},

	{NULL, NULL, NULL, "The device:", 0},
	{"personality", "NAME", read_personality, "how the device behaves, see below (generic)", 0},
	{"state-size", "SIZE", read_state_size,
	 "internal memory, up to 64G (the personality's; generic: 64M)", 0},
	{"dirty-rate", "RATE", read_dirty_rate,
	 "bytes of --state-size changed per second, up to 8G (0)", 0},
	{"dma-rate", "N", read_dma_rate, "records per second when the guest sets none (0)", 0},
	{"vectors", "N", read_vectors, "MSI-X vectors, 1 to 64 (4)", 0},
	{"seed", "N", read_seed, "of contents and changes (random)", 0},
	{"tick-us", "N", read_tick, "how often the device moves, 100 to 1000000 us (1000)", 0},
	{"no-dma-logging", NULL, read_no_logging, "the device cannot log the pages it writes", 0},

	{NULL, NULL, NULL, "Its migration:", 0},
	{"migration", "LIST", read_migration,
	 "none, or stop-copy with ,p2p and ,pre-copy (the personality's; generic: all three)", 0},
	{"initial-size", "SIZE", read_initial_size,
	 "initial bytes of a pre-copy (the personality's; generic: all of the state)", 0},
	{"arc-latency", "FROM:TO=MS", read_latency, "time that an arc takes; may be repeated", 0},
	{"load-cost-us-per-mib", "N", read_load_cost, "time that loading takes (0)", 0},
	{"load-at", "WHEN", read_load_at,
	 "the time of --load-cost-us-per-mib is spent at each write, at the end or half at "
	 "both (the personality's)", 0},
	{"alloc-cost", "MS", read_alloc_cost,
	 "time that a destination takes when initial bytes begin to arrive (0)", 0},
	{"size-error", "FACTOR", read_size_error,
	 "sizes are told times this, 0.001 to 1000 (1)", 0},
	{"reinit", "WHEN[,size=BYTES][,times=N]", options_reinit,
	 "initial bytes begin anew: after=MS, bytes=SIZE, info=N or late, see below", 0},

	{NULL, NULL, NULL, "Writing to another device:", 0},
	{"p2p-target", "ADDR", read_p2p_target,
	 "guest physical address to write counts to, in a peer's mailbox (none)", 0},
	{"p2p-rate", "N", read_p2p_rate, "writes per second when the guest sets none (0)", 0},

	{NULL, NULL, NULL, "Faults, for tests:", 0},
	{"corrupt-stream", "OFFSET", options_corrupt,
	 "flip a bit of this byte of saved streams (4K)", OPTION_ARG_OPTIONAL},
	{"fail-arc", "FROM:TO=ERRNO[@N]", options_fail,
	 "an arc fails, every time or the Nth; may be repeated", 0},
	{"fail-call", "CALL=ERRNO[@N]", options_fail_call,
	 "read, write, info, size, log-start, log-report or save fails; may be repeated", 0},
	{"spontaneous", "error|reset,WHEN[,times=N]", options_spontaneous,
	 "the device enters ERROR, or resets, by itself: after=MS, bytes=SIZE or info=N", 0},
	{"die-after-bytes", "SIZE", options_die_after, "die after so much stream in or out", 0},
	{"mutant", "RULE", options_mutant,
	 "the device breaks a rule of vfio-migrate check, see its --list", 0},
	{"die-in", "STATE", options_die_in, "die when entering a state, before the reply", 0},
};

static const char doc[] =
	"Be a simulated device: a vfio-user server. SIZE and RATE take K, M, G; states are spelt as "
	"in the kernel's interface (RUNNING, PRE_COPY_P2P, ...).\v";

static int take_option(struct reading *r, int key, const char *text)
{
	char name[TEXT_MAX];

	if (key < KEY_BASE || key >= KEY_BASE + (int)ARRAY_SIZE(rows))
		return ARGP_ERR_UNKNOWN;
	snprintf(name, sizeof(name), "--%s", rows[key - KEY_BASE].name);
	return rows[key - KEY_BASE].read(r, name, text) ? EINVAL : 0;
}

/* What was not given is the personality's. Of one whose initial bytes are all, all of what was. */
static void fill_in(struct reading *r)
{
	struct sim_options *device = &r->config->device, own;

	sim_options_init_as(&own, device->personality);
	if (device->state_size == UNSET)
		device->state_size = own.state_size;
	if (device->initial_size == UNSET)
		device->initial_size = own.initial_size == own.state_size ? device->state_size
									  : own.initial_size;
	if (!r->migration_set)
		device->mig_flags = own.mig_flags;
	if (!r->load_at_set)
		device->load_at = own.load_at;
	device->dma_logging = device->dma_logging && own.dma_logging;
}

/* What a personality cannot do. */
static int check_person(struct reading *r)
{
	const struct sim_options *device = &r->config->device;
	const struct sim_personality *who = device->personality;

	if (who->no_dma && (device->dma_rate || device->p2p_rate))
		return options_refuse(
			r, "--personality: %s does no DMA: leave --dma-rate and --p2p-rate out",
			who->name);
	if (!who->saves_on_query && device->fail_call[SIM_CALL_SAVE].error)
		return options_refuse(
			r, "--fail-call: %s saves without being asked: let read fail instead",
			who->name);
	if (device->reinit.when && !(device->mig_flags & VFM_MIG_PRE_COPY))
		return options_refuse(
			r, "--reinit: the device has no pre-copy: add it with --migration");
	return 0;
}

static int check_together(struct reading *r)
{
	struct sim_config *c = r->config;

	if (!c->server.socket_path == (c->server.fd < 0))
		return options_refuse(r, "give either --socket PATH or --fd N, and not both");
	fill_in(r);
	if (c->device.initial_size > c->device.state_size)
		return options_refuse(
			r, "--initial-size: more than --state-size: give at most that, or leave "
			   "it out");
	if (c->device.reinit_size != SIM_NEVER && c->device.reinit_size > c->device.state_size)
		return options_refuse(
			r, "--reinit: size= is more than --state-size: give at most that");
	return check_person(r);
}

static error_t parse_key(int key, char *text, struct argp_state *state)
{
	struct reading *r = state->input;
	int ret;

	switch (key) {
	case ARGP_KEY_INIT:
		state->err_stream = NULL; /* it would add a second line */
		return 0;
	case ARGP_KEY_ARG:
		options_refuse(r, "no argument is taken: \"%.64s\"; see --help", text);
		ret = EINVAL;
		break;
	case ARGP_KEY_END:
		ret = check_together(r) ? EINVAL : 0;
		break;
	default:
		ret = take_option(r, key, text);
	}
	if (ret == EINVAL)
		fprintf(stderr, "%s: %s\n", r->program, r->why);
	return ret;
}

/* The personalities, behind the options. */
static char *help_filter(int key, const char *text, void *input)
{
	const struct sim_personality *who;
	char *out = NULL;
	size_t size;
	unsigned i;
	FILE *f;

	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = open_memstream(&out, &size);
	if (!f)
		return NULL;
	fputs("A moment (WHEN) is counted within a migration: MS milliseconds or SIZE bytes of "
	      "stream after it began, the N-th precopy info query, or late: the first such query "
	      "since which the guest's doorbell has fallen silent, as it does when its vCPUs have "
	      "stopped.\n\n", f);
	fputs("Personalities:\n", f);
	for (i = 0; (who = sim_personality_at(i)); i++)
		fprintf(f, "  %-10s %s\n", who->name, who->about);
	fclose(f);
	return out;
}

static void fill_argp(struct argp_option *out)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		out[i] = (struct argp_option){
			.name = rows[i].name,
			.key = rows[i].name ? KEY_BASE + (int)i : 0,
			.arg = rows[i].value,
			.flags = rows[i].flags,
			.doc = rows[i].help,
		};
}

static void set_defaults(struct sim_config *config)
{
	sim_options_init(&config->device);
	sim_server_options_init(&config->server);
	config->device.state_size = UNSET;
	config->device.initial_size = UNSET;
	if (getrandom(&config->device.seed, sizeof(config->device.seed), 0) < 0)
		config->device.seed = 1;
}

int sim_config_parse(struct sim_config *config, int argc, char **argv)
{
	struct argp_option options[ARRAY_SIZE(rows) + 1] = {{0}};
	struct argp argp = {options, parse_key, NULL, doc, NULL, help_filter, NULL};
	struct reading r = {.config = config, .program = argv[0]};

	set_defaults(config);
	fill_argp(options);
	return argp_parse(&argp, argc, argv, 0, NULL, &r) ? -EINVAL : 0;
}
