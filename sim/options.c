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
#include <strings.h>
#include <sys/random.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "base/checked.h"
#include "cli/parse.h"
#include "sim/main.h"
#include "sim/personality.h"

#define KEY_BASE 0x100
#define TEXT_MAX 128
#define NAME(x)  (x), #x
#define UNSET    UINT64_MAX

struct reading {
	struct sim_config *config;
	const char *program;
	bool migration_set;
	char why[PARSE_WHY_MAX];
};

/* Read @text, which is NULL for an option without a value. 0, or -errno with reading->why. */
typedef int read_fn(struct reading *r, const char *name, const char *text);

static PRINTF(2, 3) int refuse(struct reading *r, const char *fmt, ...)
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
		return refuse(r, "%s: the path is empty: give the path of a unix socket", name);
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
	struct sim_options *device = &r->config->device;

	if (!who)
		return refuse(r, "%s: no personality \"%.32s\": they are listed in --help", name,
			      text);
	device->personality = who;
	if (!r->migration_set)
		device->mig_flags = who->mig_flags;
	device->dma_logging = device->dma_logging && who->dma_logging;
	return 0;
}

/* ---- migration ---- */

static const struct {
	const char *word;
	uint32_t flags;
} mig_words[] = {
	{"none", 0},
	{"stop-copy", VFM_MIG_STOP_COPY},
	{"p2p", VFM_MIG_P2P},
	{"pre-copy", VFM_MIG_PRE_COPY},
};

static int mig_word(const char *word, uint32_t *flags)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(mig_words); i++)
		if (!strcmp(mig_words[i].word, word)) {
			*flags |= mig_words[i].flags;
			return 0;
		}
	return -EINVAL;
}

static int read_migration(struct reading *r, const char *name, const char *text)
{
	char copy[TEXT_MAX], *word, *save = NULL;
	uint32_t flags = 0;
	int ret = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (word = strtok_r(copy, ",", &save); word && !ret; word = strtok_r(NULL, ",", &save))
		ret = mig_word(word, &flags);
	if (ret || !*text || (flags && !(flags & VFM_MIG_STOP_COPY)))
		return refuse(r,
			      "%s: \"%.64s\" is not known: none, or stop-copy with ,p2p and ,pre-copy "
			      "where wanted",
			      name, text);
	r->config->device.mig_flags = flags;
	r->migration_set = true;
	return 0;
}

static int find_state(const char *text, size_t len, enum vfm_state *state)
{
	unsigned i;

	for (i = VFM_STATE_STOP; i < VFM_STATE_COUNT; i++)
		if (strlen(vfm_state_name(i)) == len && !strncasecmp(vfm_state_name(i), text, len)) {
			*state = i;
			return 0;
		}
	return -EINVAL;
}

/* "FROM:TO=VALUE": the states, and where the value begins. */
static const char *read_arc(struct reading *r, const char *name, const char *text,
			    enum vfm_state *from, enum vfm_state *to)
{
	const char *colon = strchr(text, ':');
	const char *equals = colon ? strchr(colon, '=') : NULL;

	if (equals && !find_state(text, (size_t)(colon - text), from) &&
	    !find_state(colon + 1, (size_t)(equals - colon - 1), to) && *from != *to)
		return equals + 1;
	refuse(r, "%s: \"%.64s\" does not begin with FROM:TO=, two states as in RUNNING:STOP=", name,
	       text);
	return NULL;
}

static int read_latency(struct reading *r, const char *name, const char *text)
{
	enum vfm_state from, to;
	const char *value = read_arc(r, name, text, &from, &to);
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
	static const char *const words[] = {"write", "end"};
	unsigned place;
	int ret = parse_word(name, text, words, ARRAY_SIZE(words), &place, r->why);

	if (!ret)
		r->config->device.load_cost_at_end = place == 1;
	return ret;
}

/* ---- faults ---- */

static const struct {
	int number;
	const char *name;
} errnos[] = {
	{NAME(EIO)},     {NAME(EINVAL)},    {NAME(EFAULT)}, {NAME(ENOMEM)},     {NAME(EBUSY)},
	{NAME(EAGAIN)},  {NAME(ETIMEDOUT)}, {NAME(ENODEV)}, {NAME(EOPNOTSUPP)}, {NAME(EPERM)},
	{NAME(ENOSPC)},  {NAME(ENOTTY)},    {NAME(EINTR)},  {NAME(ECANCELED)},
};

