/* SPDX-License-Identifier: BSD-3-Clause */
/* What came of the rules: for people, for programs, for CI systems. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "check/check.h"

static const char *const severities[] = {"must", "should", "note"};
static const char *const verdicts[] = {"pass", "fail", "not-applicable", "not-judged"};
static const char *const shown[] = {"ok", "FAILED", "-", "unclear"};
static const char *const does[] = {"looks", "moves", "wipes"};

/* ---- text ---- */

void check_print_result(FILE *out, const struct check_result *result)
{
	const struct check_rule *rule = result->rule;

	fprintf(out, "%-8s %-6s %-26s %s\n", shown[result->verdict], severities[rule->severity],
		rule->id, *result->why ? result->why : "");
	if (result->verdict == CHECK_FAIL)
		fprintf(out, "         rule: %s\n", rule->says);
	if (result->round > 1)
		fprintf(out, "         in round %u: --seed=%" PRIu64 "\n", result->round,
			result->seed);
	fflush(out);
}

void check_print_summary(FILE *out, const struct check_run *run)
{
	fprintf(out, "%u rules: %u kept, %u broken (%u must), %u unclear (%u must), "
		     "%u not applicable\n",
		run->count, run->verdicts[CHECK_PASS], run->verdicts[CHECK_FAIL],
		run->musts_failed, run->verdicts[CHECK_UNJUDGED], run->musts_unjudged,
		run->verdicts[CHECK_NOT_APPLICABLE]);
	if (run->rounds > 1)
		fprintf(out, "%u rounds\n", run->rounds);
	if (run->stopped)
		fprintf(out, "interrupted: %u rules were not tried\n", run->untried);
	if (run->gone)
		fprintf(out, "the device was lost on the way\n");
}

void check_print_list(FILE *out)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		fprintf(out, "%-6s %-9s %-5s %-26s %s\n", severities[rule->severity], family->name,
			does[rule->does], rule->id, rule->says);
}

/* ---- JSON ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t number)
{
	json_object_object_add(o, key, json_object_new_uint64(number));
}

static struct json_object *rule_json(const struct check_rule *rule,
				     const struct check_family *family)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "rule", rule->id);
	add_text(o, "family", family->name);
	add_text(o, "severity", severities[rule->severity]);
	add_text(o, "does", does[rule->does]);
	add_text(o, "says", rule->says);
	return o;
}

struct json_object *check_list_json(void)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		json_object_array_add(list, rule_json(rule, family));
	json_object_object_add(o, "rules", list);
	return o;
}

static struct json_object *result_json(const struct check_result *result)
{
	struct json_object *o = rule_json(result->rule, result->family);

	add_text(o, "verdict", verdicts[result->verdict]);
	add_text(o, "detail", result->why);
	add_number(o, "ns", result->ns);
	add_number(o, "round", result->round);
	add_number(o, "seed", result->seed);
	return o;
}

struct json_object *check_to_json(const struct check_run *run, const char *device)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	add_text(o, "device", device);
	add_text(o, "backend", run->check.port->ops->backend);
	add_number(o, "seed", run->seed);
	add_number(o, "rounds", run->rounds);
	add_number(o, "ns", run->ns);
	for (unsigned i = 0; i < CHECK_VERDICTS; i++)
		add_number(o, verdicts[i], run->verdicts[i]);
	add_number(o, "musts_failed", run->musts_failed);
	add_number(o, "musts_unjudged", run->musts_unjudged);
	json_object_object_add(o, "interrupted", json_object_new_boolean(run->stopped));
	add_number(o, "untried", run->untried);
	json_object_object_add(o, "device_lost", json_object_new_boolean(run->gone));
	for (unsigned i = 0; i < run->count; i++)
		json_object_array_add(list, result_json(&run->results[i]));
	json_object_object_add(o, "rules", list);
	json_object_object_add(o, "arcs", check_latency_json(&run->check));
	return o;
}

/* ---- JUnit ---- */

