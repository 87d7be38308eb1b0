/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz target over the files of directories, for compilers without libFuzzer. Exits 1 if
 * there was none, since a corpus that is not found tests nothing. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0, or 1 if it could not be read. */
static int replay_file(const char *path)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *file = fopen(path, "rb");
	size_t size = 0;
	int failed = !data || !file;

	if (!failed) {
		size = fread(data, 1, INPUT_MAX, file);
		failed = ferror(file);
	}
	if (failed)
		fprintf(stderr, "%s: cannot be read\n", path);
	else
		LLVMFuzzerTestOneInput(data, size);
	if (file)
		fclose(file);
	free(data);
	return failed;
}

/* The number of files that were run, -1 on failure. */
static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	char name[4096];
	int count = 0;

	if (!dir) {
		perror(path);
		return -1;
	}
	while (count >= 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		count = replay_file(name) ? -1 : count + 1;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	LLVMFuzzerTestOneInput(NULL, 0);
	for (int i = 1; i < argc; i++) {
		int ran = replay_directory(argv[i]);

		if (ran < 0)
			return 1;
		count += ran;
	}
	printf("%d inputs\n", count);
	return count ? 0 : 1;
}