static int find_errno(const char *text, size_t len)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(errnos); i++)
		if (strlen(errnos[i].name) == len && !strncmp(errnos[i].name, text, len))
			return errnos[i].number;
	return 0;
}

static int read_fail(struct reading *r, const char *name, const char *text)
{
	enum vfm_state from, to;
	const char *value = read_arc(r, name, text, &from, &to);
	struct sim_fail fail = {0};
	size_t len;
	int ret = 0;

	if (!value)
		return -EINVAL;
	len = strcspn(value, "@");
	fail.error = find_errno(value, len);
	if (!fail.error)
		return refuse(r, "%s: \"%.32s\" is not a known errno: a name as in EIO", name,
			      value);
	if (value[len] == '@')
		ret = parse_u32(name, value + len + 1, 1, UINT32_MAX, &fail.nth, r->why);
	if (!ret)
		r->config->device.fail[from][to] = fail;
	return ret;
}

static int read_corrupt(struct reading *r, const char *name, const char *text)
{
	r->config->device.corrupt_at = 4096;
	if (!text)
		return 0;
	return parse_size(name, text, 0, SIM_NEVER - 1, &r->config->device.corrupt_at, r->why);
}

static int read_die_after(struct reading *r, const char *name, const char *text)
{
	return parse_size(name, text, 1, SIM_NEVER - 1, &r->config->device.die_after_bytes, r->why);
}

static int read_die_in(struct reading *r, const char *name, const char *text)
{
	if (find_state(text, strlen(text), &r->config->device.die_in))
		return refuse(r, "%s: \"%.32s\" is not a state: one as in STOP_COPY", name, text);
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
	{"personality", "NAME", read_personality, "how it behaves, see below (generic)", 0},
	{"state-size", "SIZE", read_state_size, "internal memory, up to 64G (64M)", 0},
	{"dirty-rate", "RATE", read_dirty_rate, "bytes of it changed per second, up to 8G (0)", 0},
	{"dma-rate", "N", read_dma_rate, "records per second when the guest sets none (0)", 0},
	{"vectors", "N", read_vectors, "MSI-X vectors, 1 to 64 (4)", 0},
	{"seed", "N", read_seed, "of contents and changes (random)", 0},
	{"tick-us", "N", read_tick, "how often it moves, 100 to 1000000 us (1000)", 0},
	{"no-dma-logging", NULL, read_no_logging, "it cannot log the pages it writes", 0},

	{NULL, NULL, NULL, "Its migration:", 0},
	{"migration", "LIST", read_migration,
	 "none, or stop-copy with ,p2p and ,pre-copy (all three)", 0},
	{"initial-size", "SIZE", read_initial_size,
	 "initial bytes of a pre-copy (all of the state)", 0},
	{"arc-latency", "FROM:TO=MS", read_latency, "time that an arc takes; may be repeated", 0},
	{"load-cost-us-per-mib", "N", read_load_cost, "time that loading takes (0)", 0},
	{"load-at", "WHEN", read_load_at, "that time is spent at each write, or at the end (write)",
	 0},

	{NULL, NULL, NULL, "Faults, for tests:", 0},
	{"corrupt-stream", "OFFSET", read_corrupt,
	 "flip a bit of this byte of saved streams (4K)", OPTION_ARG_OPTIONAL},
	{"fail-arc", "FROM:TO=ERRNO[@N]", read_fail,
	 "an arc fails, every time or the Nth; may be repeated", 0},
	{"die-after-bytes", "SIZE", read_die_after, "die after so much stream in or out", 0},
	{"die-in", "STATE", read_die_in, "die when entering a state, before the reply", 0},
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

static int check_together(struct reading *r)
{
	struct sim_config *c = r->config;

	if (!c->server.socket_path == (c->server.fd < 0))
		return refuse(r, "give either --socket PATH or --fd N, and not both");
	if (c->device.initial_size == UNSET)
		c->device.initial_size = c->device.state_size;
	if (c->device.initial_size > c->device.state_size)
		return refuse(r,
			      "--initial-size: more than --state-size: give at most that, or leave "
			      "it out");
	return 0;
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
		refuse(r, "no argument is taken: \"%.64s\"; see --help", text);
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