/* What a device told may be in the text. */
static void put_xml(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fputc((unsigned char)*text < ' ' ? '?' : *text, out);
	}
}

static void put_attribute(FILE *out, const char *name, const char *text)
{
	fprintf(out, " %s=\"", name);
	put_xml(out, text);
	fputc('"', out);
}

static void put_outcome(FILE *out, const char *element, const struct check_result *result)
{
	fprintf(out, "    <%s", element);
	put_attribute(out, "message", *result->why ? result->why : result->rule->says);
	fprintf(out, "/>\n");
}

/* A should or a note that is broken is no failure of the run: it is told as skipped. */
static const char *element_of(const struct check_result *result)
{
	bool must = result->rule->severity == CHECK_MUST;

	if (result->verdict == CHECK_PASS)
		return NULL;
	if (result->verdict == CHECK_NOT_APPLICABLE || !must)
		return "skipped";
	return result->verdict == CHECK_FAIL ? "failure" : "error";
}

static unsigned count_elements(const struct check_run *run, const char *element)
{
	unsigned n = 0;

	for (unsigned i = 0; i < run->count; i++) {
		const char *other = element_of(&run->results[i]);

		n += other && !strcmp(other, element);
	}
	return n;
}

static void put_time(FILE *out, uint64_t ns)
{
	fprintf(out, " time=\"%" PRIu64 ".%03" PRIu64 "\"", ns / NS_PER_SEC,
		ns % NS_PER_SEC / NS_PER_MSEC);
}

static void put_property(FILE *out, const char *name, uint64_t value)
{
	fprintf(out, "    <property name=\"%s\" value=\"%" PRIu64 "\"/>\n", name, value);
}

/* With what it can be repeated, and what arcs took, in nanoseconds. */
static void put_properties(FILE *out, const struct check_run *run)
{
	struct latency_summary l;
	char name[80];

	fprintf(out, "   <properties>\n");
	put_property(out, "seed", run->seed);
	put_property(out, "rounds", run->rounds);
	put_property(out, "untried", run->untried);
	for (int from = 0; from < VFM_STATE_COUNT; from++)
		for (int to = 0; to < VFM_STATE_COUNT; to++) {
			if (!latency_of(&run->check, from, to, &l))
				continue;
			snprintf(name, sizeof(name), "%s-%s-p50-ns", vfm_state_name(from),
				 vfm_state_name(to));
			put_property(out, name, l.p50_ns);
			snprintf(name, sizeof(name), "%s-%s-p95-ns", vfm_state_name(from),
				 vfm_state_name(to));
			put_property(out, name, l.p95_ns);
		}
	fprintf(out, "   </properties>\n");
}

static void put_case(FILE *out, const struct check_result *result)
{
	const char *element = element_of(result);

	fprintf(out, "   <testcase");
	put_attribute(out, "classname", result->family->name);
	put_attribute(out, "name", result->rule->id);
	put_time(out, result->ns);
	fprintf(out, "%s>\n", element ? "" : "/");
	if (!element)
		return;
	put_outcome(out, element, result);
	fprintf(out, "   </testcase>\n");
}

int check_write_junit(FILE *out, const struct check_run *run, const char *device)
{
	errno = 0;
	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite");
	put_attribute(out, "name", device);
	fprintf(out, " tests=\"%u\" failures=\"%u\" errors=\"%u\" skipped=\"%u\"", run->count,
		count_elements(run, "failure"), count_elements(run, "error"),
		count_elements(run, "skipped"));
	put_time(out, run->ns);
	fprintf(out, ">\n");
	put_properties(out, run);
	for (unsigned i = 0; i < run->count; i++)
		put_case(out, &run->results[i]);
	fprintf(out, "  </testsuite>\n</testsuites>\n");
	if (!ferror(out) && !fflush(out))
		return 0;
	return errno ? -errno : -EIO;
}
