// SPDX-License-Identifier: BSD-2-Clause
// operations: mov from dahr
// alone: right
// emulated: right
// simulator: it has no data access hint registers
// rewritten: no
	.include "guest.inc"
	guest
	mov r9=1 ;;
	mov r8=dahr[r9] ;;
	pass
