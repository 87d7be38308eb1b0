/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulated device as a program of its own, for tests of the server alone. */
#include "sim/main.h"

int main(int argc, char **argv)
{
	return sim_main(argc, argv);
}
