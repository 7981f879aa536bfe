// SPDX-License-Identifier: BSD-2-Clause
// The monitor: runs one guest at privilege level 3. docs/ia64.md explains it; to be read in this order.
	.explicit
	.include "macros.inc"
	.include "entry.s"
	.include "main.s"
	.include "emulate.s"
	.include "registers.s"
	.include "deliver.s"
	.include "mmu.s"
	.include "console.s"
